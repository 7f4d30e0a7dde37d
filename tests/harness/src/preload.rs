//! Small libraries of C that Linux loads before a program which is to be deceived.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A library of this source, built once for each test program.
pub(crate) fn library(name: &'static str, source: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<&str, tempfile::TempDir>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(folder) = built.get(name) {
        return folder.path().join("shim.so");
    }
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("shim.c"), folder.path().join("shim.so"));
    std::fs::write(&from, source).unwrap();
    let done = Command::new("cc")
        .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
        .args([&to, &from])
        .args(["-ldl", "-lpthread"])
        .status()
        .unwrap();
    assert!(done.success(), "cc, which ./tests/run installs");
    built.insert(name, folder);
    to
}
