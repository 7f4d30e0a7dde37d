//! Streams with short waits, over the scripted server.

use std::collections::BTreeSet;
use std::time::Duration;

use contract::{
    CapturedTable, ChunkLimits, Op, Position, Resume, RowChange, Secret, SnapshotReader as _,
    TableName,
};
use tds_server::model::{Column, Database, Which};
use tds_server::wire::{
    Fault, FaultKind, Gate, Length, Options, Point, Server, ServerError, Type, Value,
};

use super::*;
use crate::settings::{Auth, of_tests};
use crate::snapshot::TableReader;

const SOON: Duration = Duration::from_secs(10);

/// What agents of one settings file share, and what they have stored.
struct Agent {
    database: Database,
    server: Server,
    settings: Settings,
    tables: Vec<CapturedTable>,
    shared: Shared,
    tuning: Tuning,
    resume: Resume,
    stream: Option<Stream>,
    told: Vec<RowChange>,
    /// What was untold when this stream was asked last.
    noted: Vec<Untold>,
    /// Why tables were read again.
    said: Vec<(String, String)>,
    /// The keys that a destination holds.
    held: BTreeSet<String>,
}

impl Agent {
    fn new() -> Self {
        let database = Database::new("ERP");
        let server = Server::start(Options::default(), database.clone()).unwrap();
        let mut settings = of_tests(server.address().port());
        settings.auth = Auth::Sql {
            user: "sa".to_owned(),
            password: Secret::new("Secret-1"),
        };
        let tuning = Tuning {
            poll: Duration::from_millis(10),
            look: Duration::from_millis(30),
            silence: Duration::from_millis(200),
            idle: Duration::from_millis(50),
            ..Tuning::of(&settings)
        };
        let mut tables = Vec::new();
        for name in ["other", "t"] {
            let columns = vec![
                Column::new("id", Type::Int).not_null(),
                Column::new("name", Type::NVarChar(Length::Of(20))),
            ];
            database.create_table(name, columns, &["id"]).unwrap();
            tables.push(CapturedTable {
                table: TableName::new("dbo", name),
                key: Vec::new(),
                columns: Vec::new(),
            });
        }
        Self {
            database,
            server,
            settings,
            tables,
            shared: Shared::default(),
            tuning,
            resume: Resume {
                epoch: 1,
                ..Resume::default()
            },
            stream: None,
            told: Vec::new(),
            noted: Vec::new(),
            said: Vec::new(),
            held: BTreeSet::new(),
        }
    }

    /// With tracked tables, where nothing but a change of a row counts as a version.
    fn tracked() -> Self {
        let this = Self::new();
        this.database.options(|options| {
            options.truncate_is_a_version = false;
            options.enable_is_a_version = false;
        });
        for table in ["other", "t"] {
            this.database.track(table).unwrap();
        }
        this
    }

    fn insert(&self, table: &str, id: i32) {
        let row = [("id", Value::Int(id)), ("name", Value::text("x"))];
        self.database.insert(table, &row).unwrap();
    }

    async fn open(&mut self) {
        let (settings, tables) = (&self.settings, &self.tables);
        // The silence of these tests is short enough to be that of a busy machine: it is connected to again.
        let mut tries = 0;
        let stream = loop {
            let opening = open(settings, tables, &self.resume, &self.shared, self.tuning);
            match Box::pin(opening).await {
                Err(SourceError::Disconnected(_)) if tries < 20 => tries += 1,
                opened => break opened.unwrap(),
            }
        };
        self.noted.clear();
        self.hear(stream.untold()).await;
        self.stream = Some(stream);
    }

    /// The agent is stopped: what it had in memory is gone.
    fn stop(&mut self) {
        self.stream = None;
        self.shared = Shared::default();
    }

    /// Tables that are named are read again, and rows that are not there any more end.
    async fn hear(&mut self, untold: &[Untold]) {
        let noted = std::mem::replace(&mut self.noted, untold.to_vec());
        let is_new = |one: &&Untold| !noted.iter().any(|known| known.table == one.table);
        for one in untold.iter().filter(is_new) {
            self.said.push((one.table.name.clone(), one.what.clone()));
            let (settings, tables) = (&self.settings, &self.tables);
            let opening = TableReader::open(settings, tables, 1, &self.shared);
            let mut reader = Box::pin(opening).await.unwrap();
            let limits = ChunkLimits {
                rows_max: 100,
                bytes_max: 1 << 20,
            };
            let chunk = reader.chunk(&one.table, None, limits).await.unwrap();
            let own = format!("{}/", one.table.name);
            self.held.retain(|key| !key.starts_with(&own));
            self.held.extend(chunk.rows.iter().map(key));
        }
    }

