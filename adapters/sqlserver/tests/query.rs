//! Questions of mappings.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Door, PASSWORD, denied, disconnected, plain, source, table};
use contract::{ReadQuery, ReadRows, Source, SourceError, Value};
use tds_server::model::{Database, User, Which};
use tds_server::wire::{
    Answer, Fault, FaultKind, Gate, Isolation, Length, Options, Point, Server, ServerError,
    Transaction, Type, Value as Sent,
};

fn question(sql: &str, parameters: &[(&str, Value)]) -> ReadQuery {
    let given = parameters.iter();
    ReadQuery {
        sql: sql.to_owned(),
        parameters: given.map(|(n, v)| ((*n).to_owned(), v.clone())).collect(),
        more: Vec::new(),
        rows_max: 10,
        time_max: Duration::from_secs(5),
    }
}

struct World {
    database: Database,
    server: Server,
    source: Arc<dyn Source>,
}

fn world() -> World {
    let database = Database::new("ERP");
    database.add_user(User::new("agent", PASSWORD));
    for sql in [
        "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, sku char(5) NOT NULL, name nvarchar(40) NULL, \
         qty decimal(19,5) NULL, price money NULL)",
        "CREATE TABLE dbo.hidden (id int NOT NULL PRIMARY KEY)",
        "GRANT SELECT ON dbo.item TO agent",
    ] {
        database.run(sql).unwrap();
    }
    for (id, sku, qty) in [(1, "A", 150_000), (2, "B", -50_000), (3, "B", 0)] {
        let row = [
            ("id", Sent::Int(id)),
            ("sku", Sent::text(sku)),
            ("name", Sent::Null),
            ("qty", Sent::Decimal(qty)),
            ("price", Sent::Money(12_300)),
        ];
        database.insert("dbo.item", &row).unwrap();
    }
    let server = Server::start(Options::default(), database.clone()).unwrap();
    let source = source(server.address().port(), &[], Vec::new());
    World {
        database,
        server,
        source,
    }
}

fn texts(rows: &ReadRows) -> Vec<Vec<Option<String>>> {
    let row = |row: &Vec<Value>| row.iter().map(Value::text).collect();
    rows.rows.iter().map(row).collect()
}

fn some(values: &[&str]) -> Vec<Option<String>> {
    values
        .iter()
        .map(|value| Some((*value).to_owned()))
        .collect()
}

#[tokio::test]
async fn values_come_as_in_a_snapshot() {
    let world = world();
    assert!(world.source.can_query());
    let sql = "select id, sku, qty, cast(price as decimal(19,4)) as price from dbo.item where sku = :sku order by id";
    let found = world
        .source
        .query(&question(sql, &[("sku", Value::Text("B".to_owned()))]))
        .await
        .unwrap();
    assert_eq!(found.columns, ["id", "sku", "qty", "price"]);
    assert_eq!(
        texts(&found),
        [
            some(&["2", "B    ", "-0.5", "1.23"]),
            some(&["3", "B    ", "0", "1.23"])
        ]
    );
    let none = question(
        "select id from dbo.item where id = :id",
        &[("id", Value::Int(9))],
    );
    let found = world.source.query(&none).await.unwrap();
    assert_eq!((found.columns.len(), found.rows.len()), (1, 0));
    // One connection, kept from question to question.
    assert_eq!(world.server.handle().connection_count(), 1);
}

