//! The rows that are kept for rules that join and add up, beside the tables themselves: how many they are, and
//! the exact sum of each number, which the database adds up by itself.

use std::time::Duration;

use contract::{
    ChunkLimits, Clock, ColumnKind, Decimal, Position, ReadQuery, SourceError, TableInfo,
    TableName, Value,
};
use engine::SourceSetup;
use engine::clock::SystemClock;
use mappings::relate::cells_from_text;
use state::{ReconcileClass, ReconcileSum, ReplicaTable, StateReader, StoreError};
use tokio::time::Instant;

use super::rows::{Ground, Stopped};

/// How long the database may take to add a table up.
const TIME_MAX: Duration = Duration::from_mins(5);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A column that is added up.
#[derive(Debug, Clone)]
struct Number {
    name: String,
    is_whole: bool,
}

/// What is kept of a table, or what the database says: how many rows, and the sums in the order of the columns.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Added {
    rows: u64,
    sums: Vec<Decimal>,
}

/// Compares each table; what could not be is noted.
///
/// # Errors
/// Why the tables or the state file cannot be read.
pub(super) async fn compare(
    ground: &Ground<'_>,
    notes: &mut Vec<String>,
) -> Result<Vec<ReconcileSum>, Stopped> {
    let name = ground.name.to_owned();
    let kept = ground.state(move |reader| reader.replica_tables(&name));
    let mut all = Vec::new();
    for replica in kept.await? {
        let captured = ground.setup.mapping.tables();
        let table = captured
            .iter()
            .find(|captured| captured.table.to_string() == replica.table);
        // No rule reads it any more.
        let Some(table) = table.map(|captured| captured.table.clone()) else {
            continue;
        };
        if !ground.setup.source.can_query() {
            notes.push(format!(
                "table {table}: this kind of source cannot be asked for sums"
            ));
            continue;
        }
        let failed = |error| Stopped::Source(table.clone(), error);
        let known = ground.setup.source.catalogue(std::slice::from_ref(&table));
        let known = known.await.map_err(failed)?;
        let columns = numbers(&replica, known.first(), ground.kind);
        match one(ground, &replica, &table, &columns).await {
            Ok(sums) => all.extend(sums),
            // What was compared by key stands all the same.
            Err(Stopped::Source(table, error)) => {
                notes.push(format!(
                    "table {table}: its sums could not be asked for: {error}"
                ));
            }
            Err(stopped) => return Err(stopped),
        }
    }
    Ok(all)
}

/// Columns whose values are exact numbers.
fn numbers(replica: &ReplicaTable, known: Option<&TableInfo>, source: &str) -> Vec<Number> {
    let exact = |column: &String| {
        let kind = known?.column(column)?.kind;
        let is_whole = kind == ColumnKind::Int;
        // SQLite adds up all but whole numbers as floating point.
        let exact = is_whole || (kind == ColumnKind::Decimal && source != "sqlite");
        exact.then(|| Number {
            name: column.clone(),
            is_whole,
        })
    };
    replica.columns.iter().filter_map(exact).collect()
}

async fn one(
    ground: &Ground<'_>,
    replica: &ReplicaTable,
    table: &TableName,
    columns: &[Number],
) -> Result<Vec<ReconcileSum>, Stopped> {
    let failed = |error| Stopped::Source(table.clone(), error);
    while let Some(until) = ground.setup.pace.paused_until(SystemClock.now()) {
        SystemClock
            .sleep(contract::clock::until(SystemClock.now(), until))
            .await;
    }
    let deadline = Instant::now() + ground.wait;
    let mut before = None;
    loop {
        let began = Instant::now();
        let theirs = asked(ground, table, columns).await.map_err(failed)?;
        let took = began.elapsed();
        let kept = || {
            let (id, names) = (replica.id, replica.columns.clone());
            let wanted = columns.to_vec();
            ground.state(move |reader| added(reader, id, &names, &wanted))
        };
        let (mut ours, mut stored) = (kept().await?, false);
        if ours != theirs {
            // Whatever the database saw stands before the end of its log as it is now.
            let mark = end(ground.setup, ground.epoch, table)
                .await
                .map_err(failed)?;
            stored = ground.stored(&mark, deadline).await;
            ours = kept().await?;
        }
        let pair = (ours, theirs);
        let late = Instant::now() >= deadline;
        let class = match &before {
            _ if pair.0 == pair.1 => None,
            Some(before) if stored && *before == pair => Some(ReconcileClass::Different),
            _ if late => Some(ReconcileClass::ExpectedLag),
            _ => {
                before = Some(pair);
                // A quarter of the time, at most, the database adds up.
                SystemClock.sleep(LOOK_EVERY.max(took * 3)).await;
                continue;
            }
        };
        return Ok(sums(table, columns, &pair.0, &pair.1, class));
    }
}