    /// One batch, or the end of the stream.
    async fn batch(&mut self) -> Option<usize> {
        if self.stream.is_none() {
            self.open().await;
        }
        let stream = self.stream.as_mut().unwrap();
        let batch = match tokio::time::timeout(SOON, stream.next()).await {
            Ok(Ok(batch)) => batch,
            Ok(Err(SourceError::Disconnected(_))) => {
                self.stream = None;
                return None;
            }
            other => panic!("no batch: {other:?}, said {:?}", self.said),
        };
        let untold = stream.untold().to_vec();
        self.resume.after = Some(batch.end.clone());
        self.resume.server = stream.server();
        stream.acknowledge(&batch.end).await.unwrap();
        for change in &batch.changes {
            if change.op == Op::Delete {
                self.held.remove(&key(change));
            } else {
                self.held.insert(key(change));
            }
        }
        self.told.extend(batch.changes.clone());
        self.hear(&untold).await;
        Some(batch.changes.len())
    }

    /// Until a destination holds these.
    async fn until(&mut self, keys: &[&str]) {
        let keys: BTreeSet<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let reading = async {
            while self.held != keys {
                self.batch().await;
            }
        };
        let reached = tokio::time::timeout(SOON, reading).await.is_ok();
        assert!(reached, "{keys:?}: {:?}, said {:?}", self.held, self.said);
    }

    /// The positions of what was told, none twice.
    fn positions(&self) -> Vec<&Position> {
        let positions: Vec<&Position> = self.told.iter().map(|change| &change.position).collect();
        assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
        positions
    }
}

fn key(change: &RowChange) -> String {
    format!("{}/{}", change.table().name, change.key().unwrap().as_str())
}

/// The engine leaves out a border that comes without changes soon after another one.
#[tokio::test]
async fn a_border_that_was_not_stored_comes_again() {
    let mut agent = Agent::tracked();
    agent.open().await;
    agent.insert("t", 1);
    agent.until(&["t/1"]).await;
    // What no table of ours is told of: a border, and nothing else.
    agent
        .database
        .create_table(
            "third",
            vec![Column::new("id", Type::Int).not_null()],
            &["id"],
        )
        .unwrap();
    agent.database.track("third").unwrap();
    agent
        .database
        .insert("third", &[("id", Value::Int(1))])
        .unwrap();
    let stream = agent.stream.as_mut().unwrap();
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let batch = tokio::time::timeout(SOON, stream.next())
            .await
            .unwrap()
            .unwrap();
        assert!(batch.changes.is_empty());
        ends.push(batch.end);
    }
    assert_eq!(ends[0].seq, 0);
    assert!(ends[1] > ends[0], "{ends:?}");
    stream.acknowledge(&ends[1]).await.unwrap();
    let again = tokio::time::timeout(Duration::from_millis(500), stream.next()).await;
    assert!(
        again.is_err(),
        "stored, and nothing has happened: {again:?}"
    );
}

/// Empties a table in a way that leaves no version behind.
fn empty(agent: &Agent, by_truncate: bool) {
    if by_truncate {
        agent.database.truncate("t").unwrap();
        return;
    }
    agent.database.untrack("t").unwrap();
    for id in [1, 2] {
        agent.database.delete("t", &[Value::Int(id)]).unwrap();
    }
    agent.database.track("t").unwrap();
}

/// Scenario 25, and trap 12, where neither counts as a version of its own: nothing but the life of the table's
/// tracking tells it.
#[tokio::test]
async fn trap_12_a_table_that_is_emptied_without_a_version_is_read_again() {
    for by_truncate in [true, false] {
        for running in [true, false] {
            let case = format!("truncated {by_truncate}, running {running}");
            let mut agent = Agent::tracked();
            agent.batch().await;
            agent.insert("other", 7);
            agent.insert("t", 1);
            agent.insert("t", 2);
            agent.until(&["other/7", "t/1", "t/2"]).await;
            if !running {
                agent.stop();
            }
            let version = agent.database.tracking_version();
            empty(&agent, by_truncate);
            assert_eq!(agent.database.tracking_version(), version, "{case}");
            agent.until(&["other/7"]).await;
            // It is told on, and said once: also when the agent is started again.
            agent.insert("t", 3);
            agent.until(&["other/7", "t/3"]).await;
            agent.stop();
            agent.insert("other", 8);
            agent.until(&["other/7", "other/8", "t/3"]).await;
            let said: Vec<&str> = agent.said.iter().map(|(of, _)| of.as_str()).collect();
            assert_eq!(said, ["t"], "{case}: {:?}", agent.said);
            assert!(agent.said[0].1.contains("TRUNCATE"), "{:?}", agent.said);
        }
    }
}

