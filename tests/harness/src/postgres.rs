//! A private PostgreSQL server: its own folder, its own port, gone when dropped.
//!
//! The first start on a machine runs `initdb` once into a template folder; later starts copy it.
//! The server is the system's own, or one of another major version that `tests/postgres` installed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test support: a broken environment fails the test that asked for it"
)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_postgres::{Client, NoTls};

use crate::receiver::free_port;

/// What to run when the server is missing.
const INSTALL: &str = "apt-get update && apt-get install -y postgresql";
/// The variable that names other major versions to test, as in `14,16,17`.
const MAJORS: &str = "POSTGRES_MAJORS";
/// The variable that names a major version to take instead of the system's own, everywhere.
const MAJOR: &str = "POSTGRES_MAJOR";
/// The newest major version: every run tests it beside the system's own.
const NEWEST: u32 = 18;
/// How long a server may take to accept connections.
const START_MAX: Duration = Duration::from_mins(1);

/// How to start a server.
#[derive(Debug, Clone, Default)]
pub struct PostgresOptions {
    /// The major version; by default the system's own server.
    pub major: Option<u32>,
    /// Write to the disk for real. Off by default: only crash tests of the server need it.
    pub fsync: bool,
    /// More settings, as `name=value`; they win over the defaults.
    pub settings: Vec<String>,
    /// The text of `pg_hba.conf`; by default everyone on 127.0.0.1 is trusted.
    pub hba: Option<String>,
    /// Files to put into the data folder before the start (certificates), readable by the server
    /// alone.
    pub files: Vec<(String, Vec<u8>)>,
    /// The data folder of a stopped server to begin with, instead of an empty one.
    pub copy_of: Option<PathBuf>,
    /// More variables of the server's environment.
    pub env: Vec<(String, String)>,
}

/// The major versions a test of every version runs on; `None` = the system's own.
///
/// # Panics
/// When the environment names something that is no version.
pub fn majors() -> Vec<Option<u32>> {
    let Ok(named) = std::env::var(MAJORS) else {
        return vec![None, Some(NEWEST)];
    };
    let number = |text: &str| {
        let number = text.trim().parse();
        number.unwrap_or_else(|_| panic!("{MAJORS} names `{text}`, which is no version"))
    };
    named.split(',').map(number).map(Some).collect()
}

impl PostgresOptions {
    /// Of this major version; `None` = the system's own.
    #[must_use]
    pub fn major(mut self, major: Option<u32>) -> Self {
        self.major = major;
        self
    }

    /// With one more setting.
    #[must_use]
    pub fn setting(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }
}

/// A running server with superuser `postgres`, no password, `wal_level=logical`.
#[derive(Debug)]
pub struct PostgresServer {
    folder: TempDir,
    port: u16,
    options: PostgresOptions,
    process: Option<Child>,
}

