//! A state file of an older format, and a migration of it that dies at each of its steps: what is done stays done, the
//! next opening does the rest, and a copy of the file as it was lies beside it from before the first step.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::Level;
use contract::finding::worst;
use failpoint::VARIABLE;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;

use crate::failpoints::walk;

const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
const SOON: Duration = Duration::from_mins(1);

const MAPPING: &str = "
mapping: 1
pack: shop
pack_version: '1'
source: sqlite
company: ACME
tables:
  move: {name: move, key: [id]}
events:
  - id: move
    emit: inventory.movement.v1
    from: move
    key: {movement_id: id}
    fields: {kind: \"'adjustment'\", sku: sku, location: \"'X'\", uom: \"'EA'\", quantity: qty}
";

const TABLES: &str = "
CREATE TABLE move (id INTEGER PRIMARY KEY, sku TEXT, qty INTEGER);
INSERT INTO move VALUES (1, 'A', 5), (2, 'B', 6)";

/// What the first format is made of, and something in it.
const FIRST: &str = include_str!("../state/src/schema.sql");
const KEPT: &str = "SELECT count(*) FROM source WHERE name = 'erp' AND epoch = 7";

fn number(file: &Path, sql: &str) -> i64 {
    let db = Connection::open(file).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn format(file: &Path) -> i64 {
    number(file, "PRAGMA user_version")
}

/// A file of the first format, as the first version left it.
fn older(site: &Site) -> PathBuf {
    let folder = site.path().join("state");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join(state::FILE_NAME);
    let db = Connection::open(&file).unwrap();
    db.pragma_update(None, "application_id", 0x4c54_524d_i64)
        .unwrap();
    db.execute_batch(FIRST).unwrap();
    db.pragma_update(None, "user_version", 1).unwrap();
    db.execute_batch("INSERT INTO source (name, epoch) VALUES ('erp', 7)")
        .unwrap();
    file
}

/// The copies that were made of it, by format: what each holds was looked at.
fn copies(file: &Path) -> Vec<i64> {
    let folder = file.with_file_name(state::BACKUPS);
    let entries = std::fs::read_dir(folder).unwrap();
    let mut formats: Vec<i64> = entries
        .map(|entry| {
            let copy = entry.unwrap().path();
            assert_eq!(number(&copy, KEPT), 1, "{}", copy.display());
            format(&copy)
        })
        .collect();
    formats.sort_unstable();
    formats
}

async fn dies_at(point: &str, step: i64) {
    let receiver = Receiver::start(1, Faults::default()).await;
    let site = Site::new(BINARY, receiver.url(), TABLES, MAPPING);
    let file = older(&site);
    let at = format!("{point}={step}:kill");
    let when = format!("{point} {step}");
    let (code, shown) = site.command_with(&["state", "migrate"], &[(VARIABLE, at)]);
    assert_eq!(code, None, "{when} was not reached: {shown}");
    // A step is there whole, or not at all.
    let done = if point == "state.migrate.stepped" {
        step + 1
    } else {
        step
    };
    assert_eq!(format(&file), done, "{when}");
    assert_eq!(copies(&file), [1], "{when}");

    // Whoever opens it next: an agent, which tells what there is.
    let mut agent = site.agent();
    let told = receiver.wait(SOON, |held| held.facts.len() == 2).await;
    assert!(told, "{when}: {}", agent.log());
    let ended = agent.terminate(SOON).await;
    assert!(ended.is_some_and(|ended| ended.success()), "{when}");
    assert_eq!(format(&file), state::newest_format(), "{when}");
    assert_eq!(number(&file, KEPT), 1, "{when}");
    // One more, where there was something left to do, and the first stays.
    let kept = copies(&file);
    let wanted: &[i64] = match done {
        _ if done == state::newest_format() => &[1],
        1 => &[1, 1],
        _ => &[1, done],
    };
    assert_eq!(kept, wanted, "{when}");
    let verdict = state::verify(&file).unwrap();
    assert_eq!(worst(&verdict.findings), Level::Pass, "{when}: {verdict:?}");
    let held = receiver.held();
    assert_eq!(
        (&held.violations, held.repeated),
        (&Vec::new(), 0),
        "{when}"
    );
}

#[test]
fn a_migration_that_dies_at_any_step_is_gone_on_with() {
    let steps = 1..state::newest_format();
    let walks = steps.flat_map(|step| {
        ["state.migrate.step", "state.migrate.stepped"].map(|point| (point, step))
    });
    walk(walks.collect(), async |(point, step)| {
        dies_at(point, step).await;
    });
}
