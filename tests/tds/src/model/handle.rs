//! How a test drives the database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::capture::Half;
use super::hooks::{Hooks, Then, Which};
use super::lsn::Place;
use super::options::Options;
use super::rights::User;
use super::state::{Commit, State};
use super::table::Column;
use super::transaction::Transaction;
use crate::statements::{Connection, collation, moments};
use crate::wire::{Collation, ServerError, Type, Value};

type Result<T> = std::result::Result<T, ServerError>;

struct Shared {
    state: Mutex<State>,
    hooks: Hooks,
    statements: Mutex<BTreeSet<String>>,
}

/// The database. Its clones are the same database.
#[derive(Clone)]
pub struct Database(Arc<Shared>);

/// The database as it was at a moment.
#[derive(Clone, Debug)]
pub struct Backup(State);

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Database(..)")
    }
}

impl Database {
    /// An empty database with the login `sa`, whose password is `Secret-1`.
    pub fn new(name: &str) -> Self {
        let now = moments::parse("2026-03-02T10:00:00").map_or(0, |moment| moment.ticks);
        let schemas = ["dbo", "guest", "INFORMATION_SCHEMA", "sys"];
        let schemas = (1..)
            .zip(schemas)
            .map(|(id, name)| (id, name.to_owned()))
            .collect();
        let fork = 0x5eed_0000_0000_0000_0000_0000_0000_0001;
        let state = State {
            name: name.to_owned(),
            options: Options::default(),
            collation: ("SQL_Latin1_General_CP1_CI_AS".to_owned(), Collation::LATIN1),
            snapshot_allowed: true,
            committed_snapshot: false,
            updateable: true,
            fork,
            first_fork: fork,
            database_guid: 0xdb,
            created: now,
            seq: 1,
            log_end: 0x40,
            dbts: 2000,
            now,
            offset_minutes: 60,
            schemas,
            tables: BTreeMap::new(),
            last_object: 245_575_913,
            last_transaction: 0x0a00,
            open: BTreeMap::new(),
            log: Vec::new(),
            capture: None,
            tracking: None,
            users: vec![User::sysadmin("sa", "Secret-1")],
            roles: BTreeSet::new(),
            life: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            hooks: Hooks::default(),
            statements: Mutex::default(),
        }))
    }

    pub(crate) fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        self.with_state(act)
    }

    pub(crate) fn find(state: &State, table: &str) -> Result<i32> {
        let (schema, name) = table.split_once('.').unwrap_or(("dbo", table));
        let found = state.table(schema, name).map(|table| table.id);
        found.ok_or_else(|| ServerError::invalid_object(table))
    }

    /// A connection of a user, without a wire.
    pub fn connect(&self, user: &str) -> Connection {
        Connection::new(self.clone(), user)
    }

    /// Runs SQL as `sa` in a transaction of its own.
    pub fn run(&self, sql: &str) -> Result<()> {
        self.connect("sa").run(sql)
    }

    /// Changes options.
    pub fn options(&self, change: impl FnOnce(&mut Options)) {
        self.with_state(|state| change(&mut state.options));
    }

    /// Allows SNAPSHOT isolation or not.
    pub fn allow_snapshot(&self, on: bool) {
        self.with_state(|state| state.snapshot_allowed = on);
    }

    /// Makes it a copy that only reads, or the first again.
    pub fn read_only(&self, on: bool) {
        self.with_state(|state| state.updateable = !on);
    }

    /// Another collation for the database.
    pub fn collate(&self, name: &str) -> Result<()> {
        let flags = collation(name)?;
        self.with_state(|state| state.collation = (name.to_owned(), flags));
        Ok(())
    }

    /// Adds or replaces a login with its user.
    pub fn add_user(&self, user: User) {
        self.with_state(|state| {
            state
                .users
                .retain(|other| !super::same_name(&other.name, &user.name));
            state.users.push(user);
        });
    }

    /// Creates a table. A name without a schema is in `dbo`.
    pub fn create_table(&self, table: &str, columns: Vec<Column>, key: &[&str]) -> Result<()> {
        let (schema, name) = table.split_once('.').unwrap_or(("dbo", table));
        let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        self.with(|state| state.create_table(schema, name, columns, &key).map(drop))
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Transaction {
        let id = self.with_state(State::begin);
        Transaction {
            database: self.clone(),
            id,
            done: false,
        }
    }

    /// Inserts a row in a transaction of its own.
    pub fn insert(&self, table: &str, row: &[(&str, Value)]) -> Result<Commit> {
        let transaction = self.begin();
        transaction.insert(table, row)?;
        transaction.commit()
    }

    /// Updates a row in a transaction of its own.
    pub fn update(&self, table: &str, key: &[Value], set: &[(&str, Value)]) -> Result<Commit> {
        let transaction = self.begin();
        transaction.update(table, key, set)?;
        transaction.commit()
    }

    /// Deletes a row in a transaction of its own.
    pub fn delete(&self, table: &str, key: &[Value]) -> Result<Commit> {
        let transaction = self.begin();
        transaction.delete(table, key)?;
        transaction.commit()
    }

    /// All committed rows of a table, each with the names of its columns: what a reader must end with.
    pub fn rows(&self, table: &str) -> Result<Vec<Vec<(String, Value)>>> {
        self.with(|state| {
            let of = &state.tables[&Self::find(state, table)?];
            let row = |(_, row): (u64, &super::table::Row)| {
                let columns = of
                    .columns
                    .iter()
                    .enumerate()
                    .filter(|(_, column)| !column.dropped);
                let value = |at: usize| row.get(at).cloned().unwrap_or(Value::Null);
                columns
                    .map(|(at, column)| (column.name.clone(), value(at)))
                    .collect()
            };
            Ok(of.visible(state.view(None)).map(row).collect())
        })
    }

    /// Turns Change Data Capture on for the database.
    pub fn enable_cdc(&self) {
        self.with_state(State::enable_capture);
    }

    /// Captures a table; gives back the name of the instance.
    pub fn capture_table(
        &self,
        table: &str,
        instance: Option<&str>,
        columns: Option<&[&str]>,
    ) -> Result<String> {
        self.capture_table_for(table, instance, columns, None)
    }

    /// Captures a table, with a gating role.
    pub fn capture_table_for(
        &self,
        table: &str,
        instance: Option<&str>,
        columns: Option<&[&str]>,
        role: Option<&str>,
    ) -> Result<String> {
        let columns: Option<Vec<String>> =
            columns.map(|columns| columns.iter().map(|name| (*name).to_owned()).collect());
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.enable_instance(id, instance, columns.as_deref(), role)
        })
    }

    /// Drops an instance with its change table.
    pub fn drop_instance(&self, name: &str) -> Result<()> {
        self.with(|state| {
            state.seq += 1;
            state
                .capture_mut()?
                .instances
                .retain(|i| !super::same_name(&i.name, name));
            Ok(())
        })
    }

    /// Runs the capture job over at most so many transactions; gives back how many it read.
    pub fn capture(&self, transactions: usize) -> usize {
        self.with_state(|state| state.run_capture(transactions, None))
    }

    /// Runs the capture job over all that was committed.
    pub fn capture_all(&self) -> usize {
        self.capture(usize::MAX)
    }

    /// Runs the capture job over one transaction, and shows only one half of what it writes. The next run
    /// writes the other.
    pub fn capture_half(&self, half: Half) {
        self.with_state(|state| state.run_capture(1, Some(half)));
    }

    /// The capture job notes that nothing happened.
    pub fn idle_marker(&self) -> Result<Place> {
        self.with(State::idle_marker)
    }

    /// Stops the capture job, or starts it again.
    pub fn run_job(&self, on: bool) {
        self.with_state(|state| {
            if let Some(capture) = &mut state.capture {
                capture.job.running = on;
            }
        });
    }

    /// How often the capture job says that it runs.
    pub fn poll_interval(&self, seconds: i64) {
        self.with_state(|state| {
            if let Some(capture) = &mut state.capture {
                capture.job.poll_seconds = seconds;
            }
        });
    }

    /// The capture job meets an error, as `sys.dm_cdc_errors` shows.
    pub fn capture_error(&self, number: i32, text: &str) {
        self.with_state(|state| {
            let now = state.now;
            if let Some(capture) = &mut state.capture {
                capture.errors.push((now, number, text.to_owned()));
            }
        });
    }

    /// Cleans an instance up: what is below a place goes, and its lowest place is that.
    pub fn cleanup(&self, instance: &str, below: Place) -> Result<()> {
        self.with(|state| state.capture_cleanup(instance, below))
    }

    /// The newest place that was captured.
    pub fn max_lsn(&self) -> Option<Place> {
        self.with_state(|state| state.max_lsn(|time| time.until == u64::MAX))
    }

    /// A place behind all that is in the log.
    pub fn log_end(&self) -> Place {
        self.with_state(State::next_place)
    }

    /// Turns Change Tracking on for the database and the table.
    pub fn track(&self, table: &str) -> Result<()> {
        self.track_with(table, true)
    }

    /// The same, with or without the columns that an update changed.
    pub fn track_with(&self, table: &str, columns: bool) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.track_database(None, None);
            state.track_table(id, columns)
        })
    }

    /// Turns Change Tracking off for a table.
    pub fn untrack(&self, table: &str) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.untrack_table(id)
        })
    }

    /// Cleans a table's Change Tracking up to a version.
    pub fn tracking_cleanup(&self, table: &str, upto: i64) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.tracking_cleanup(id, upto);
            Ok(())
        })
    }

    /// The current version of Change Tracking.
    pub fn tracking_version(&self) -> Option<i64> {
        self.with_state(|state| state.tracking_version(state.view(None)))
    }

    /// Empties a table.
    pub fn truncate(&self, table: &str) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.truncate(id)
        })
    }

    /// Adds a column.
    pub fn add_column(&self, table: &str, column: Column) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.add_column(id, column)
        })
    }

    /// Drops a column.
    pub fn drop_column(&self, table: &str, column: &str) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.drop_column(id, column)
        })
    }

    /// Gives a column another type.
    pub fn alter_column(&self, table: &str, column: &str, kind: &Type) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.alter_column(id, column, kind, true)
        })
    }

    /// Drops the primary key.
    pub fn drop_key(&self, table: &str) -> Result<()> {
        self.with(|state| {
            let id = Self::find(state, table)?;
            state.drop_key(id)
        })
    }

    /// Moves the server's clock on.
    pub fn pass(&self, time: std::time::Duration) {
        let ticks = i64::try_from(time.as_nanos() / 100).unwrap_or(0);
        self.with_state(|state| state.now = state.now.saturating_add(ticks));
    }

    /// Another offset of the server's clock from UTC.
    pub fn clock_offset(&self, minutes: i16) {
        self.with_state(|state| state.offset_minutes = minutes);
    }

    /// The database as it is now. Transactions that are open are not in it.
    pub fn backup(&self) -> Backup {
        self.with_state(|state| {
            let mut copy = state.clone();
            let open: Vec<u64> = copy.open.keys().copied().collect();
            for transaction in open {
                copy.rollback(transaction);
            }
            Backup(copy)
        })
    }

    /// The database is restored to what it was: a new recovery fork, and every connection is cut.
    pub fn restore(&self, backup: &Backup) {
        self.back_to(backup, true);
    }

    /// A copy that lagged takes over: the fork stays, and every connection is cut.
    pub fn fail_over(&self, backup: &Backup) {
        self.back_to(backup, false);
    }

    fn back_to(&self, backup: &Backup, forked: bool) {
        self.with_state(|state| {
            let (fork, life, now, users) = (state.fork, state.life, state.now, state.users.clone());
            *state = backup.0.clone();
            state.life = life + 1;
            state.now = now;
            state.users = users;
            state.fork = if forked { fork + 1 } else { fork };
        });
    }

    /// Does something before a statement of a client is run. Nothing is locked meanwhile.
    pub fn before(&self, which: Which, act: impl FnOnce(&Self) + Send + 'static) {
        self.0.hooks.add(which, Then::Before(Box::new(act)));
    }

    /// Does something after a statement of a client was run, before the next one is.
    pub fn after(&self, which: Which, act: impl FnOnce(&Self) + Send + 'static) {
        self.0.hooks.add(which, Then::After(Box::new(act)));
    }

    /// Lets a statement of a client fail: deadlock 1205, 3961 and whatever else.
    pub fn fail(&self, which: Which, error: ServerError) {
        self.0.hooks.add(which, Then::Fail(error));
    }

    /// How many of these have not happened yet.
    pub fn hooks_waiting(&self) -> usize {
        self.0.hooks.waiting()
    }

    pub(crate) fn due(&self, sql: &str) -> Vec<Then> {
        self.0.hooks.due(sql)
    }

    pub(crate) fn note(&self, sql: &str) {
        let mut all = self
            .0
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !all.contains(sql) {
            all.insert(sql.to_owned());
        }
    }

    /// Every distinct statement that clients sent.
    pub fn statements(&self) -> BTreeSet<String> {
        self.0
            .statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
