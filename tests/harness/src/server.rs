//! A server that somebody else wrote, as a process: its own folder, its own port, gone when dropped.

use std::fs;
use std::io;
use std::net::TcpStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::receiver::free_port;

/// How long a server may take until it can be used: many start at once on a small machine.
const START_MAX: Duration = Duration::from_mins(4);
/// How long it may take to stop in order.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// When a server can be used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ready {
    /// It has written this to its log.
    Says(&'static str),
    /// This look at its port says so.
    Answers(fn(u16) -> bool),
}

/// How to start it: its program and arguments for a folder and a port. Run again by each start.
type Launch = fn(&Path, u16) -> Command;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    name: &'static str,
    folder: TempDir,
    port: u16,
    launch: Launch,
    ready: Ready,
    group: bool,
    process: Option<Child>,
}

impl Server {
    /// Starts a server in a new folder that `fill` has put its files into.
    ///
    /// # Panics
    /// When it does not start; the message then holds its log.
    pub(crate) fn start(
        name: &'static str,
        fill: impl FnOnce(&Path),
        launch: Launch,
        ready: Ready,
    ) -> Self {
        Self::start_with(name, fill, launch, ready, false)
    }

    /// As [`Server::start`], for a program that starts more of them: all end with it.
    pub(crate) fn start_group(
        name: &'static str,
        fill: impl FnOnce(&Path),
        launch: Launch,
        ready: Ready,
    ) -> Self {
        Self::start_with(name, fill, launch, ready, true)
    }

    fn start_with(
        name: &'static str,
        fill: impl FnOnce(&Path),
        launch: Launch,
        ready: Ready,
        group: bool,
    ) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lighterman-server-")
            .tempdir()
            .unwrap();
        fill(folder.path());
        let mut server = Self {
            name,
            folder,
            port: 0,
            launch,
            ready,
            group,
            process: None,
        };
        for attempt in 1.. {
            server.port = free_port();
            match server.launch() {
                Ok(()) => break,
                // Another process may have taken the port between our look and the start.
                Err(log) if attempt < 5 && in_use(&log) => {}
                Err(log) => panic!("{name} does not start:\n{log}"),
            }
        }
        server
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The folder it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it has logged since its last start.
    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Stops it at once, as a crash would.
    pub(crate) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if self.group {
            signal("KILL", &format!("-{}", process.id()));
        }
        let _ = process.kill();
        let _ = process.wait();
    }

    /// Stops it in order, as a service manager does.
    ///
    /// # Panics
    /// When it does not stop.
    pub(crate) fn shut_down(&mut self) {
        let Some(process) = &mut self.process else {
            return;
        };
        signal("TERM", &process.id().to_string());
        let deadline = Instant::now() + STOP_MAX;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let (name, log) = (self.name, self.log());
                self.stop();
                panic!("{name} does not stop:\n{log}");
            }
            std::thread::sleep(LOOK_EVERY);
        }
        // What it had started may be left.
        self.stop();
    }

    /// Starts it again on the same port and folder.
    ///
    /// # Panics
    /// When it runs, or does not start.
    pub(crate) fn start_again(&mut self) {
        assert!(self.process.is_none(), "{} is running", self.name);
        if let Err(log) = self.launch() {
            panic!("{} does not start again:\n{log}", self.name);
        }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.log_file()).unwrap();
        let mut command = (self.launch)(self.folder.path(), self.port);
        if self.group {
            command.process_group(0);
        }
        let mut process = command
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {command:?}: {error}", self.name));
        let deadline = Instant::now() + START_MAX;
        loop {
            if process.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            if self.is_ready() {
                self.process = Some(process);
                return Ok(());
            }
            if Instant::now() > deadline {
                self.process = Some(process);
                self.stop();
                return Err(format!("not ready after {START_MAX:?}\n{}", self.log()));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn is_ready(&self) -> bool {
        match self.ready {
            Ready::Says(text) => self.log().contains(text),
            Ready::Answers(look) => look(self.port),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn in_use(log: &str) -> bool {
    ["in use", "EADDRINUSE", "eaddrinuse"]
        .iter()
        .any(|text| log.contains(text))
}

fn signal(name: &str, process: &str) {
    let _ = Command::new("kill")
        .args(["-s", name, "--", process])
        .stderr(Stdio::null())
        .status();
}

/// A connection to a port of 127.0.0.1 that does not wait for ever.
pub(crate) fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    let limit = Some(Duration::from_secs(10));
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    Ok(stream)
}

/// A program of one of the system's packages.
///
/// # Panics
/// When it is not installed; the message says how to.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin"].iter();
    let mut found = found.map(|folder| Path::new(folder).join(name));
    match found.find(|program| program.exists()) {
        Some(program) => program,
        None => panic!(
            "{name} is not installed; as root, run: \
             apt-get update && apt-get install -y --no-install-recommends {package}"
        ),
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Panics
/// When it fails.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {printed}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    printed
}