fn sums(
    table: &TableName,
    columns: &[Number],
    ours: &Added,
    theirs: &Added,
    class: Option<ReconcileClass>,
) -> Vec<ReconcileSum> {
    let one = |what: &str, same: bool, ours: String, theirs: String| ReconcileSum {
        table: table.to_string(),
        what: what.to_owned(),
        class: class.filter(|_| !same),
        ours,
        theirs,
    };
    let same = ours.rows == theirs.rows;
    let rows = one("rows", same, ours.rows.to_string(), theirs.rows.to_string());
    let both = columns.iter().zip(ours.sums.iter().zip(&theirs.sums));
    let sums = both.map(|(column, (ours, theirs))| {
        let same = ours == theirs;
        one(&column.name, same, ours.to_string(), theirs.to_string())
    });
    std::iter::once(rows).chain(sums).collect()
}

/// One statement, which sees one moment, as the kind of source takes it.
fn statement(source: &str, table: &TableName, columns: &[Number]) -> String {
    // Ours to MySQL and MariaDB are sessions in which a text stands in double quotes.
    let quote = if source == "mysql" { '`' } else { '"' };
    let name = |name: &str| {
        let inner = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{inner}{quote}")
    };
    // SQL Server counts and adds whole numbers up in the type that they have, and fails beyond it.
    let wide = source == "sqlserver";
    let mut what = vec![if wide { "count_big(*)" } else { "count(*)" }.to_owned()];
    what.extend(columns.iter().map(|column| {
        let of = name(&column.name);
        if wide && column.is_whole {
            format!("sum(cast({of} as decimal(38, 0)))")
        } else {
            format!("sum({of})")
        }
    }));
    format!(
        "select {} from {}.{}",
        what.join(", "),
        name(&table.schema),
        name(&table.name)
    )
}

async fn asked(
    ground: &Ground<'_>,
    table: &TableName,
    columns: &[Number],
) -> Result<Added, SourceError> {
    let query = ReadQuery {
        sql: statement(ground.kind, table, columns),
        parameters: Vec::new(),
        more: Vec::new(),
        rows_max: 1,
        time_max: TIME_MAX,
    };
    let answer = ground.setup.source.query(&query).await?;
    let strange = |what: &str| SourceError::Malformed(format!("sums: {what} is no number"));
    let row = answer.rows.first().ok_or_else(|| strange("nothing"))?;
    let mut cells = row.iter();
    let rows = cells.next().and_then(Value::text);
    let rows = rows.and_then(|text| text.parse().ok());
    let number = |(column, cell): (&Number, &Value)| match cell {
        // Of no value at all.
        Value::Null => Ok(Decimal::ZERO),
        cell => cell
            .text()
            .and_then(|text| text.parse::<Decimal>().ok())
            .ok_or_else(|| strange(&column.name)),
    };
    Ok(Added {
        rows: rows.ok_or_else(|| strange("the count"))?,
        sums: columns
            .iter()
            .zip(cells)
            .map(number)
            .collect::<Result<_, _>>()?,
    })
}

/// Where the source's log ends now.
async fn end(setup: &SourceSetup, epoch: u32, table: &TableName) -> Result<Position, SourceError> {
    let limits = ChunkLimits {
        rows_max: 1,
        bytes_max: 1,
    };
    let mut reader = setup.source.snapshot(epoch).await?;
    Ok(reader.chunk(table, None, limits).await?.mark)
}

/// What is kept of a table.
fn added(
    reader: &StateReader,
    replica: i64,
    names: &[String],
    columns: &[Number],
) -> Result<Added, StoreError> {
    let places: Vec<Option<usize>> = columns
        .iter()
        .map(|column| names.iter().position(|name| *name == column.name))
        .collect();
    let mut added = Added {
        rows: 0,
        sums: vec![Decimal::ZERO; columns.len()],
    };
    let mut too_large = false;
    reader.replica_rows(replica, |text| {
        added.rows += 1;
        let cells = cells_from_text(text).unwrap_or_default();
        for (sum, place) in added.sums.iter_mut().zip(&places) {
            let cell = place.and_then(|place| cells.get(place));
            let number = cell
                .and_then(|cell| cell.as_ref()?.text()?.parse::<Decimal>().ok())
                .unwrap_or(Decimal::ZERO);
            match sum.try_add(number) {
                Ok(more) => *sum = more,
                Err(_) => too_large = true,
            }
        }
    })?;
    if too_large {
        let what = "a sum has more than 38 digits".to_owned();
        return Err(StoreError::Invariant(what));
    }
    Ok(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_source_is_asked_in_its_own_words() {
        let table = TableName {
            schema: "erp".to_owned(),
            name: "need\"s`".to_owned(),
        };
        let number = |name: &str, is_whole| Number {
            name: name.to_owned(),
            is_whole,
        };
        let columns = [number("qty", true), number("price", false)];
        for (source, wanted) in [
            (
                "postgres",
                "select count(*), sum(\"qty\"), sum(\"price\") from \"erp\".\"need\"\"s`\"",
            ),
            (
                "mysql",
                "select count(*), sum(`qty`), sum(`price`) from `erp`.`need\"s```",
            ),
            (
                "sqlserver",
                "select count_big(*), sum(cast(\"qty\" as decimal(38, 0))), sum(\"price\") \
                 from \"erp\".\"need\"\"s`\"",
            ),
        ] {
            assert_eq!(statement(source, &table, &columns), wanted);
        }
    }
}
