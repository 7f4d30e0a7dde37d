//! The agent's process under test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running `lighterman run`; killed when dropped.
pub struct Agent {
    child: Child,
    folder: PathBuf,
}

impl Agent {
    /// Starts the agent on the settings file in `folder`; its log goes to `agent.log` there.
    pub fn start(binary: &str, folder: &Path) -> Self {
        Self::start_with(binary, folder, &[])
    }

    /// As [`Agent::start`], with more in its environment: points at which it fails
    /// (`LIGHTERMAN_FAILPOINTS`), a disk that fails ([`crate::disk::Shim`]), another clock.
    pub fn start_with(binary: &str, folder: &Path, environment: &[(&str, String)]) -> Self {
        let program = Command::new(binary);
        Self::spawn(program, folder, environment)
    }

    /// Starts the agent through a program that takes its command line, such as `prlimit`.
    pub fn start_through(program: &[&str], binary: &str, folder: &Path) -> Self {
        let mut through = Command::new(program[0]);
        through.args(&program[1..]).arg(binary);
        Self::spawn(through, folder, &[])
    }

    fn spawn(mut program: Command, folder: &Path, environment: &[(&str, String)]) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("agent.log"));
        let child = program
            .args(["run", "--config"])
            .arg(folder.join("lighterman.toml"))
            .envs(environment.iter().map(|(name, value)| (name, value)))
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

    /// SIGTERM; returns how it ended, or `None` when it had not within `limit`.
    pub async fn terminate(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        self.signal("TERM");
        self.end(limit).await
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits until it has ended; `None` when it had not within `limit`.
    pub async fn end(&mut self, limit: Duration) -> Option<std::process::ExitStatus> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let ended = self.ended();
            if ended.is_some() || tokio::time::Instant::now() >= deadline {
                return ended;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until its log holds a text; false when `limit` passed first.
    pub async fn logged(&self, text: &str, limit: Duration) -> bool {
        let deadline = tokio::time::Instant::now() + limit;
        while !self.log().contains(text) {
            if tokio::time::Instant::now() >= deadline {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        true
    }

    /// The most memory it ever held, in KiB.
    pub fn memory_peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
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
    command_with(binary, folder, words, &[])
}

/// As [`command`], with more in its environment.
pub fn command_with(
    binary: &str,
    folder: &Path,
    words: &[&str],
    environment: &[(&str, String)],
) -> (Option<i32>, String) {
    let output = Command::new(binary)
        .current_dir(folder)
        .args(words)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}