/// The same in a database in which nothing that is tracked has changed since tracking began: it begins anew with
/// the very version that it had begun with.
#[tokio::test]
async fn trap_12_tracking_that_begins_anew_with_the_same_version_is_seen() {
    for running in [true, false] {
        let mut agent = Agent::new();
        agent
            .database
            .options(|options| options.enable_is_a_version = false);
        agent.insert("t", 1);
        agent.insert("t", 2);
        for table in ["other", "t"] {
            agent.database.track(table).unwrap();
        }
        agent.batch().await;
        // Read whole, as every table is at first.
        agent.held = ["t/1", "t/2"].map(str::to_owned).into();
        if !running {
            agent.stop();
        }
        empty(&agent, false);
        agent.until(&[]).await;
        assert_eq!(agent.said.len(), 1, "{running}: {:?}", agent.said);
    }
}

/// The same where the next page comes before the next look: all up to the version at which it was emptied is
/// told already, and the server has no more to say against that.
#[tokio::test]
async fn trap_12_a_table_that_is_emptied_and_filled_again_is_read_again() {
    for by_truncate in [true, false] {
        for snapshots in [true, false] {
            let mut agent = Agent::tracked();
            agent.database.allow_snapshot(snapshots);
            agent.tuning.look = Duration::from_hours(1);
            agent.batch().await;
            agent.insert("t", 1);
            agent.insert("t", 2);
            agent.until(&["t/1", "t/2"]).await;
            empty(&agent, by_truncate);
            agent.insert("t", 3);
            agent.until(&["t/3"]).await;
            assert_eq!(agent.said.len(), 1, "{:?}", agent.said);
        }
    }
}

/// The same while a page is read.
#[tokio::test]
async fn trap_12_a_table_that_is_emptied_within_a_page_is_read_again() {
    for part in [
        "CHANGE_TRACKING_MIN_VALID_VERSION",
        "CHANGETABLE(CHANGES [dbo].[t]",
    ] {
        for snapshots in [true, false] {
            let mut agent = Agent::tracked();
            agent.database.allow_snapshot(snapshots);
            agent.tuning.look = Duration::from_hours(1);
            agent.batch().await;
            agent.insert("t", 1);
            agent.until(&["t/1"]).await;
            let act = |database: &Database| database.truncate("t").unwrap();
            agent.database.before(Which::next(part), act);
            agent.insert("other", 1);
            while agent.database.hooks_waiting() > 0 {
                agent.batch().await;
            }
            agent.insert("t", 3);
            agent.until(&["other/1", "t/3"]).await;
        }
    }
}

/// The life of a tracked table is no reason to tell a captured transaction again that was told in part.
#[tokio::test]
async fn a_captured_transaction_is_gone_on_with_beside_a_tracked_table_that_was_emptied() {
    let mut agent = Agent::tracked();
    agent.database.untrack("other").unwrap();
    agent.database.enable_cdc();
    agent.database.capture_table("other", None, None).unwrap();
    agent.tuning.batch_bytes = 1;
    agent.batch().await;
    agent.insert("t", 1);
    agent.until(&["t/1"]).await;
    let transaction = agent.database.begin();
    for id in 1..=5 {
        let row = [("id", Value::Int(id)), ("name", Value::text("x"))];
        transaction.insert("other", &row).unwrap();
    }
    transaction.commit().unwrap();
    agent.database.capture_all();
    agent.until(&["t/1", "other/1", "other/2"]).await;
    assert!(agent.resume.after.as_ref().unwrap().seq > 0);
    agent.stop();
    agent.database.truncate("t").unwrap();
    let all = ["other/1", "other/2", "other/3", "other/4", "other/5"];
    agent.until(&all).await;
    assert_eq!(agent.positions().len(), 6, "{:?}", agent.positions());
    assert_eq!(agent.said.len(), 1, "{:?}", agent.said);
}

/// Where our user may not see when tracking began, the lowest valid version is what there is.
#[tokio::test]
async fn without_the_life_of_the_tracking_the_lowest_version_still_tells_a_gap() {
    let mut agent = Agent::tracked();
    agent
        .database
        .options(|options| options.truncate_is_a_version = true);
    let hide = |agent: &Agent| {
        let error = ServerError::new(229, 14, "The SELECT permission was denied.");
        let which = Which::next("SELECT ctt.object_id, ctt.begin_version");
        agent.database.fail(which, error);
    };
    agent.tuning.look = Duration::from_hours(1);
    hide(&agent);
    agent.batch().await;
    assert!(!agent.resume.server.clone().unwrap().contains("life="));
    agent.insert("t", 1);
    agent.until(&["t/1"]).await;
    agent.database.truncate("t").unwrap();
    agent.until(&[]).await;
    assert!(agent.said[0].1.contains("are lost"), "{:?}", agent.said);
    // Once it was seen and is not any more, nobody knows what happened: said once.
    agent.stop();
    agent.insert("other", 1);
    agent.until(&["other/1"]).await;
    assert!(agent.resume.server.clone().unwrap().contains("life="));
    for _ in 0..2 {
        agent.stop();
        hide(&agent);
        agent.open().await;
        agent.insert("other", 2);
        agent.until(&["other/1", "other/2"]).await;
        agent.database.delete("other", &[Value::Int(2)]).unwrap();
        agent.until(&["other/1"]).await;
    }
    let again: Vec<&str> = agent.said.iter().map(|(of, _)| of.as_str()).collect();
    assert_eq!(again, ["t", "other", "t"], "{:?}", agent.said);
}

