//! There is no Credential Manager here, and nothing that protects a file for this machine alone.

use std::io;

use contract::Secret;

const INSTEAD: &str = "only Windows has it: here a secret is named as { file = \"path\" } \
     (lighterman secret set keeps one), { env = \"NAME\" } or { credential = \"name\" }";

pub(super) fn credential(_name: &str) -> Result<Secret, String> {
    Err(INSTEAD.to_owned())
}

pub(super) fn keep_credential(_name: &str, _secret: &Secret) -> Result<bool, String> {
    Err(INSTEAD.to_owned())
}

pub(super) fn remove_credential(_name: &str) -> Result<bool, String> {
    Err(INSTEAD.to_owned())
}

/// A file keeps a secret as it is; who may read it is written in its mode.
#[expect(clippy::unnecessary_wraps, reason = "on Windows it can fail")]
pub(super) fn protect(_bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    Ok(None)
}

pub(super) fn unprotect(_bytes: &[u8]) -> Result<Vec<u8>, String> {
    Err(INSTEAD.to_owned())
}
