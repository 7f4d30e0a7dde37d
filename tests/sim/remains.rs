//! What the state file says of keys that differ: the cause of a failed seed can be read from it.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

/// Rows that concern a key, `?1`, or any key of its source row, `?2`.
const OF_KEY: &[&str] = &[
    "SELECT * FROM published WHERE key IN (?1, ?2)",
    "SELECT offset, event_id, key, op, json ->> 'version' AS version,
       json -> 'body' ->> 'name' AS name, json ->> 'reason' AS reason
     FROM outbox WHERE key IN (?1, ?2) ORDER BY offset",
    "SELECT d.* FROM delivery d JOIN outbox o ON o.offset = d.offset WHERE o.key IN (?1, ?2)
     ORDER BY d.offset",
    "SELECT * FROM held WHERE event_key IN (?1, ?2)",
    "SELECT r.rule, t.* FROM told t JOIN relation r ON r.id = t.relation
     WHERE t.event_key IN (?1, ?2)",
];

/// Rows that concern every key.
const OF_ALL: &[&str] = &[
    "SELECT id, epoch, checkpoint, problem FROM source",
    "SELECT * FROM rule",
    "SELECT table_name, epoch, done, cursor, once_more, row_count, estimate, problem
     FROM snapshot",
    "SELECT * FROM snapshot_range",
    "SELECT * FROM replica",
    "SELECT * FROM guard LIMIT 50",
    "SELECT rule, event_type, row_key, event_key, reason, generation FROM held LIMIT 50",
    "SELECT r.rule, count(*) FROM mark m JOIN relation r ON r.id = m.relation GROUP BY r.rule",
    "SELECT state, count(*), min(due_at) FROM delivery GROUP BY state",
    "SELECT * FROM resync_request",
    "SELECT * FROM request WHERE done_at IS NULL",
    "SELECT * FROM destination",
];

/// Whether nothing is left to be read, told, ended or sent: what the receiver has now, it keeps.
pub fn is_quiet(db: &Connection, destinations: &str) -> bool {
    let quiet = "SELECT NOT EXISTS (SELECT 1 FROM rule WHERE active AND stage <> 0)
           AND NOT EXISTS (SELECT 1 FROM snapshot WHERE NOT done)
           AND NOT EXISTS (SELECT 1 FROM resync_request)
           AND NOT EXISTS (SELECT 1 FROM mark)
           AND NOT EXISTS (SELECT 1 FROM request WHERE done_at IS NULL)
           AND NOT EXISTS (SELECT 1 FROM destination WHERE paused <> 0 AND ?1 LIKE '%' || name || '%')
           AND NOT EXISTS (SELECT 1 FROM delivery d JOIN destination n ON n.id = d.destination
             WHERE d.state NOT IN ('delivered', 'superseded') AND ?1 LIKE '%' || n.name || '%')";
    db.prepare_cached(quiet)
        .unwrap()
        .query_row([destinations], |row| row.get(0))
        .unwrap()
}

pub fn open(folder: &Path) -> Connection {
    let file = state::file_path(folder);
    let db = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db
}

/// In words, of the keys that the differences begin with.
pub fn remains(folder: &Path, differences: &[String]) -> String {
    let db = open(folder);
    let mut text = String::new();
    for query in OF_ALL {
        text.push_str(&rows(&db, query, None));
    }
    for difference in differences.iter().take(3) {
        let Some(key) = difference.split(' ').find(|word| word.starts_with("ACME|")) else {
            continue;
        };
        let key = key.trim_end_matches(':');
        // One version of the mapping writes keys another way.
        let other = match key.strip_prefix("ACME|K") {
            Some(sku) => format!("ACME|{sku}"),
            None => key.replace("ACME|", "ACME|K"),
        };
        let _ = writeln!(text, "of {key}:");
        for query in OF_KEY {
            text.push_str(&rows(&db, query, Some((key, &other))));
        }
    }
    text
}

fn rows(db: &Connection, query: &str, of: Option<(&str, &str)>) -> String {
    let mut statement = db.prepare(query).unwrap();
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = match of {
        Some((key, other)) => statement.query([key, other]).unwrap(),
        None => statement.query([]).unwrap(),
    };
    let from = query.split("FROM ").nth(1).unwrap_or(query);
    let mut text = format!("  {}\n", from.split_whitespace().next().unwrap_or_default());
    while let Some(row) = found.next().unwrap() {
        let cells = names.iter().enumerate().map(|(n, name)| {
            let value = match row.get_ref(n).unwrap() {
                ValueRef::Null => "-".to_owned(),
                ValueRef::Integer(number) => number.to_string(),
                ValueRef::Real(number) => number.to_string(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                ValueRef::Blob(bytes) => format!("{} bytes", bytes.len()),
            };
            format!("{name}={value}")
        });
        let _ = writeln!(text, "    {}", cells.collect::<Vec<_>>().join(" "));
    }
    text
}
