//! What every source must say about its tables, and how it must answer a re-read by key.

use std::time::Duration;

use contract::{
    ChunkLimits, Op, ReadQuery, ReadRows, RowChange, Source, SourceError, TableInfo, TableName,
    Value,
};

use super::source::SourceBackend;

/// Stands in parameters, and in no error.
const SECRET: &str = "s3cr3t-value";

/// Runs both parts on the suite's table, which must hold rows.
pub(super) async fn run(backend: &dyn SourceBackend) {
    let source = backend.source();
    let table = backend.table();
    let rows = rows(&*source, &table).await;
    assert!(rows.len() > 2, "the suite's table holds rows");
    tables_are_described_as_they_are_delivered(&*source, &table, &rows).await;
    if source.can_query() {
        a_re_read_gives_the_rows_a_snapshot_gives(&*source, &table, &rows).await;
        an_answer_is_whole_or_an_error(&*source, &table, rows.len(), &backend.endless()).await;
        only_one_read_is_run_and_no_error_shows_a_value(&*source, &table).await;
    } else {
        let refused = source.query(&asked("select 1", &[])).await;
        assert!(
            matches!(refused, Err(SourceError::Denied { .. })),
            "a source that cannot be asked says so"
        );
    }
    assert_eq!(
        cells(&rows),
        cells(&self::rows(&*source, &table).await),
        "asking changes nothing"
    );
}

async fn rows(source: &dyn Source, table: &TableName) -> Vec<RowChange> {
    let limits = ChunkLimits {
        rows_max: 1_000,
        bytes_max: 1 << 20,
    };
    let mut reader = source.snapshot(1).await.unwrap();
    reader.begin().await.unwrap();
    let chunk = reader.chunk(table, None, limits).await.unwrap();
    assert_eq!(chunk.next, None);
    assert!(chunk.rows.iter().all(|row| row.op == Op::Read));
    chunk.rows
}

fn cells(rows: &[RowChange]) -> Vec<&Vec<Value>> {
    rows.iter().filter_map(|row| row.after.as_ref()).collect()
}

async fn tables_are_described_as_they_are_delivered(
    source: &dyn Source,
    table: &TableName,
    rows: &[RowChange],
) {
    let gone = TableName::new(table.schema.clone(), "no such table");
    let found = source.catalogue(&[gone, table.clone()]).await.unwrap();
    let [info] = found.as_slice() else {
        panic!("a table that does not exist is absent, and {table} is there: {found:?}");
    };
    assert_eq!(info.table, *table, "a table is described under its name");
    assert_eq!(info.key, ["sku"], "the key is the primary key");
    let names: Vec<_> = info.columns.iter().map(|c| c.name.clone()).collect();
    assert!(
        info.columns.iter().all(|c| !c.declared.is_empty()),
        "declared types are the database's own text"
    );
    assert!(
        info.column("note").is_some_and(|note| note.nullable),
        "note may be null"
    );
    for row in rows {
        assert_eq!(
            row.shape.columns, names,
            "the columns are those that are delivered"
        );
        kinds_tell_the_values(info, row);
    }
    let all = source.catalogue(&[]).await.unwrap();
    assert!(
        all.contains(info),
        "with no table named, every table is described: {all:?}"
    );
    assert!(
        !all.iter()
            .any(|info| info.table.name.contains("lighterman")),
        "our own tables are none to choose"
    );
}

fn kinds_tell_the_values(info: &TableInfo, row: &RowChange) {
    for (column, value) in info.columns.iter().zip(row.after.iter().flatten()) {
        let (kind, delivered) = (column.kind.name(), value.type_name());
        assert!(
            *value == Value::Null || kind == delivered,
            "column {} is said to be {kind} and delivers {delivered}",
            column.name
        );
    }
}

fn asked(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
    let given = parameters.iter();
    ReadQuery {
        sql: sql.to_owned(),
        parameters: given
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        more: Vec::new(),
        rows_max: 1_000,
        time_max: Duration::from_secs(20),
    }
}

async fn ask(
    source: &dyn Source,
    sql: &str,
    parameters: &[(&str, Value)],
) -> Result<ReadRows, SourceError> {
    source.query(&asked(sql, parameters)).await
}

