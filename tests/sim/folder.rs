//! The state folder of a run, with a state file as the first start of an agent makes it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use state::Store;
use tempfile::TempDir;

/// A folder in memory where there is such a thing: what a disk keeps is no question of a simulation.
fn empty() -> TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = tempfile::Builder::new().prefix("sim").tempdir_in(memory);
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// The file is made once and copied: it is the same for every run, and making it takes as long as hundreds
/// of commits.
pub fn fresh() -> TempDir {
    static MADE: OnceLock<Vec<u8>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = empty();
        let (store, steps) = Store::open_in_steps(folder.path()).unwrap();
        drop((store, steps));
        let names = fs::read_dir(folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let logs: Vec<String> = names.filter(|name| name.contains("-wal")).collect();
        assert!(logs.is_empty(), "all of it is in the file: {logs:?}");
        fs::read(state::file_path(folder.path())).unwrap()
    });
    let folder = empty();
    fs::write(state::file_path(folder.path()), made).unwrap();
    folder
}
