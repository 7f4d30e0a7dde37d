//! What a SELECT gives: order, pages, types and comparisons.

use tds_server::model::{Column, Database};
use tds_server::wire::{Length, Type, Value};

use crate::common::{ask, bytes, int, ints, nvarchar, one, parameter, put, refusal, shop};

fn ten() -> Database {
    let database = shop();
    for id in 1..=10 {
        put(&database, id, if id % 2 == 0 { "even" } else { "odd" });
    }
    database
}

#[test]
fn rows_that_nobody_ordered_are_not_in_the_order_of_the_key() {
    let database = ten();
    let mut connection = database.connect("sa");
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let rows = connection
            .query("SELECT id FROM dbo.orders", &[])
            .unwrap()
            .remove(0)
            .rows;
        let ids = ints(&rows);
        assert_ne!(ids, (1..=10).collect::<Vec<_>>());
        orders.insert(ids);
    }
    assert!(orders.len() > 10, "it is another order each time");
    let two = "SELECT TOP (2) id FROM dbo.orders";
    assert_ne!(ints(&ask(&database, two, &[])), [1, 2]);
}

#[test]
fn rows_that_tie_come_in_any_order_and_with_ties_all_come() {
    let database = ten();
    let mut connection = database.connect("sa");
    let sql = "SELECT TOP (@P1) id FROM dbo.orders ORDER BY name";
    let pages: std::collections::BTreeSet<_> = (0..20)
        .map(|_| {
            ints(
                &connection
                    .query(sql, &[int("@P1", 3)])
                    .unwrap()
                    .remove(0)
                    .rows,
            )
        })
        .collect();
    assert!(pages.len() > 1);
    let sql = "SELECT TOP (@P1) WITH TIES id FROM dbo.orders ORDER BY name";
    let mut all = ints(&ask(&database, sql, &[int("@P1", 3)]));
    all.sort_unstable();
    assert_eq!(all, [2, 4, 6, 8, 10]);
    assert_eq!(
        refusal(
            &database,
            "SELECT TOP (1) WITH TIES id FROM dbo.orders",
            &[]
        )
        .number,
        1062
    );
}

#[test]
fn a_keyset_of_two_columns_gives_every_row_once_at_any_page_size() {
    let database = Database::new("shop");
    let columns = vec![
        Column::new("a", nvarchar(10)),
        Column::new("b", Type::Int),
        Column::new("c", Type::Int),
    ];
    database
        .create_table("dbo.t", columns, &["a", "b"])
        .unwrap();
    let mut n = 0;
    for a in ["x", "B", "a", "y"] {
        for b in 0..7 {
            n += 1;
            database
                .insert(
                    "dbo.t",
                    &[("a", a.into()), ("b", b.into()), ("c", n.into())],
                )
                .unwrap();
        }
    }
    for page in 1..=9 {
        let mut seen = Vec::new();
        let mut last = (String::new(), -1);
        loop {
            let sql = "SELECT TOP (@P1) [a], [b], [c] FROM [dbo].[t] WHERE [a] > @P2 OR ([a] = @P2 AND [b] > @P3) \
                       ORDER BY [a], [b]";
            let parameters = [
                int("@P1", page),
                crate::common::text("@P2", &last.0),
                int("@P3", last.1),
            ];
            let rows = ask(&database, sql, &parameters);
            for row in &rows {
                let [Value::Text(a), Value::Int(b), Value::Int(c)] = row.as_slice() else {
                    panic!()
                };
                last = (a.clone(), *b);
                seen.push(*c);
            }
            if rows.is_empty() {
                break;
            }
        }
        // a, B, x, y: the letters, not their case.
        let expected: Vec<i32> = [15..=21, 8..=14, 1..=7, 22..=28]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(seen, expected, "page {page}");
    }
}