async fn a_re_read_gives_the_rows_a_snapshot_gives(
    source: &dyn Source,
    table: &TableName,
    rows: &[RowChange],
) {
    let name = &table.name;
    let by_key = format!("select * from {name} where sku = :sku and ':no' <> :sku -- :no");
    for row in rows.iter().take(3) {
        let cells = row.after.clone().unwrap_or_default();
        let found = ask(source, &by_key, &[("sku", cells[0].clone())])
            .await
            .unwrap();
        assert_eq!(found.columns, row.shape.columns, "columns have their names");
        assert_eq!(found.rows, [cells], "a re-read row equals its snapshot");
    }
    // Several questions at once are answered like each alone.
    let keys: Vec<Value> = rows
        .iter()
        .filter_map(|row| row.after.as_ref()?.first().cloned())
        .collect();
    let mut query = asked(&by_key, &[("sku", keys[0].clone())]);
    query.more = vec![
        vec![Value::Text("no such sku".to_owned())],
        vec![keys[1].clone()],
        vec![keys[0].clone()],
    ];
    let found = source.query(&query).await.unwrap();
    assert_eq!(
        found.columns, rows[0].shape.columns,
        "columns have their names"
    );
    let mut answers: Vec<_> = found.questions.iter().zip(&found.rows).collect();
    answers.sort_by_key(|(question, _)| **question);
    let cells = |n: usize| rows[n].after.as_ref().unwrap();
    assert_eq!(
        answers,
        [(&0, cells(0)), (&2, cells(1)), (&3, cells(0))],
        "each row says which question it answers"
    );
    // A value is a value, whatever it looks like.
    for odd in ["' or '1' = '1", "\\", ":sku", "; delete from suite", "é\n"] {
        let odd = [("sku", Value::Text(odd.to_owned()))];
        let found = ask(source, &by_key, &odd).await.unwrap();
        assert_eq!(found.columns, rows[0].shape.columns, "also without a row");
        assert_eq!(found.rows, Vec::<Vec<Value>>::new(), "no row has this key");
    }
    let null = format!("select sku from {name} where sku = :sku");
    let null = ask(source, &null, &[("sku", Value::Null)]).await.unwrap();
    assert_eq!(null.rows.len(), 0, "null equals nothing");
    let counted = format!("with s as (select sku from {name}) select count(*) from s");
    let counted = ask(source, &counted, &[]).await.unwrap();
    let count = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    assert_eq!(counted.rows, [[Value::Int(count)]], "a `with` is a read");
}

async fn an_answer_is_whole_or_an_error(
    source: &dyn Source,
    table: &TableName,
    count: usize,
    endless: &str,
) {
    let mut query = asked(&format!("select sku from {}", table.name), &[]);
    query.rows_max = count;
    let whole = source.query(&query).await.unwrap();
    assert_eq!(whole.rows.len(), count, "as many rows as may be are fine");
    query.rows_max = count - 1;
    let refused = source.query(&query).await;
    assert!(
        matches!(refused, Err(SourceError::Denied { .. })),
        "more rows than may be are an error, never a cut"
    );
    let mut query = asked(endless, &[]);
    query.time_max = Duration::from_millis(300);
    let started = std::time::Instant::now();
    let slow = source.query(&query).await;
    assert!(
        matches!(&slow, Err(SourceError::Disconnected(said)) if said.contains("timed out")),
        "a time-out is an error that says so: {slow:?}"
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "the time limit holds"
    );
}

async fn only_one_read_is_run_and_no_error_shows_a_value(source: &dyn Source, table: &TableName) {
    let name = &table.name;
    let secret = || Value::Text(SECRET.to_owned());
    let one = || vec![("v", secret())];
    for (sql, parameters) in [
        (format!("delete from {name} where sku <> :v"), one()),
        (
            format!("select sku from {name} where sku = :v; delete from {name}"),
            one(),
        ),
        (
            format!("with x as (select 1) delete from {name} where sku <> :v"),
            one(),
        ),
        (
            format!("select sku from {name} where sku = :v and sku = :w"),
            one(),
        ),
        (format!("select sku from {name}"), one()),
        (format!("select sku from {name} where sku = ':v'"), one()),
        (
            format!("select sku from {name} where sku = :v /* :v"),
            one(),
        ),
        (format!("select sku from {name} where nonsense = :v"), one()),
        (
            "select sku from no_such_table where sku = :v".to_owned(),
            one(),
        ),
        // The words at its end are for who collects the statements of tests.
        (
            format!("select from where :v {name} -- wrong on purpose"),
            one(),
        ),
        (
            format!("select sku from {name} where sku = :v"),
            vec![("v", Value::Invalid(SECRET.to_owned()))],
        ),
        (
            format!("select sku from {name} where sku = :v"),
            vec![("v", Value::Unchanged)],
        ),
        (String::new(), vec![]),
    ] {
        let refused = ask(source, &sql, &parameters).await;
        let Err(error) = refused else {
            panic!("{sql} is run");
        };
        assert!(
            matches!(error, SourceError::Denied { .. }),
            "{sql}: a person must correct it: {error}"
        );
        let shown = format!("{error} {error:?} {:?}", error.hint());
        assert!(!shown.contains(SECRET), "{sql}: {shown}");
    }
}
