//! A database of one test, at the scripted server or at a real one.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use contract::{CapturedTable, NodeKind, Source};
use tds_server::wire::{Fault, FaultKind, Gate, Options, Point, Server};
use tokio::sync::Mutex;

use crate::admin::{Address, Admin, Rows};
use crate::common::world::{Reader, all_in};
use crate::common::{captured, secret, source, text};
use crate::scripted::{self, Instance};

const URL: &str = "SQLSERVER_URL";
/// How long captured changes may take to come.
const CAPTURE_MAX: Duration = Duration::from_mins(2);

pub struct Site {
    address: Address,
    scripted: Option<(Server, Instance)>,
    name: String,
    admin: Mutex<Admin>,
    tables: Vec<CapturedTable>,
    settings: Vec<(&'static str, NodeKind)>,
    logins: Vec<String>,
    marks: AtomicU32,
}

/// Prints what a person is to see, also where a test passes.
fn print(line: &str) {
    std::io::stderr()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
}

impl Site {
    pub async fn scripted() -> Self {
        let (server, instance, address) = scripted::start(Options::default());
        Self::new(address, Some((server, instance))).await
    }

    /// None where no real server is given.
    pub async fn real() -> Option<Self> {
        let Ok(url) = std::env::var(URL) else {
            static ONCE: Once = Once::new();
            ONCE.call_once(|| {
                print("skipped: no SQLSERVER_URL, never run against SQL Server in this project");
            });
            return None;
        };
        Some(Self::at(&url).await)
    }

    pub async fn at(url: &str) -> Self {
        let address = Address::parse(url).unwrap_or_else(|| {
            panic!("{URL} must be server=tcp:HOST,PORT;user=NAME;password=WORD")
        });
        Self::new(address, None).await
    }

    pub async fn new(address: Address, scripted: Option<(Server, Instance)>) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("lighterman_{}_{number}", std::process::id());
        let mut master = Admin::connect(&address, "master").await;
        master.run(&format!("CREATE DATABASE [{name}]")).await;
        let mut admin = Admin::connect(&address, &name).await;
        admin
            .run("ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON")
            .await;
        let settings = vec![
            ("host", text(&address.host)),
            ("database", text(&name)),
            ("user", text(&address.user)),
            ("password", secret(&address.password)),
            ("tls", text(address.tls)),
        ];
        Self {
            address,
            scripted,
            name,
            admin: Mutex::new(admin),
            tables: Vec::new(),
            settings,
            logins: Vec::new(),
            marks: AtomicU32::new(0),
        }
    }

    /// What a real server answered to something that nobody knows without one. The model's answers are its own.
    pub fn answered(&self, what: &str) {
        if self.scripted.is_none() {
            print(&format!("SQL Server answered: {what}"));
        }
    }

    /// Another connection of the administrator's.
    pub async fn another(&self) -> Admin {
        Admin::connect(&self.address, &self.name).await
    }

    pub async fn run(&self, sql: &str) -> Rows {
        self.admin.lock().await.run(sql).await
    }

    pub async fn one(&self, sql: &str) -> Option<String> {
        self.admin.lock().await.one(sql).await
    }

    pub async fn error(&self, sql: &str) -> u32 {
        self.admin.lock().await.error(sql).await
    }

    /// Makes a table that the source reads.
    pub async fn table(&mut self, name: &str, columns: &str) {
        self.run(&format!("CREATE TABLE dbo.{name} ({columns})"))
            .await;
        self.tables.push(captured("dbo", name));
    }

    /// Tables of numbers and names.
    pub async fn names(&mut self, names: &[&str]) {
        for name in names {
            self.table(name, "id int NOT NULL PRIMARY KEY, name nvarchar(50) NULL")
                .await;
        }
    }

    /// Captures all tables.
    pub async fn cdc(&self) {
        self.run("EXEC sys.sp_cdc_enable_db").await;
        self.run("CREATE TABLE dbo.capture_mark (n int NOT NULL PRIMARY KEY)")
            .await;
        self.capture("capture_mark", None).await;
        for table in &self.tables {
            self.capture(&table.table.name, None).await;
        }
    }

    pub async fn capture(&self, table: &str, instance: Option<&str>) {
        let instance =
            instance.map_or_else(String::new, |it| format!(", @capture_instance = N'{it}'"));
        self.run(&format!(
            "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N'{table}', @role_name = \
             NULL, @supports_net_changes = 0{instance}"
        ))
        .await;
    }

    pub async fn release(&self, table: &str, instance: &str) {
        self.run(&format!(
            "EXEC sys.sp_cdc_disable_table @source_schema = N'dbo', @source_name = N'{table}', \
             @capture_instance = N'{instance}'"
        ))
        .await;
    }

    /// Tracks all tables.
    pub async fn track(&self) {
        self.run(
            "ALTER DATABASE CURRENT SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)",
        )
        .await;
        for table in &self.tables {
            let name = &table.table.name;
            self.run(&format!("ALTER TABLE dbo.{name} ENABLE CHANGE_TRACKING"))
                .await;
        }
    }

