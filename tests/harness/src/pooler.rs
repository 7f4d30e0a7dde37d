//! A private pgbouncer in front of a private server; gone when dropped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::postgres::{as_server_user, give_to_server_user};
use crate::receiver::free_port;

/// What to run when it is missing.
const INSTALL: &str = "apt-get update && apt-get install -y pgbouncer";
const START_MAX: Duration = Duration::from_secs(30);

/// A running pooler that trusts everyone and gives a connection back after each transaction.
#[derive(Debug)]
pub struct Pooler {
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Pooler {
    /// A pooler in front of a server, with more settings as `name = value` lines.
    ///
    /// # Panics
    /// When pgbouncer is not installed (the message says how to) or does not start; the message
    /// then holds its log.
    pub fn start(server: u16, settings: &str) -> Self {
        let program = Path::new("/usr/sbin/pgbouncer");
        assert!(
            program.exists(),
            "pgbouncer is not installed; as root, run: {INSTALL}"
        );
        let folder = tempfile::Builder::new()
            .prefix("lighterman-pooler-")
            .tempdir()
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let file = |name: &str| folder.path().join(name);
        fs::write(file("users"), "\"postgres\" \"\"\n").unwrap();
        for attempt in 1.. {
            let port = free_port();
            let config = format!(
                "[databases]\n* = host=127.0.0.1 port={server}\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\npool_mode = transaction\n{settings}\n",
                file("users").display()
            );
            fs::write(file("pooler.ini"), config).unwrap();
            give_to_server_user(folder.path());
            let log = fs::File::create(file("pooler.log")).unwrap();
            let mut process = as_server_user(program)
                .arg(file("pooler.ini"))
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let deadline = Instant::now() + START_MAX;
            let log = || fs::read_to_string(file("pooler.log")).unwrap_or_default();
            loop {
                if process.try_wait().unwrap().is_some() {
                    // Another process may have taken the port between our look and the start.
                    assert!(attempt < 5, "pgbouncer does not start:\n{}", log());
                    break;
                }
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self {
                        folder,
                        port,
                        process,
                    };
                }
                if Instant::now() > deadline {
                    let _ = process.kill();
                    panic!("pgbouncer does not answer:\n{}", log());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        unreachable!("the loop returns or panics")
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("pooler.log")).unwrap_or_default()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // As root it runs under another name below a process of ours, which passes this on.
        let pid = self.process.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).status();
        let _ = self.process.wait();
    }
}
