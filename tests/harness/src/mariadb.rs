//! A private MariaDB server: its own folder, its own port, gone when dropped.
//!
//! The first start on a machine runs `mariadb-install-db` once into a template folder; later starts
//! copy it. The server is the system's own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a broken environment fails the test that asked for it"
)]

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, OptsBuilder};
use tempfile::TempDir;

use crate::receiver::free_port;

/// What to run when the server is missing.
const INSTALL: &str = "apt-get update && apt-get install -y --no-install-recommends \
                       mariadb-server-core mariadb-client";
/// How long a server may take to accept connections.
const START_MAX: Duration = Duration::from_mins(1);
/// How long a replica may take to have all of its primary.
const FOLLOW_MAX_SECONDS: u32 = 30;
/// Whom the server runs as where we are root: it refuses to be root, and no service of ours has a
/// user of its own.
const SERVER_USER: &str = "nobody";
/// Small, so that a copy of the template is cheap.
const REDO_LOG: &str = "innodb_log_file_size=8M";

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct MariadbOptions {
    /// Write to the disk for real. Off by default: only crash tests of the server need it.
    pub fsync: bool,
    /// More settings, as `name=value`; they win over the defaults.
    pub settings: Vec<String>,
    /// Files to put into the data folder before the start (certificates), readable by the server
    /// alone. A setting names them with the data folder in front.
    pub files: Vec<(String, Vec<u8>)>,
    /// The time zone of the machine, as the server sees it; otherwise this machine's.
    pub zone: Option<String>,
    /// The data folder of a stopped server to begin with, instead of an empty one.
    pub copy_of: Option<PathBuf>,
}

impl MariadbOptions {
    /// With one more setting.
    #[must_use]
    pub fn setting(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }
}

/// A running server with user `root` without a password, and a binary log of whole rows.
#[derive(Debug)]
pub struct MariadbServer {
    folder: TempDir,
    port: u16,
    options: MariadbOptions,
    process: Option<Child>,
}

