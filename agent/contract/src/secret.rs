//! A secret that cannot be printed by accident.

use std::fmt;

/// A password, key or token. Has no `Display`; `Debug` prints `<redacted>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the wire only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where a secret comes from, as a settings file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretPlace {
    /// `{ env = "NAME" }`
    Environment(String),
    /// `{ file = "path" }`; one trailing newline is dropped.
    File(String),
    /// `{ credential = "name" }`: of systemd's `LoadCredential=`, in the folder that it names to the service.
    Credential(String),
}

/// Reads secrets from where the settings say; implemented by the command, not here.
pub trait Secrets {
    /// The secret.
    ///
    /// # Errors
    /// A sentence that says what is missing, without any part of the secret.
    fn read(&self, place: &SecretPlace) -> Result<Secret, String>;
}
