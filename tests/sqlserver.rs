//! A Dynamics GP company on SQL Server Express with Change Tracking, as far as a scripted server can stand
//! for one: from an unprepared database to availability events, while the agent runs.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::Path;
use std::time::{Duration, Instant};

use harness::agent::{Agent, command};
use harness::flow::Flow;
use harness::receiver::{Faults, Receiver};
use tds_server::model::Database;
use tds_server::wire::{Fault, FaultKind, Gate, Options, Point, Server};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const STOCK: &str = "inventory.availability.v1";

/// The tables and columns that the pack reads, in GP's own types: texts are padded and never null.
const TABLES: &[&str] = &[
    "CREATE TABLE dbo.IV00102 (ITEMNMBR char(31) NOT NULL, LOCNCODE char(11) NOT NULL,
        RCRDTYPE smallint NOT NULL, QTYONHND numeric(19,5) NOT NULL, ATYALLOC numeric(19,5) NOT NULL,
        QTYDMGED numeric(19,5) NOT NULL, QTYRTRND numeric(19,5) NOT NULL, QTYINSVC numeric(19,5) NOT NULL,
        QTYINUSE numeric(19,5) NOT NULL, SFTYSTCKQTY numeric(19,5) NOT NULL,
        QTYONORD numeric(19,5) NOT NULL, QTYBKORD numeric(19,5) NOT NULL, INACTIVE tinyint NOT NULL,
        PRIMARY KEY (ITEMNMBR, RCRDTYPE, LOCNCODE))",
    "CREATE TABLE dbo.IV00101 (ITEMNMBR char(31) NOT NULL PRIMARY KEY, UOMSCHDL char(11) NOT NULL,
        ITEMTYPE smallint NOT NULL, INACTIVE tinyint NOT NULL)",
    "CREATE TABLE dbo.IV40700 (LOCNCODE char(11) NOT NULL PRIMARY KEY, INACTIVE tinyint NOT NULL)",
    "CREATE TABLE dbo.IV40201 (UOMSCHDL char(11) NOT NULL PRIMARY KEY, BASEUOFM char(9) NOT NULL)",
    "CREATE TABLE dbo.SOP10200 (SOPTYPE smallint NOT NULL, SOPNUMBE char(21) NOT NULL,
        LNITMSEQ int NOT NULL, CMPNTSEQ int NOT NULL, ITEMNMBR char(31) NOT NULL,
        LOCNCODE char(11) NOT NULL, DROPSHIP smallint NOT NULL, NONINVEN smallint NOT NULL,
        QTYREMAI numeric(19,5) NOT NULL, ATYALLOC numeric(19,5) NOT NULL, QTYTBAOR numeric(19,5) NOT NULL,
        QTYONPO numeric(19,5) NOT NULL, QTYRECVD numeric(19,5) NOT NULL, QTYBSUOM numeric(19,5) NOT NULL,
        PRIMARY KEY (SOPNUMBE, SOPTYPE, CMPNTSEQ, LNITMSEQ))",
    "CREATE TABLE dbo.POP10110 (PONUMBER char(17) NOT NULL, ORD int NOT NULL, BRKFLD1 smallint NOT NULL,
        ITEMNMBR char(31) NOT NULL, LOCNCODE char(11) NOT NULL, POLNESTA smallint NOT NULL,
        POTYPE smallint NOT NULL, REQDATE datetime NOT NULL, PRIMARY KEY (PONUMBER, ORD, BRKFLD1))",
];

fn stock(item: &str, site: &str, on_hand: &str, allocated: &str) -> String {
    format!(
        "INSERT INTO dbo.IV00102 (ITEMNMBR, LOCNCODE, RCRDTYPE, QTYONHND, ATYALLOC, QTYDMGED, QTYRTRND,
            QTYINSVC, QTYINUSE, SFTYSTCKQTY, QTYONORD, QTYBKORD, INACTIVE)
         VALUES ('{item}', '{site}', 2, {on_hand}, {allocated}, 0, 0, 0, 0, 1, 24, 0, 0)"
    )
}

/// A company's database on Express, with one item, whose server answers at a port.
fn company() -> (Database, Server) {
    let database = Database::new("TWO");
    database.options(|options| {
        options.engine_edition = 4;
        "Express Edition (64-bit)".clone_into(&mut options.edition);
        // Nothing but a change of a row is sure to be one.
        options.truncate_is_a_version = false;
    });
    let server = Server::start(Options::default(), database.clone()).unwrap();
    let run = |sql: &str| database.run(sql).unwrap();
    for table in TABLES {
        run(table);
    }
    run("INSERT INTO dbo.IV40201 (UOMSCHDL, BASEUOFM) VALUES ('EA1', 'Each')");
    run("INSERT INTO dbo.IV40700 (LOCNCODE, INACTIVE) VALUES ('WAREHOUSE', 0)");
    run(
        "INSERT INTO dbo.IV00101 (ITEMNMBR, UOMSCHDL, ITEMTYPE, INACTIVE) VALUES ('100XLG', 'ea1', 1, 0)",
    );
    run(&stock("100XLG", "WAREHOUSE", "12", "5"));
    (database, server)
}