/// Trap 25: uniqueidentifier sorts by its last group first.
#[test]
fn uniqueidentifier_sorts_by_the_servers_own_order() {
    let database = Database::new("shop");
    database
        .create_table(
            "dbo.g",
            vec![Column::new("g", Type::UniqueIdentifier)],
            &["g"],
        )
        .unwrap();
    let low = "FFFFFFFF-FFFF-FFFF-FFFF-000000000001";
    let middle = "00000000-0000-0000-0100-000000000002";
    let high = "00000000-0000-0000-0000-010000000000";
    for text in [high, low, middle] {
        database.insert("dbo.g", &[("g", text.into())]).unwrap();
    }
    let rows = ask(
        &database,
        "SELECT CAST(g AS nvarchar(36)) FROM dbo.g ORDER BY g",
        &[],
    );
    let texts: Vec<Value> = rows.into_iter().flatten().collect();
    assert_eq!(texts, [low.into(), middle.into(), high.into()]);
    let sql = "SELECT CAST(g AS nvarchar(36)) FROM dbo.g WHERE g > @P1 ORDER BY g";
    let guid = parameter("@P1", nvarchar(36), middle.into());
    assert_eq!(ask(&database, sql, &[guid]), [[high.into()]]);
}

/// Trap 25: collations.
#[test]
fn texts_compare_by_the_collation_of_their_column() {
    let database = Database::new("shop");
    database.run("CREATE TABLE dbo.t (ci nvarchar(9) PRIMARY KEY, cs nvarchar(9) COLLATE Latin1_General_100_BIN2)").unwrap();
    for (ci, cs) in [("a", "b"), ("B", "B"), ("c", "a")] {
        database
            .insert("dbo.t", &[("ci", ci.into()), ("cs", cs.into())])
            .unwrap();
    }
    let of = |sql: &str| -> Vec<Value> { ask(&database, sql, &[]).into_iter().flatten().collect() };
    assert_eq!(
        of("SELECT ci FROM dbo.t ORDER BY ci"),
        ["a".into(), "B".into(), "c".into()]
    );
    assert_eq!(
        of("SELECT cs FROM dbo.t ORDER BY cs"),
        ["B".into(), "a".into(), "b".into()]
    );
    assert_eq!(of("SELECT ci FROM dbo.t WHERE ci = N'b'"), ["B".into()]);
    assert_eq!(of("SELECT cs FROM dbo.t WHERE cs = N'b'"), ["b".into()]);
    assert_eq!(
        of("SELECT ci FROM dbo.t WHERE ci = N'b  '"),
        ["B".into()],
        "blanks at the end do not count"
    );
    assert_eq!(
        refusal(&database, "SELECT ci FROM dbo.t WHERE ci = cs", &[]).number,
        468
    );
    let error = database.insert("dbo.t", &[("ci", "b".into())]).unwrap_err();
    assert_eq!(error.number, 2627, "the same key in another case");
}

#[test]
fn types_that_do_not_go_together_are_errors() {
    let database = shop();
    database
        .run("CREATE TABLE dbo.o (id int PRIMARY KEY, t text, x xml, u uniqueidentifier)")
        .unwrap();
    for (sql, number) in [
        ("SELECT 1 FROM dbo.o WHERE u = 1", 206),
        ("SELECT 1 FROM dbo.o WHERE t = 'a'", 402),
        ("SELECT 1 FROM dbo.o WHERE x = N'a'", 402),
        ("SELECT t FROM dbo.o ORDER BY t", 306),
        ("SELECT CAST(N'x' AS int)", 245),
        ("SELECT CAST(N'x' AS uniqueidentifier)", 8169),
        ("SELECT CAST(300 AS tinyint)", 8115),
        ("SELECT id, COUNT(*) FROM dbo.o", 8120),
        ("SELECT TOP (N'x') id FROM dbo.o", 1060),
    ] {
        assert_eq!(refusal(&database, sql, &[]).number, number, "{sql}");
    }
}

