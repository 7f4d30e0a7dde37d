//! What Windows has for secrets: the Credential Manager of a user, and the protection of data for this machine (DPAPI).

use std::collections::HashMap;
use std::io;

use contract::Secret;
use keyring_core::api::CredentialStoreApi as _;
use keyring_core::{Entry, Error};
use windows_dpapi::{Scope, decrypt_data, encrypt_data};
use windows_native_keyring_store::Store;

/// A credential by its whole name, as Credential Manager shows it. It stays on this machine: others of a domain have
/// secrets of their own.
fn entry(name: &str) -> Result<Entry, String> {
    let store = Store::new().map_err(said)?;
    let as_named = HashMap::from([("target", name), ("persistence", "Local")]);
    store
        .build("lighterman", name, Some(&as_named))
        .map_err(said)
}

/// An error without any part of the secret: one of them holds what could not be read.
fn said(error: Error) -> String {
    match error {
        Error::BadEncoding(_) | Error::BadDataFormat(..) => "it is no text".to_owned(),
        other => other.to_string(),
    }
}

pub(super) fn credential(name: &str) -> Result<Secret, String> {
    match entry(name)?.get_password() {
        Ok(password) => Ok(Secret::new(password)),
        Err(Error::NoEntry) => Err(format!(
            "{} has none of that name: run lighterman secret set as the user as whom the agent runs",
            crate::audit::person()
        )),
        Err(error) => Err(said(error)),
    }
}

/// Whether it took another's place.
pub(super) fn keep_credential(name: &str, secret: &Secret) -> Result<bool, String> {
    let entry = entry(name)?;
    let replaced = entry.get_attributes().is_ok();
    match entry.set_password(secret.expose()) {
        Ok(()) => Ok(replaced),
        Err(Error::TooLong(_, most)) => Err(format!(
            "Credential Manager takes none that is longer than {most} bytes; keep it with --in protected_file"
        )),
        Err(error) => Err(said(error)),
    }
}

/// Whether it was there.
pub(super) fn remove_credential(name: &str) -> Result<bool, String> {
    match entry(name)?.delete_credential() {
        Ok(()) => Ok(true),
        Err(Error::NoEntry) => Ok(false),
        Err(error) => Err(said(error)),
    }
}

/// Bytes that this machine alone can read, whatever the account: the service has one that nobody logs in with.
pub(super) fn protect(bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    encrypt_data(bytes, Scope::Machine, None)
        .map(Some)
        .map_err(|error| io::Error::other(format!("protect it for this machine: {error:#}")))
}

pub(super) fn unprotect(bytes: &[u8]) -> Result<Vec<u8>, String> {
    decrypt_data(bytes, Scope::Machine, None).map_err(|_| {
        "this machine cannot read it: it was kept on another one, or changed. Keep it anew with \
         lighterman secret set"
            .to_owned()
    })
}