impl PostgresServer {
    /// Starts a server.
    ///
    /// # Panics
    /// When PostgreSQL is not installed (the message says how to) or does not start; the message
    /// then holds the server's log.
    pub fn start(mut options: PostgresOptions) -> Self {
        options.major = options.major.or_else(usual);
        let folder = tempfile::Builder::new()
            .prefix("lighterman-pg-")
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
                Err(log) => panic!("PostgreSQL does not start:\n{log}"),
            }
        }
        server
    }

    /// A server with default options that the tests of one program share; it stops when the last
    /// of them has let go of it. Each test makes its own database in it.
    ///
    /// # Panics
    /// As [`PostgresServer::start`].
    pub fn shared() -> Arc<Self> {
        Self::shared_of(None)
    }

    /// As [`PostgresServer::shared`], of a major version.
    ///
    /// # Panics
    /// As [`PostgresServer::start`].
    pub fn shared_of(major: Option<u32>) -> Arc<Self> {
        static SHARED: Mutex<BTreeMap<Option<u32>, Weak<PostgresServer>>> =
            Mutex::new(BTreeMap::new());
        // A test that failed while starting it leaves nothing half done behind.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.get(&major).and_then(Weak::upgrade) {
            return server;
        }
        let server = Arc::new(Self::start(PostgresOptions::default().major(major)));
        shared.insert(major, Arc::downgrade(&server));
        server
    }

    /// Its major version, where it is not the system's own server.
    pub fn major(&self) -> Option<u32> {
        self.options.major
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's own process id.
    pub fn pid(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        pid.lines().next()?.trim().parse().ok()
    }

    /// A connection URL for the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A connection for the superuser; its connection task is spawned.
    pub async fn connect(&self, database: &str) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.url(database), NoTls)
            .await
            .unwrap_or_else(|error| panic!("connect to {database}: {error}"));
        tokio::spawn(connection);
        client
    }

    /// Creates a database.
    pub async fn create_database(&self, name: &str) {
        let client = self.connect("postgres").await;
        let sql = format!("CREATE DATABASE \"{}\"", name.replace('"', "\"\""));
        client.batch_execute(&sql).await.unwrap();
    }

    /// Stops the server at once, as a crash would (immediate shutdown).
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        if let Some(pid) = self.pid() {
            // SIGQUIT is PostgreSQL's immediate shutdown: the children end with it.
            signal(pid, "QUIT");
        }
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(process.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = process.kill();
                let _ = process.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts a stopped server again on the same port and data.
    pub fn start_again(&mut self) {
        assert!(self.process.is_none(), "the server is running");
        if let Err(log) = self.launch() {
            panic!("PostgreSQL does not start again:\n{log}");
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

    /// A standby of this server, which is stopped for the copy and runs again; it has a slot for it
    /// and follows at once.
    ///
    /// # Panics
    /// As [`PostgresServer::start`].
    pub async fn standby(&mut self, options: PostgresOptions) -> Self {
        let client = self.connect("postgres").await;
        client
            .batch_execute("SELECT pg_create_physical_replication_slot('standby'); CHECKPOINT")
            .await
            .unwrap();
        drop(client);
        self.stop();
        let standby = PostgresOptions {
            major: self.options.major,
            copy_of: Some(self.data()),
            files: vec![("standby.signal".to_owned(), Vec::new())],
            ..options
        };
        let follow = format!(
            "primary_conninfo=host=127.0.0.1 port={} user=postgres dbname=postgres",
            self.port
        );
        let standby = standby
            .setting(follow)
            .setting("primary_slot_name=standby")
            .setting("wal_retrieve_retry_interval=100ms");
        let standby = Self::start(standby);
        self.start_again();
        standby
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
        run(
            as_server_user(Path::new("cp"))
                .arg("-a")
                .arg(
                    self.options
                        .copy_of
                        .clone()
                        .unwrap_or_else(|| template(self.options.major)),
                )
                .arg(&data)
                .current_dir("/"),
            || {
                // The folder above belongs to us; the copy must be the server user's.
                give_to_server_user(self.folder.path());
            },
        );
        let hba = self.options.hba.clone().unwrap_or_else(|| {
            "local all all trust\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n"
                .to_owned()
        });
        let files = [("pg_hba.conf".to_owned(), hba.into_bytes())];
        for (name, bytes) in files.iter().chain(&self.options.files) {
            let file = data.join(name);
            fs::write(&file, bytes).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            give_to_server_user(&file);
        }
    }

    fn launch(&mut self) -> Result<(), String> {
        let fsync = if self.options.fsync { "on" } else { "off" };
        let log = fs::File::create(self.log_file()).unwrap();
        let mut command = as_server_user(&binary(self.options.major, "postgres"));
        let env = self.options.env.iter();
        command.envs(env.map(|(name, value)| (name, value)));
        command.arg("-D").arg(self.data());
        let defaults = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={}", self.port),
            format!("unix_socket_directories={}", self.folder.path().display()),
            "wal_level=logical".to_owned(),
            "max_wal_senders=20".to_owned(),
            // Each test leaves its own behind on the server that all of them share.
            "max_replication_slots=300".to_owned(),
            "max_connections=100".to_owned(),
            "shared_buffers=32MB".to_owned(),
            format!("fsync={fsync}"),
        ];
        for setting in defaults.iter().chain(&self.options.settings) {
            command.arg("-c").arg(setting);
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
            if ready(self.folder.path(), self.port) {
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

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether the server answers on its socket and port.
fn ready(folder: &Path, port: u16) -> bool {
    let answers = |host: &str| {
        Command::new(binary(None, "pg_isready"))
            .args(["-q", "-t", "2", "-h", host, "-p", &port.to_string()])
            .status()
            .is_ok_and(|status| status.success())
    };
    answers(&folder.display().to_string()) && answers("127.0.0.1")
}

/// A program of the newest PostgreSQL the system has.
///
/// # Panics
/// When PostgreSQL is not installed.
pub fn program(name: &str) -> PathBuf {
    binary(None, name)
}

/// The major version to take where a test asks for none.
fn usual() -> Option<u32> {
    let named = std::env::var(MAJOR).ok()?;
    let number = named.parse();
    Some(number.unwrap_or_else(|_| panic!("{MAJOR} names `{named}`, which is no version")))
}

/// Where `tests/postgres` puts servers.
pub(crate) fn cache() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|folder| !folder.is_empty());
    if let Some(cache) = folder("LIGHTERMAN_TESTS_CACHE") {
        return PathBuf::from(cache);
    }
    if is_root() {
        return PathBuf::from("/var/cache/lighterman-tests");
    }
    let cache = folder("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(folder("HOME").unwrap_or_default()).join(".cache"),
        PathBuf::from,
    );
    cache.join("lighterman-tests")
}

/// A program of a major version, or of the newest PostgreSQL the system has.
fn binary(major: Option<u32>, name: &str) -> PathBuf {
    if let Some(major) = major {
        let program = cache().join(format!("postgres-{major}/bin")).join(name);
        assert!(
            program.exists(),
            "PostgreSQL {major} is not installed for the tests; run: ./tests/postgres {major}"
        );
        return program;
    }
    let version = |path: &Path| {
        path.file_name()
            .and_then(|name| name.to_str()?.parse::<u32>().ok())
    };
    let newest = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/postgres").exists())
        .filter_map(|path| Some((version(&path)?, path)))
        .max();
    match newest {
        Some((_, path)) => path.join("bin").join(name),
        None => panic!("PostgreSQL is not installed; as root, run: {INSTALL}"),
    }
}

/// A folder with these locales in UTF-8, for a server's `LOCPATH`: machines have few of their own.
///
/// # Panics
/// When `localedef` or its definitions (Debian: the package `locales`) are missing.
pub fn locales(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    // The server runs as another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in names {
        let to = folder.path().join(format!("{name}.UTF-8"));
        let mut making = Command::new("localedef");
        run(making.args(["-i", name, "-f", "UTF-8"]).arg(to), || {});
    }
    folder
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// The server refuses to run as root.
pub(crate) fn as_server_user(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

pub(crate) fn give_to_server_user(path: &Path) {
    if is_root() {
        run(Command::new("chown").arg("postgres:").arg(path), || {});
    }
}

fn signal(pid: u32, name: &str) {
    let _ = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
}

fn run(command: &mut Command, before: impl FnOnce()) {
    before();
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

/// An initialised data folder, made once per machine, user and PostgreSQL version.
fn template(major: Option<u32>) -> PathBuf {
    let bin = binary(major, "initdb");
    let folder = bin.ancestors().nth(2).unwrap_or(Path::new(""));
    let version = fs::read_to_string(folder.join("version")).unwrap_or_else(|_| {
        let name = folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    });
    let version = version.trim();
    let who = if is_root() { "postgres" } else { "self" };
    let done = std::env::temp_dir().join(format!("lighterman-pg-template-{version}-{who}-1"));
    if done.join("data/PG_VERSION").exists() {
        return done.join("data");
    }
    let making = tempfile::Builder::new()
        .prefix("lighterman-pg-making-")
        .tempdir()
        .unwrap();
    fs::set_permissions(making.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give_to_server_user(making.path());
    run(
        as_server_user(&bin)
            .args([
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "-N",
                "-D",
            ])
            .arg(making.path().join("data"))
            .current_dir("/"),
        || {},
    );
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
        let mut server = PostgresServer::start(PostgresOptions::default());
        server.create_database("erp").await;
        let client = server.connect("erp").await;
        client
            .batch_execute("CREATE TABLE t (a int)")
            .await
            .unwrap();
        server.restart();
        let client = server.connect("erp").await;
        let row = client
            .query_one("SELECT count(*), current_setting('wal_level') FROM t", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), 0);
        assert_eq!(row.get::<_, String>(1), "logical");
        let (folder, pid) = (server.folder.path().to_owned(), server.pid().unwrap());
        drop(server);
        assert!(!folder.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
