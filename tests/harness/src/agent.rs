//! The agent's process under test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running `lighterman run`; killed when dropped.
pub struct Agent {
    child: Child,
    folder: PathBuf,
}

impl Agent {
    /// Starts the agent on the settings file in `folder`; its log goes to `agent.log` there.
    pub fn start(binary: &str, folder: &Path) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("agent.log"));
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(folder.join("lighterman.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        Self {
            child,
            folder: folder.to_owned(),
        }
    }

    /// SIGKILL, and wait until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Everything logged in the folder so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command of the binary in `folder` and returns its exit code and standard output.
pub fn command(binary: &str, folder: &Path, words: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary)
        .current_dir(folder)
        .args(words)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
