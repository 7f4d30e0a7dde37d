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
    /// `{ windows_credential = "name" }`: of Windows' Credential Manager, of the user as whom the agent runs.
    WindowsCredential(String),
    /// `{ protected_file = "path" }`: a file that only this machine's Windows can read.
    ProtectedFile(String),
}

impl SecretPlace {
    /// The keys that name a place, the most usual first.
    pub const KEYS: [&'static str; 5] = [
        "env",
        "file",
        "credential",
        "windows_credential",
        "protected_file",
    ];

    /// The place that a key and a name stand for.
    pub fn of(key: &str, name: &str) -> Option<Self> {
        let name = name.to_owned();
        Some(match key {
            "env" => Self::Environment(name),
            "file" => Self::File(name),
            "credential" => Self::Credential(name),
            "windows_credential" => Self::WindowsCredential(name),
            "protected_file" => Self::ProtectedFile(name),
            _ => return None,
        })
    }

    /// Its key and name.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Environment(name) => ("env", name),
            Self::File(name) => ("file", name),
            Self::Credential(name) => ("credential", name),
            Self::WindowsCredential(name) => ("windows_credential", name),
            Self::ProtectedFile(name) => ("protected_file", name),
        }
    }
}

/// Reads secrets from where the settings say; implemented by the command, not here.
pub trait Secrets {
    /// The secret.
    ///
    /// # Errors
    /// A sentence that says what is missing, without any part of the secret.
    fn read(&self, place: &SecretPlace) -> Result<Secret, String>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    #[expect(dead_code, reason = "it is only printed")]
    struct Login {
        user: String,
        password: Secret,
    }

    #[test]
    fn a_secret_is_not_printed_with_what_it_belongs_to() {
        let login = Login {
            user: "agent".to_owned(),
            password: Secret::new("swordfish"),
        };
        for printed in [format!("{login:?}"), format!("{login:#?}")] {
            assert!(printed.contains("agent"), "{printed}");
            assert!(printed.contains("<redacted>"), "{printed}");
            assert!(!printed.contains("swordfish"), "{printed}");
        }
    }
}