impl MariadbServer {
    /// Starts a server.
    ///
    /// # Panics
    /// When MariaDB is not installed (the message says how to) or does not start; the message then
    /// holds the server's log.
    pub fn start(options: MariadbOptions) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lighterman-maria-")
            .tempdir()
            .unwrap();
        // The server runs as another user: it must be able to walk in.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self {
            folder,
            port: 0,
            options,
            process: None,
        };
        server.init();
        for attempt in 1.. {
            server.port = free_port();
            match server.launch() {
                Ok(()) => break,
                // Another process may have taken the port between our look and the start.
                Err(log) if attempt < 5 && log.contains("Address already in use") => {}
                Err(log) => panic!("MariaDB does not start:\n{log}"),
            }
        }
        server
    }

    /// A server with default options that the tests of one program share; it stops when the last
    /// of them has let go of it. Each test makes its own database in it.
    ///
    /// # Panics
    /// As [`MariadbServer::start`].
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariadbServer>> = Mutex::new(Weak::new());
        // A test that failed while starting it leaves nothing half done behind.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Arc::new(Self::start(MariadbOptions::default()));
        *shared = Arc::downgrade(&server);
        server
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's own process id.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// A connection for `root`, in a database where one is named.
    pub async fn connect(&self, database: Option<&str>) -> Conn {
        let options = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.port)
            .user(Some("root"))
            .db_name(database)
            // The library would go on over the server's own socket.
            .prefer_socket(false);
        Conn::new(options)
            .await
            .unwrap_or_else(|error| panic!("connect to {database:?}: {error}"))
    }

    /// Runs statements as `root`, on a connection of their own.
    ///
    /// # Panics
    /// When the server refuses one.
    pub async fn run(&self, sql: &str) {
        let mut conn = self.connect(None).await;
        conn.query_drop(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        conn.disconnect().await.unwrap();
    }

    /// The first row of a query, as `root`.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ask<T: FromRow + Send + 'static>(&self, sql: &str) -> T {
        let mut conn = self.connect(None).await;
        let row = conn
            .query_first(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"));
        conn.disconnect().await.unwrap();
        row.unwrap_or_else(|| panic!("{sql}: no row"))
    }

    /// Stops the server at once, as a crash would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Stops the server in order, as an administrator does.
    ///
    /// # Panics
    /// When it does not stop.
    pub async fn shut_down(&mut self) {
        self.run("SHUTDOWN").await;
        let Some(mut process) = self.process.take() else {
            return;
        };
        let deadline = Instant::now() + START_MAX;
        while process.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                let _ = process.kill();
                panic!("MariaDB does not stop:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a stopped server again on the same port and data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server is running");
        if let Err(log) = self.launch() {
            panic!("MariaDB does not start again:\n{log}");
        }
    }

    /// Stops the server at once and starts it again on the same port and data.
    pub fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// A server that follows this one by its GTIDs, from the beginning of its log, and writes what
    /// it gets to a log of its own. It has another server id.
    ///
    /// # Panics
    /// As [`MariadbServer::start`].
    pub async fn replica(&self, options: MariadbOptions) -> Self {
        let replica = MariadbOptions {
            settings: [
                &["server_id=2".to_owned(), "log_slave_updates=ON".to_owned()],
                options.settings.as_slice(),
            ]
            .concat(),
            ..options
        };
        let replica = Self::start(replica);
        replica
            .run(&format!(
                "CHANGE MASTER TO master_host = '127.0.0.1', master_port = {}, master_user = 'root', \
                 master_use_gtid = slave_pos, master_connect_retry = 1; START SLAVE",
                self.port
            ))
            .await;
        replica
    }

    /// Waits until this replica has everything that is in its primary's log now.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn caught_up_with(&self, primary: &Self) {
        let position: String = primary.ask("SELECT @@GLOBAL.gtid_binlog_pos").await;
        let there: i32 = self
            .ask(&format!(
                "SELECT MASTER_GTID_WAIT('{position}', {FOLLOW_MAX_SECONDS})"
            ))
            .await;
        assert_eq!(
            there,
            0,
            "the replica is not at {position}:\n{}",
            self.log()
        );
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }

    fn init(&self) {
        let data = self.data();
        let from = self.options.copy_of.clone().unwrap_or_else(template);
        run(Command::new("cp").arg("-a").arg(from).arg(&data));
        for (name, bytes) in &self.options.files {
            let file = data.join(name);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        give_to_server_user(self.folder.path());
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.log_file()).unwrap();
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let (flush, sync) = if self.options.fsync { (1, 1) } else { (0, 0) };
        let mut command = Command::new(program("mariadbd"));
        command.arg("--no-defaults");
        if is_root() {
            command.arg(format!("--user={SERVER_USER}"));
        }
        let defaults = [
            format!("datadir={}", at("data")),
            format!("socket={}", at("socket")),
            format!("pid_file={}", at("pid")),
            format!("tmpdir={}", self.folder.path().display()),
            "bind_address=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            "skip_name_resolve=ON".to_owned(),
            "server_id=1".to_owned(),
            "log_bin=binlog".to_owned(),
            "binlog_format=ROW".to_owned(),
            "binlog_row_image=FULL".to_owned(),
            "binlog_row_metadata=FULL".to_owned(),
            "character_set_server=utf8mb4".to_owned(),
            format!("innodb_flush_log_at_trx_commit={flush}"),
            format!("sync_binlog={sync}"),
            "innodb_buffer_pool_size=16M".to_owned(),
            REDO_LOG.to_owned(),
            "key_buffer_size=1M".to_owned(),
            "aria_pagecache_buffer_size=1M".to_owned(),
            "performance_schema=OFF".to_owned(),
        ];
        for setting in defaults.iter().chain(&self.options.settings) {
            command.arg(format!("--{setting}"));
        }
        if let Some(zone) = &self.options.zone {
            command.env("TZ", zone);
        }
        let mut process = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + START_MAX;
        loop {
            if process.try_wait().unwrap().is_some() {
                return Err(self.log());
            }
            if ready(self.port) {
                self.process = Some(process);
                return Ok(());
            }
            if Instant::now() > deadline {
                self.process = Some(process);
                self.stop();
                return Err(format!("not ready after {START_MAX:?}\n{}", self.log()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for MariadbServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a server greets on this port: its first packet begins with the version of the protocol.
fn ready(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let mut greeting = [0; 5];
    stream
        .set_read_timeout(Some(Duration::from_secs(2)))
        .is_ok_and(|()| stream.read_exact(&mut greeting).is_ok() && greeting[4] == 10)
}

/// A program of MariaDB's.
///
/// # Panics
/// When it is not installed.
pub fn program(name: &str) -> PathBuf {
    let found = ["/usr/sbin", "/usr/bin"].iter();
    let mut found = found.map(|folder| Path::new(folder).join(name));
    match found.find(|program| program.exists()) {
        Some(program) => program,
        None => panic!("MariaDB is not installed; as root, run: {INSTALL}"),
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

fn give_to_server_user(path: &Path) {
    if is_root() {
        run(Command::new("chown")
            .arg("-R")
            .arg(format!("{SERVER_USER}:"))
            .arg(path));
    }
}

fn run(command: &mut Command) {
    let output = command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("run {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// An initialised data folder, made once per machine, user and version.
fn template() -> PathBuf {
    let version = Command::new(program("mariadbd"))
        .args(["--no-defaults", "--version"])
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = version.split("Ver ").nth(1).unwrap_or_default();
    let number = number.split_whitespace().next().unwrap_or_default();
    let who = if is_root() { SERVER_USER } else { "self" };
    let done = std::env::temp_dir().join(format!("lighterman-maria-template-{number}-{who}-1"));
    if done.join("data/mysql").exists() {
        return done.join("data");
    }
    let making = tempfile::Builder::new()
        .prefix("lighterman-maria-making-")
        .tempdir()
        .unwrap();
    fs::set_permissions(making.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give_to_server_user(making.path());
    let mut command = Command::new(program("mariadb-install-db"));
    command.arg("--no-defaults");
    if is_root() {
        command.arg(format!("--user={SERVER_USER}"));
    }
    run(command
        .arg("--auth-root-authentication-method=normal")
        .arg("--skip-test-db")
        .arg("--skip-name-resolve")
        .arg(format!(
            "--datadir={}",
            making.path().join("data").display()
        ))
        .arg(format!("--{REDO_LOG}"))
        .current_dir("/"));
    // Whoever is first wins; the loser's copy goes.
    let made = making.keep();
    if fs::rename(&made, &done).is_err() {
        let _ = fs::remove_dir_all(&made);
    }
    done.join("data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_starts_restarts_and_goes() {
        let mut server = MariadbServer::start(MariadbOptions::default());
        server
            .run("CREATE DATABASE erp; CREATE TABLE erp.t (a int)")
            .await;
        server.restart();
        let found: (i64, String, String) = server
            .ask("SELECT count(*), @@binlog_format, @@binlog_row_metadata FROM erp.t")
            .await;
        assert_eq!(found, (0, "ROW".to_owned(), "FULL".to_owned()));
        let (folder, pid) = (server.folder.path().to_owned(), server.pid().unwrap());
        drop(server);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[tokio::test]
    async fn a_replica_follows() {
        let primary = MariadbServer::start(MariadbOptions::default());
        let setup = "CREATE DATABASE erp; CREATE TABLE erp.t (a int)";
        primary.run(setup).await;
        let replica = primary.replica(MariadbOptions::default()).await;
        primary.run("INSERT INTO erp.t VALUES (1), (2)").await;
        replica.caught_up_with(&primary).await;
        let rows: i64 = replica.ask("SELECT count(*) FROM erp.t").await;
        assert_eq!(rows, 2);
        let position = "SELECT @@GLOBAL.gtid_binlog_pos";
        let (ours, theirs): (String, String) =
            (replica.ask(position).await, primary.ask(position).await);
        assert_eq!(ours, theirs);
    }
}