#[test]
fn money_is_exact_as_decimal() {
    let database = shop();
    let row = [
        ("id", 1.into()),
        ("m", Value::Money(9_223_372_036_854_775_807)),
    ];
    database.insert("dbo.orders", &row).unwrap();
    let sql = "SELECT CAST(T.[m] AS decimal(19,4)) AS m FROM dbo.orders AS T";
    assert_eq!(
        one(&database, sql, &[]),
        Value::Decimal(9_223_372_036_854_775_807)
    );
    let set = database.connect("sa").query(sql, &[]).unwrap().remove(0);
    assert_eq!(set.columns[0].kind, Type::Decimal(19, 4));
    assert_eq!(
        one(
            &database,
            "SELECT CAST(m AS nvarchar(40)) FROM dbo.orders",
            &[]
        ),
        "922337203685477.58".into()
    );
}

#[test]
fn values_keep_their_types() {
    let database = Database::new("shop");
    database.run("CREATE TABLE dbo.t (id int PRIMARY KEY, d decimal(38, 10), b bit, c char(4), n datetime2(3), o datetimeoffset(0), v varbinary(max), f float, r real, s smalldatetime, y date, w time(1))").unwrap();
    database.run("INSERT INTO dbo.t VALUES (1, '-1234567890123456789012345678.0123456789', 1, 'ab', '2026-03-02T10:11:12.3456', '2026-03-02T10:11:12.5+02:00', 0x0102, 1.5, 2.5, '2026-03-02T10:11:31', '2026-03-02', '10:11:12.34')").unwrap();
    let set = database
        .connect("sa")
        .query("SELECT * FROM dbo.t", &[])
        .unwrap()
        .remove(0);
    let kinds: Vec<Type> = set
        .columns
        .iter()
        .map(|column| column.kind.clone())
        .collect();
    assert_eq!(
        kinds[1..4],
        [Type::Decimal(38, 10), Type::Bit, Type::Char(4)]
    );
    assert_eq!(kinds[6], Type::VarBinary(Length::Max));
    let row = &set.rows[0];
    assert_eq!(
        row[1],
        Value::Decimal(-12_345_678_901_234_567_890_123_456_780_123_456_789)
    );
    assert_eq!(row[3], "ab  ".into(), "char is padded");
    let as_text = |column: &str| {
        one(
            &database,
            &format!("SELECT CAST({column} AS nvarchar(60)) FROM dbo.t"),
            &[],
        )
    };
    assert_eq!(as_text("n"), "2026-03-02 10:11:12.346".into());
    assert_eq!(as_text("o"), "2026-03-02 10:11:13 +02:00".into());
    assert_eq!(as_text("s"), "2026-03-02 10:12:00".into());
    assert_eq!(as_text("y"), "2026-03-02".into());
    assert_eq!(as_text("w"), "10:11:12.3".into());
    assert_eq!(
        as_text("d"),
        "-1234567890123456789012345678.0123456789".into()
    );
}

#[test]
fn joins_groups_and_subqueries_are_worked_out() {
    let database = ten();
    database
        .run("CREATE TABLE dbo.names (name nvarchar(50) PRIMARY KEY, nr int)")
        .unwrap();
    database
        .run("INSERT INTO dbo.names VALUES (N'EVEN', 2), (N'none', 0)")
        .unwrap();
    let of = |sql: &str| ask(&database, sql, &[]);
    assert_eq!(
        of(
            "SELECT n.nr, COUNT(*) FROM dbo.orders AS o JOIN dbo.names AS n ON n.name = o.name GROUP BY n.nr"
        ),
        [[2.into(), 5.into()]]
    );
    assert_eq!(
        ints(&of(
            "SELECT o.id FROM dbo.orders o LEFT JOIN dbo.names n ON n.name = o.name WHERE n.nr IS NULL AND o.id < 6 ORDER BY o.id DESC"
        )),
        [5, 3, 1]
    );
    assert_eq!(
        ints(&of(
            "SELECT id FROM dbo.orders AS o WHERE EXISTS (SELECT 1 FROM dbo.names AS n WHERE n.name = o.name) AND id IN (1, 2, 3, 4) ORDER BY 1"
        )),
        [2, 4]
    );
    assert_eq!(
        ints(&of(
            "SELECT (SELECT MAX(id) FROM dbo.orders WHERE name = n.name) FROM dbo.names AS n WHERE nr > 0"
        )),
        [10]
    );
    assert_eq!(
        ints(&of(
            "SELECT k.id FROM (VALUES (3), (11)) AS k(id) LEFT JOIN dbo.orders AS o ON o.id = k.id WHERE o.id IS NULL"
        )),
        [11]
    );
    assert_eq!(
        ints(&of(
            "SELECT id FROM dbo.orders ORDER BY id OFFSET 8 ROWS FETCH NEXT 5 ROWS ONLY"
        )),
        [9, 10]
    );
    assert_eq!(
        ints(&of(
            "SELECT id FROM dbo.orders WHERE name NOT LIKE N'ev%' AND id BETWEEN 2 AND 6 ORDER BY id"
        )),
        [3, 5]
    );
    assert_eq!(
        ints(&of("SELECT DISTINCT LEN(name) FROM dbo.orders ORDER BY 1")),
        [3, 4]
    );
    assert_eq!(
        of("SELECT MAX(id) FROM dbo.orders WHERE id > 100"),
        [[Value::Null]]
    );
}