/// Settings that tell a receiver of it.
fn settings(server: &Server, receiver: &Receiver) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "[[source]]\nname = \"gp\"\ntype = \"sqlserver\"\nhost = \"127.0.0.1\"\nport = {}\n\
         database = \"TWO\"\nuser = \"sa\"\npassword = {{ file = \"password\" }}\ntls = \"disable\"\n\
         mappings = [\"site.yaml\"]\n\
         [[destination]]\nname = \"shop\"\ntype = \"webhook\"\nurl = \"{}\"\nretry_first_ms = 20\n",
        server.address().port(),
        receiver.url()
    );
    std::fs::write(folder.path().join("lighterman.toml"), settings).unwrap();
    std::fs::write(folder.path().join("password"), "Secret-1").unwrap();
    let site =
        "mapping: 1\nextends: dynamics-gp-inventory\nsettings: {sellable_sites: [WAREHOUSE]}\n";
    std::fs::write(folder.path().join("site.yaml"), site).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dynamics_gp_stock_flows_from_change_tracking() {
    let (database, server) = company();
    let run = |sql: &str| database.run(sql).unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = settings(&server, &receiver);

    // Nothing is prepared yet, which check says.
    let (_, shown) = command(BINARY, folder.path(), &["check"]);
    assert!(shown.contains("source prepare --apply"), "{shown}");
    let (_, shown) = command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
    assert!(shown.contains("CHANGE_TRACKING = ON"), "{shown}");
    let (_, shown) = command(BINARY, folder.path(), &["check"]);
    assert!(!shown.contains("FAIL"), "{shown}");

    let agent = Agent::start(BINARY, folder.path());
    let mut site = Flow { receiver, agent };
    let key = "TWO|100XLG|WAREHOUSE";
    site.comes(STOCK, key, "on_hand", "12".into()).await;
    site.comes(STOCK, key, "atp", "6".into()).await;

    // An order takes what it has not allocated yet, and a pick what is there.
    run(
        "INSERT INTO dbo.SOP10200 (SOPTYPE, SOPNUMBE, LNITMSEQ, CMPNTSEQ, ITEMNMBR, LOCNCODE, DROPSHIP,
            NONINVEN, QTYREMAI, ATYALLOC, QTYTBAOR, QTYONPO, QTYRECVD, QTYBSUOM)
         VALUES (2, 'ORD1001', 16384, 0, '100XLG', 'WAREHOUSE', 0, 0, 3, 1, 0, 0, 0, 1)",
    );
    site.comes(STOCK, key, "atp", "4".into()).await;
    run("UPDATE dbo.IV00102 SET QTYONHND = 11.5 WHERE ITEMNMBR = '100XLG' AND RCRDTYPE = 2");
    site.comes(STOCK, key, "on_hand", "11.5".into()).await;

    // What happens while the agent is away is told when it comes back, and nothing else.
    site.stop().await;
    run(&stock("200XLG", "WAREHOUSE", "7", "0"));
    run(
        "INSERT INTO dbo.IV00101 (ITEMNMBR, UOMSCHDL, ITEMTYPE, INACTIVE) VALUES ('200XLG', 'EA1', 1, 0)",
    );
    run("DELETE FROM dbo.SOP10200 WHERE SOPNUMBE = 'ORD1001'");
    site.agent = Agent::start(BINARY, folder.path());
    site.comes(STOCK, "TWO|200XLG|WAREHOUSE", "on_hand", "7".into())
        .await;
    site.comes(STOCK, key, "atp", "5.5".into()).await;

    // An item is taken off its site: zero first, then it is gone.
    run("DELETE FROM dbo.IV00102 WHERE ITEMNMBR = '200XLG'");
    site.gone(STOCK, "TWO|200XLG|WAREHOUSE").await;
    site.end().await;
}

/// What nobody has read is so old that the server removes it soon: `status` says so, in time. And a table that is
/// emptied, which no change tells, is read again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_says_how_far_behind_it_is_and_an_emptied_table_ends_its_events() {
    let (database, server) = company();
    let run = |sql: &str| database.run(sql).unwrap();
    let receiver = Receiver::start(1, Faults::default()).await;
    let folder = settings(&server, &receiver);
    command(BINARY, folder.path(), &["source", "prepare", "--apply"]);
    let agent = Agent::start(BINARY, folder.path());
    let mut site = Flow { receiver, agent };
    let key = "TWO|100XLG|WAREHOUSE";
    site.comes(STOCK, key, "on_hand", "12".into()).await;
    site.stop().await;

    run("UPDATE dbo.IV00102 SET QTYONHND = 9 WHERE ITEMNMBR = '100XLG' AND RCRDTYPE = 2");
    database.pass(Duration::from_hours(150));
    let gate = Gate::closed();
    let stall = FaultKind::Stall(Point::Start, gate.clone());
    let reading = Fault::new(stall).on("CHANGETABLE(CHANGES");
    server.handle().fault(reading);
    site.agent = Agent::start(BINARY, folder.path());
    let shown = status(folder.path(), "We are 6 days behind").await;
    assert!(
        shown.contains("it keeps changes for 7 days") && shown.contains("in 18 h"),
        "{shown}"
    );
    assert!(
        shown.contains("to mend it: see that the agent reads"),
        "{shown}"
    );
    gate.open();
    site.comes(STOCK, key, "on_hand", "9".into()).await;

    run("TRUNCATE TABLE dbo.IV00102");
    site.gone(STOCK, key).await;
    // A look beside the stream comes each half a minute.
    let shown = status(folder.path(), "We have read all that the server keeps").await;
    assert!(!shown.contains("to mend it"), "{shown}");
    site.end().await;
}

/// What `status` shows, once it has these words.
async fn status(folder: &Path, words: &str) -> String {
    let until = Instant::now() + Duration::from_mins(2);
    loop {
        let (_, shown) = command(BINARY, folder, &["status"]);
        if shown.contains(words) {
            return shown;
        }
        assert!(Instant::now() < until, "{words}: {shown}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