#[tokio::test]
async fn a_statement_that_fails_says_why_and_shows_no_value() {
    let world = world();
    let secret = || Value::Text("secret".to_owned());
    for (sql, found, to_do) in [
        (
            "select nothing from dbo.item where sku = :s",
            "Invalid column name",
            "correct the statement",
        ),
        (
            "select id from dbo.none where sku = :s",
            "Invalid object name",
            "correct the statement",
        ),
        (
            "select id from dbo.hidden where :s = 'a'",
            "(error 229",
            "grant the user SELECT",
        ),
        (
            "select price from dbo.item where sku = :s",
            "column price is of type money",
            "correct",
        ),
        (
            "select 1 as a drop table dbo.item -- :s",
            "does not use :s",
            "correct",
        ),
        (
            "select id into copy from dbo.item where sku = :s",
            "holds INTO",
            "correct",
        ),
    ] {
        let error = world
            .source
            .query(&question(sql, &[("s", secret())]))
            .await
            .unwrap_err();
        denied(&error, found, to_do);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    // The server's own words can quote a value: its number cannot.
    world.database.fail(
        Which::next("FROM dbo.item"),
        ServerError::new(
            245,
            16,
            "Conversion failed when converting the varchar value 'secret' to int.",
        ),
    );
    world.database.fail(
        Which::next("from dbo.item"),
        ServerError::new(
            245,
            16,
            "Conversion failed when converting the varchar value 'secret' to int.",
        ),
    );
    let error = world
        .source
        .query(&question(
            "select id from dbo.item where sku = :s",
            &[("s", secret())],
        ))
        .await
        .unwrap_err();
    denied(&error, "(error 245)", "correct");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_an_error_and_not_a_part() {
    let door = Door::new(|sql, _| {
        if sql.starts_with("SET ") {
            return Answer::empty();
        }
        if sql.contains("FROM sys.databases") {
            return common::database(1);
        }
        if sql.contains("FROM sys.columns") {
            return common::empty(sql);
        }
        let long = sql.contains("long");
        let columns = vec![tds_server::wire::Column::new(
            "t",
            Type::NVarChar(Length::Max),
        )];
        let text = "x".repeat(if long { 1 << 20 } else { 1 });
        Answer::rows(
            columns,
            (0..1_000_000).map(move |_| vec![Sent::text(&text)]),
        )
    });
    let server = plain(&door);
    let source = source(server.address().port(), &[], Vec::new());
    let error = source
        .query(&question("select t from many", &[]))
        .await
        .unwrap_err();
    denied(&error, "more than 10 rows", "narrow");
    let mut long = question("select t from long", &[]);
    long.rows_max = 1_000;
    long.time_max = Duration::from_mins(1);
    let error = source.query(&long).await.unwrap_err();
    denied(&error, "more than 16 MiB", "narrow");
}

#[tokio::test]
async fn questions_see_one_moment_where_the_database_allows_it() {
    for (state, isolation) in [(1, Isolation::Snapshot), (0, Isolation::ReadCommitted)] {
        let door = Door::new(move |sql, _| {
            if sql.starts_with("SET ") {
                return Answer::empty();
            }
            if sql.contains("FROM sys.databases") {
                return common::database(state);
            }
            table(&[("n", Type::Int)], vec![vec![Sent::Int(1)]])
        });
        let server = plain(&door);
        let source = source(server.address().port(), &[], Vec::new());
        source
            .query(&question("select n from t", &[]))
            .await
            .unwrap();
        let begun = Transaction::Begin {
            isolation: Some(isolation),
            name: String::new(),
        };
        let rolled_back = Transaction::Rollback {
            name: String::new(),
        };
        let transactions = door.transactions.lock().unwrap().clone();
        assert_eq!(transactions, [begun, rolled_back]);
    }
}

#[tokio::test]
async fn a_question_takes_no_longer_than_it_may() {
    let world = world();
    let gate = Gate::closed();
    let stall = FaultKind::Stall(Point::Start, gate.clone());
    world
        .server
        .handle()
        .fault(Fault::new(stall).on("dbo.item"));
    let mut query = question("select id from dbo.item", &[]);
    query.time_max = Duration::from_millis(300);
    let error = world.source.query(&query).await.unwrap_err();
    disconnected(&error, "timed out, stopped after 300 ms");
    gate.open();
    query.time_max = Duration::from_secs(5);
    // The answer that comes late is not the next one's.
    query.sql = "select id from dbo.item where id = 2".to_owned();
    let found = world.source.query(&query).await.unwrap();
    assert_eq!(texts(&found), [some(&["2"])]);
}

#[tokio::test]
async fn locks_and_lost_connections_are_tried_again_later() {
    let world = world();
    let query = question("select id from dbo.item where id = 1", &[]);
    for number in [1222, 1205, 3961] {
        let error = ServerError::new(number, 16, "Lock request time out period exceeded.");
        world.database.fail(Which::next("dbo.item"), error);
        let error = world.source.query(&query).await.unwrap_err();
        disconnected(
            &error,
            &format!("someone holds a lock on what the statement reads (error {number})"),
        );
    }
    let cut = Fault::new(FaultKind::Cut(Point::End)).on("dbo.item");
    world.server.handle().fault(cut);
    let error = world.source.query(&query).await.unwrap_err();
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert_eq!(
        texts(&world.source.query(&query).await.unwrap()),
        [some(&["1"])]
    );
}

#[tokio::test]
async fn several_questions_are_one_statement() {
    let world = world();
    let mut query = question(
        "select id from dbo.item where sku = :sku",
        &[("sku", Value::Text("A".to_owned()))],
    );
    query.more = vec![
        vec![Value::Text("B".to_owned())],
        vec![Value::Text("C".to_owned())],
    ];
    let found = world.source.query(&query).await.unwrap();
    let mut of: Vec<(usize, Option<String>)> = found
        .questions
        .iter()
        .zip(&found.rows)
        .map(|(question, row)| (*question, row[0].text()))
        .collect();
    of.sort();
    let id = |id: &str| Some(id.to_owned());
    assert_eq!(of, [(0, id("1")), (1, id("2")), (1, id("3"))]);
}

/// Names of three parts and letters of other alphabets go to the server as they are written, and come back as they
/// are called there.
#[tokio::test]
async fn another_database_is_asked_by_names_of_any_letters() {
    let door = Door::new(|sql, parameters| {
        if !sql.contains("[D\u{dc}NAMICS]") {
            return common::empty(sql);
        }
        assert_eq!(
            parameters[0].value,
            Sent::text("\u{141}\u{f3}d\u{17a} \u{1d11e}")
        );
        let columns = [
            ("Gr\u{f6}\u{df}e", Type::Int),
            ("\u{6570}\u{91cf}", common::nvarchar()),
        ];
        table(
            &columns,
            vec![vec![Sent::Int(7), Sent::text("\u{44f}\u{1d11e}")]],
        )
    });
    let server = plain(&door);
    let source = source(server.address().port(), &[], Vec::new());
    let sql = "SELECT a.[Gr\u{f6}\u{df}e], b.[\u{6570}\u{91cf}] FROM [D\u{dc}NAMICS].dbo.[L\u{e4}nge] AS a JOIN [it's \
               ]]odd]..[\u{17c}] AS b ON b.[\u{43a}] = a.[Gr\u{f6}\u{df}e] WHERE b.[\u{17c}] = :ort";
    let ort = Value::Text("\u{141}\u{f3}d\u{17a} \u{1d11e}".to_owned());
    let found = source.query(&question(sql, &[("ort", ort)])).await.unwrap();
    assert_eq!(found.columns, ["Gr\u{f6}\u{df}e", "\u{6570}\u{91cf}"]);
    assert_eq!(texts(&found), [some(&["7", "\u{44f}\u{1d11e}"])]);
    let sent = server.handle().statements();
    let asked = sent
        .iter()
        .find(|sent| sent.contains("[L\u{e4}nge]"))
        .unwrap();
    assert_eq!(*asked, sql.replace(":ort", "@P1"));
}

/// Azure SQL Database knows no other database than the one that is asked.
#[tokio::test]
async fn a_database_that_knows_no_other_says_so() {
    let world = world();
    let message = "Reference to database and/or server name in 'DYNAMICS.dbo.SY01500' is not supported in this \
                   version of SQL Server.";
    let error = ServerError::new(40_515, 16, message);
    world.database.fail(Which::next("from dbo.item"), error);
    let asked = question(
        "select id from dbo.item where id = :id",
        &[("id", Value::Int(1))],
    );
    let error = world.source.query(&asked).await.unwrap_err();
    denied(
        &error,
        "not supported in this version",
        "correct the statement",
    );
}