#[test]
fn a_list_of_two_thousand_parameters_is_worked_out() {
    let database = ten();
    let names: Vec<String> = (1..=2000).map(|n| format!("@P{n}")).collect();
    let parameters: Vec<_> = (1..=2000)
        .map(|n| int(&names[n - 1], i32::try_from(n).unwrap()))
        .collect();
    let sql = format!(
        "SELECT id FROM dbo.orders WHERE id IN ({}) ORDER BY id",
        names.join(", ")
    );
    assert_eq!(ask(&database, &sql, &parameters).len(), 10);
}

#[test]
fn binary_compares_as_if_the_shorter_were_padded() {
    let database = shop();
    let sql = "SELECT CASE WHEN @P1 > 0x00 THEN 1 ELSE 0 END";
    assert_eq!(
        one(&database, sql, &[bytes("@P1", &[0, 0, 0])]),
        Value::Int(0)
    );
    assert_eq!(
        one(&database, sql, &[bytes("@P1", &[0, 0, 1])]),
        Value::Int(1)
    );
}

#[test]
fn a_computed_column_has_the_type_of_its_expression() {
    let database = Database::new("shop");
    let sql = "CREATE TABLE dbo.t (id int PRIMARY KEY, price decimal(9,2), n int, total AS (price * n), label AS N'no ' + CAST(id AS nvarchar(9)))";
    database.run(sql).unwrap();
    database
        .run("INSERT INTO dbo.t (id, price, n) VALUES (1, 1.25, 3)")
        .unwrap();
    let set = database
        .connect("sa")
        .query("SELECT total, label FROM dbo.t", &[])
        .unwrap()
        .remove(0);
    assert_eq!(set.columns[0].kind, Type::Decimal(38, 2));
    assert_eq!(set.rows, [[Value::Decimal(375), "no 1".into()]]);
    let wrong = database.run("CREATE TABLE dbo.w (id int PRIMARY KEY, x AS nothing + 1)");
    assert_eq!(wrong.unwrap_err().number, 207);
    assert_eq!(refusal(&database, "SELECT 1 FROM dbo.w", &[]).number, 208);
}

#[test]
fn a_query_that_was_named_is_read_like_a_table() {
    let database = ten();
    let sql = "WITH odd AS (SELECT id FROM dbo.orders WHERE name = 'odd'), \
               few AS (SELECT o.id FROM odd AS o WHERE o.id < 6) SELECT id FROM few ORDER BY id";
    assert_eq!(ints(&ask(&database, sql, &[])), [1, 3, 5]);
    // It is not there for the next statement.
    let error = refusal(
        &database,
        "WITH x AS (SELECT id FROM dbo.orders) SELECT id FROM x; SELECT id FROM x",
        &[],
    );
    assert_eq!(error.number, 208);
}
