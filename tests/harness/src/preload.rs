//! Small libraries of C that Linux loads before a program which is to be deceived.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// A library of this source, built once for each test program.
///
/// Its file has no name any more: nothing drops what is static, so a folder would stay behind when the test program
/// ends. Whom it starts finds it as this process has it open.
pub(crate) fn library(name: &'static str, source: &str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<&str, File>> = Mutex::new(BTreeMap::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    let library = built.entry(name).or_insert_with(|| build(source));
    let (process, descriptor) = (std::process::id(), library.as_raw_fd());
    PathBuf::from(format!("/proc/{process}/fd/{descriptor}"))
}

fn build(source: &str) -> File {
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
    File::open(to).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_loaded_and_leaves_nothing_behind() {
        let source = "#include <unistd.h>
            __attribute__((constructor)) static void loaded(void) { if (write(1, \"loaded\", 6) != 6) _exit(1); }";
        let library = library("test", source);
        let done = Command::new("true").env("LD_PRELOAD", &library).output();
        let done = done.unwrap();
        assert_eq!(String::from_utf8_lossy(&done.stdout), "loaded", "{done:?}");
        // As Linux shows a file whose name is gone.
        let names = std::fs::read_link(library).unwrap();
        assert!(names.to_string_lossy().ends_with(" (deleted)"), "{names:?}");
        assert_eq!(super::library("test", source), super::library("test", ""));
    }
}