    /// Until all that was committed is captured: by the server's own job, or where none runs by us.
    pub async fn captured(&self) {
        let n = self.marks.fetch_add(1, Ordering::Relaxed);
        self.run(&format!("INSERT INTO dbo.capture_mark (n) VALUES ({n})"))
            .await;
        let told = format!("SELECT COUNT(*) FROM cdc.[dbo_capture_mark_CT] AS c WHERE c.n = {n}");
        let waiting = async {
            while self.one(&told).await.as_deref() != Some("1") {
                // It fails while the server's own job is at it.
                let scanned = self
                    .admin
                    .lock()
                    .await
                    .try_run("EXEC sys.sp_cdc_scan")
                    .await;
                if scanned.is_err() {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        };
        let waited = tokio::time::timeout(CAPTURE_MAX, waiting).await;
        assert!(
            waited.is_ok(),
            "nothing is captured: SQL Server Agent does not run?"
        );
    }

    /// Lets time go by, which a real server's clock has to do by itself.
    pub async fn pass(&self, time: Duration) {
        match &self.scripted {
            Some((_, instance)) => instance.pass(time),
            None => tokio::time::sleep(time).await,
        }
    }

    /// The scripted server says nothing to the next statement with this part; a real one is not kept from it.
    pub fn silence(&self, part: &str, until: &Gate) {
        if let Some((server, _)) = &self.scripted {
            let silence = FaultKind::Stall(Point::Start, until.clone());
            server.handle().fault(Fault::new(silence).on(part));
        }
    }

    /// A login that may read all tables, and nothing else. The source is it from now on.
    pub async fn least(&mut self) {
        let (login, password) = (format!("{}_reader", self.name), "Str0ng!Passw0rd-9");
        self.run(&format!(
            "CREATE LOGIN [{login}] WITH PASSWORD = '{password}'"
        ))
        .await;
        self.run(&format!(
            "CREATE USER [{login}] FOR LOGIN [{login}]; ALTER ROLE db_datareader ADD MEMBER [{login}]"
        ))
        .await;
        self.set("user", text(&login));
        self.set("password", secret(password));
        self.logins.push(login);
    }

    pub async fn back_up(&self) {
        let mut master = Admin::connect(&self.address, "master").await;
        let name = &self.name;
        master
            .run(&format!(
                "BACKUP DATABASE [{name}] TO DISK = N'{name}.bak' WITH INIT, COPY_ONLY"
            ))
            .await;
    }

    pub async fn restore(&self) {
        let mut master = Admin::connect(&self.address, "master").await;
        let name = &self.name;
        for sql in [
            format!("ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE"),
            format!("RESTORE DATABASE [{name}] FROM DISK = N'{name}.bak' WITH REPLACE"),
            format!("ALTER DATABASE [{name}] SET MULTI_USER"),
        ] {
            master.run(&sql).await;
        }
        *self.admin.lock().await = self.another().await;
    }

    pub fn set(&mut self, name: &'static str, kind: NodeKind) {
        self.settings.retain(|(other, _)| *other != name);
        self.settings.push((name, kind));
    }

    /// All tables in one mode.
    pub fn mode(&mut self, mode: &str) {
        let modes = all_in(&self.tables, mode);
        self.set("modes", modes);
    }

    pub fn source(&self) -> Arc<dyn Source> {
        source(self.address.port, &self.settings, self.tables.clone())
    }

    pub fn open(&self) -> Reader {
        Reader::new(self.source(), self.tables.last().unwrap().table.clone())
    }

    /// Captures tables of numbers and names, and reads them from now on.
    pub async fn capturing(&mut self, names: &[&str]) -> Reader {
        self.names(names).await;
        self.cdc().await;
        self.open().started().await
    }

    /// The same, tracked.
    pub async fn tracking(&mut self, names: &[&str]) -> Reader {
        self.names(names).await;
        self.track().await;
        self.open().started().await
    }

    /// What a table has, as [`crate::common::world::Rows::of`] has what was told.
    pub async fn truth(&self, table: &str, columns: &[&str]) -> Vec<BTreeMap<String, String>> {
        let sql = format!("SELECT {} FROM dbo.{table}", columns.join(", "));
        let rows = self.run(&sql).await.into_iter().map(|row| {
            let cells = row
                .into_iter()
                .map(|cell| cell.unwrap_or("NULL".to_owned()));
            columns
                .iter()
                .map(|name| (*name).to_owned())
                .zip(cells)
                .collect()
        });
        let mut rows: Vec<BTreeMap<String, String>> = rows.collect();
        rows.sort_by_key(|row| row.get("id").cloned());
        rows
    }
}

/// The database goes with its test.
impl Drop for Site {
    fn drop(&mut self) {
        let (address, name) = (self.address.clone(), self.name.clone());
        let logins = std::mem::take(&mut self.logins);
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut master = Admin::connect(&address, "master").await;
                let single =
                    format!("ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE");
                master.run(&single).await;
                master.run(&format!("DROP DATABASE [{name}]")).await;
                for login in logins {
                    master.run(&format!("DROP LOGIN [{login}]")).await;
                }
            });
        });
        let dropped = dropping.join();
        assert!(
            dropped.is_ok() || std::thread::panicking(),
            "the database {} is left behind",
            self.name
        );
    }
}
