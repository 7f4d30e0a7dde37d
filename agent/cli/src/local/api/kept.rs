//! Secrets that are only compared.

use std::fmt;
use std::sync::LazyLock;

use contract::Secret;
use hmac::{Hmac, KeyInit, Mac};
use rand::RngExt;
use sha2::Sha256;

/// A secret of which only a keyed hash is kept. The key is this process' own, so a copy of the hash is of no
/// use elsewhere, and two hashes are compared in a time that says nothing about them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Kept([u8; 32]);

static KEY: LazyLock<[u8; 64]> = LazyLock::new(|| rand::rng().random());

impl Kept {
    fn hash(text: &str) -> Hmac<Sha256> {
        let mut hash = Hmac::<Sha256>::new((&*KEY).into());
        hash.update(text.as_bytes());
        hash
    }

    pub(super) fn of(secret: &Secret) -> Self {
        Self(Self::hash(secret.expose()).finalize().into_bytes().into())
    }

    pub(super) fn is(&self, text: &str) -> bool {
        Self::hash(text).verify_slice(&self.0).is_ok()
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}