/// As after a failover to a server where our login may see less.
#[tokio::test]
async fn a_life_of_the_database_that_cannot_be_seen_any_more_has_all_tables_read_again() {
    let mut agent = Agent::tracked();
    agent.batch().await;
    agent.insert("t", 1);
    agent.until(&["t/1"]).await;
    for _ in 0..2 {
        agent.stop();
        let error = ServerError::new(262, 14, "VIEW ANY DATABASE permission denied.");
        let which = Which::next("rs.recovery_fork_guid");
        agent.database.fail(which, error);
        agent.open().await;
        agent.insert("t", 2);
        agent.until(&["t/1", "t/2"]).await;
        agent.database.delete("t", &[Value::Int(2)]).unwrap();
        agent.until(&["t/1"]).await;
    }
    let said: Vec<&str> = agent.said.iter().map(|(of, _)| of.as_str()).collect();
    assert_eq!(said, ["other", "t"], "{:?}", agent.said);
    assert!(
        agent.said[0].1.contains("recovery fork"),
        "{:?}",
        agent.said
    );
}

/// Within an OR the server may not see where it can begin to read.
#[tokio::test]
async fn what_is_paged_by_an_or_is_bounded_by_its_first_column() {
    let mut agent = Agent::tracked();
    agent.database.enable_cdc();
    agent.database.capture_table("other", None, None).unwrap();
    agent.tuning.page_rows = 1;
    agent.batch().await;
    for id in 1..4 {
        agent.insert("other", id);
        agent.insert("t", id);
    }
    agent.database.capture_all();
    let keys = ["other/1", "other/2", "other/3", "t/1", "t/2", "t/3"];
    agent.until(&keys).await;
    let sent = agent.server.handle().statements();
    for (paged, bound) in [
        (
            "(c.[__$start_lsn] > @P3 OR (",
            " AND c.[__$start_lsn] >= @P3 AND (c.",
        ),
        (
            "(CT.SYS_CHANGE_VERSION > @P4 OR (",
            " AND CT.SYS_CHANGE_VERSION >= @P4 AND (CT.",
        ),
    ] {
        let paging: Vec<&String> = sent.iter().filter(|text| text.contains(paged)).collect();
        assert!(!paging.is_empty(), "{sent:#?}");
        assert!(
            paging.iter().all(|text| text.contains(bound)),
            "{paging:#?}"
        );
    }
}

/// Scenario 34: the server stops in the middle of an answer for longer than we wait.
#[tokio::test]
async fn a_stall_within_an_answer_ends_the_connection_and_is_gone_on_with_exactly() {
    for mode in ["cdc", "tracking"] {
        for point in [
            Point::Start,
            Point::Rows(3),
            Point::InRow { rows: 2, bytes: 7 },
            Point::End,
        ] {
            let mut agent = if mode == "cdc" {
                let agent = Agent::new();
                agent.database.enable_cdc();
                for table in ["other", "t"] {
                    agent.database.capture_table(table, None, None).unwrap();
                }
                agent
            } else {
                Agent::tracked()
            };
            agent.tuning.look = Duration::from_hours(1);
            agent.batch().await;
            for id in 1..=5 {
                agent.insert("t", id);
            }
            agent.database.capture_all();
            let gate = Gate::closed();
            let part = if mode == "cdc" {
                "cdc.[dbo_t_CT] AS c"
            } else {
                "CHANGETABLE(CHANGES [dbo].[t]"
            };
            let stall = FaultKind::Stall(point, gate.clone());
            agent.server.handle().fault(Fault::new(stall).on(part));
            agent.until(&["t/1", "t/2", "t/3", "t/4", "t/5"]).await;
            assert_eq!(gate.reached_count(), 1, "{mode} {point:?}");
            assert_eq!(agent.positions().len(), 5, "{mode} {point:?}");
            assert!(agent.said.is_empty(), "{:?}", agent.said);
            gate.open();
        }
    }
}
