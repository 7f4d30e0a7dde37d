//! A wall clock that a test sets, under a running agent.

use std::io::Write as _;
use std::time::Duration;

use crate::preload;

/// The clock; it is gone when this is dropped.
#[derive(Debug)]
pub struct WallClock {
    file: tempfile::NamedTempFile,
}

impl Default for WallClock {
    fn default() -> Self {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&0_i64.to_ne_bytes()).unwrap();
        Self { file }
    }
}

impl WallClock {
    /// What a program's environment must have.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let library = preload::library("clock", include_str!("shim.c"));
        let file = self.file.path().to_str().unwrap().to_owned();
        vec![
            ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
            ("LIGHTERMAN_CLOCK", file),
        ]
    }

    /// Sets it ahead of the machine's.
    pub fn ahead(&self, by: Duration) {
        self.set(i64::try_from(by.as_nanos()).unwrap());
    }

    /// Sets it back behind the machine's.
    pub fn behind(&self, by: Duration) {
        self.set(-i64::try_from(by.as_nanos()).unwrap());
    }

    fn set(&self, nanos: i64) {
        use std::os::unix::fs::FileExt as _;
        let file = self.file.as_file();
        file.write_all_at(&nanos.to_ne_bytes(), 0).unwrap();
    }
}
