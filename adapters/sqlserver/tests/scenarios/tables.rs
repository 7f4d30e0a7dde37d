//! Rowversion, tables read beside the stream, types, and logins.

use contract::{ChunkLimits, TableName};

use crate::common::world::{Rows, ops};
use crate::common::{denied, secret};
use crate::site::Site;

const LIMITS: ChunkLimits = ChunkLimits {
    rows_max: 2,
    bytes_max: 1 << 20,
};

pub async fn scenario_30_a_rowversion_of_an_open_transaction(mut site: Site) {
    let columns = "id int NOT NULL PRIMARY KEY, name nvarchar(50) NULL, rv rowversion NOT NULL";
    site.table("t", columns).await;
    let mut reader = site.open().started().await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (1, N'a')")
        .await;
    let mut open = site.another().await;
    open.run("BEGIN TRAN; INSERT INTO dbo.t (id, name) VALUES (2, N'late')")
        .await;
    site.run("INSERT INTO dbo.t (id, name) VALUES (3, N'c')")
        .await;
    assert_eq!(ops(&reader.catch_up().await.unwrap()), ["read t 1"]);
    open.run("COMMIT TRAN").await;
    assert_eq!(
        ops(&reader.catch_up().await.unwrap()),
        ["read t 2", "read t 3"]
    );
}

/// The position is taken first, then the rows are read: what changes meanwhile is told.
pub async fn scenario_32_a_table_that_is_read_while_it_changes(mut site: Site) {
    site.names(&["t"]).await;
    for id in 0..6 {
        site.run(&format!(
            "INSERT INTO dbo.t (id, name) VALUES ({id}, N'first')"
        ))
        .await;
    }
    site.cdc().await;
    let mut reader = site.open().started().await;
    let mut chunks = reader.source.snapshot(1).await.unwrap();
    chunks.begin().await.unwrap();
    let (mut rows, mut cursor, mut n) = (Rows::default(), None::<String>, 0);
    loop {
        site.run(&format!(
            "UPDATE dbo.t SET name = N'before {n}' WHERE id = {n}"
        ))
        .await;
        let chunk = chunks
            .chunk(&TableName::new("dbo", "t"), cursor.as_deref(), LIMITS)
            .await;
        let chunk = chunk.unwrap();
        for row in &chunk.rows {
            rows.apply(row);
        }
        site.run(&format!(
            "UPDATE dbo.t SET name = N'behind {n}' WHERE id = {}",
            5 - n
        ))
        .await;
        if n == 1 {
            site.run(
                "DELETE FROM dbo.t WHERE id = 0; INSERT INTO dbo.t (id, name) VALUES (9, N'new')",
            )
            .await;
        }
        cursor = chunk.next;
        n += 1;
        if cursor.is_none() {
            break;
        }
    }
    site.captured().await;
    reader.catch_up().await.unwrap();
    for change in &reader.told {
        rows.apply(change);
    }
    assert_eq!(rows.of("t"), site.truth("t", &["id", "name"]).await);
}

/// A type, a literal of it, and what is told of that.
const TYPES: &[(&str, &str, &str)] = &[
    ("bit", "1", "true"),
    ("tinyint", "255", "255"),
    ("smallint", "-32768", "-32768"),
    ("bigint", "-9223372036854775808", "-9223372036854775808"),
    ("decimal(38,10)", "-0.0000012345", "-0.0000012345"),
    ("money", "922337203685477.5807", "922337203685477.5807"),
    ("smallmoney", "-0.0005", "-0.0005"),
    ("float", "0.1", "0.1"),
    ("date", "'0001-01-01'", "0001-01-01"),
    ("time(7)", "'00:00:00.0000001'", "00:00:00.0000001"),
    (
        "datetime",
        "'1900-01-01T00:00:00.003'",
        "1900-01-01T00:00:00.003",
    ),
    (
        "datetime2(3)",
        "'1900-01-01T00:00:00.001'",
        "1900-01-01T00:00:00.001",
    ),
    (
        "datetimeoffset(0)",
        "'1900-01-01T01:00:00+01:00'",
        "1900-01-01T00:00:00Z",
    ),
    ("char(4)", "'ab'", "ab  "),
    ("varchar(9)", "N'\u{e9}'", "\u{e9}"),
    (
        "nvarchar(9)",
        "N'\u{142}\u{e4}\u{df}'",
        "\u{142}\u{e4}\u{df}",
    ),
    ("nvarchar(max)", "N'long'", "long"),
    ("binary(3)", "0x010203", "010203"),
    ("varbinary(max)", "0x00ff", "00ff"),
    (
        "uniqueidentifier",
        "'01234567-89ab-cdef-0123-456789abcdef'",
        "01234567-89ab-cdef-0123-456789abcdef",
    ),
    ("xml", "N'<a/>'", "<a/>"),
];

pub async fn scenario_33_every_type(mut site: Site) {
    let columns = TYPES
        .iter()
        .enumerate()
        .map(|(n, (kind, ..))| format!(", c{n} {kind} NULL"));
    let columns = format!("id int NOT NULL PRIMARY KEY{}", columns.collect::<String>());
    site.table("t", &columns).await;
    site.cdc().await;
    let mut reader = site.open().started().await;
    let values: Vec<&str> = TYPES.iter().map(|(_, value, _)| *value).collect();
    let values = values.join(", ");
    let nulls = ", NULL".repeat(TYPES.len());
    site.run(&format!(
        "INSERT INTO dbo.t VALUES (1, {values}), (2{nulls})"
    ))
    .await;
    site.captured().await;
    let told = reader.catch_up().await.unwrap();
    let mut chunks = reader.source.snapshot(1).await.unwrap();
    let chunk = chunks
        .chunk(&TableName::new("dbo", "t"), None, LIMITS)
        .await
        .unwrap();
    for change in [&told[0], &chunk.rows[0]] {
        for (n, (kind, _, expected)) in TYPES.iter().enumerate() {
            let at = change.shape.column(&format!("c{n}")).unwrap();
            let cell = change.after.as_ref().unwrap()[at].text();
            assert_eq!(cell.as_deref(), Some(*expected), "{kind}");
        }
    }
    assert_eq!(told[0].after, chunk.rows[0].after);
    assert_eq!(told[1].after, chunk.rows[1].after);
}

pub async fn scenario_35_a_login_that_is_refused(mut site: Site) {
    site.names(&["t"]).await;
    let wrong = "not-the-password-9";
    site.set("password", secret(wrong));
    let error = site.source().stream(1, None).await.err().unwrap();
    denied(&error, "18456", "password");
    assert!(!error.to_string().contains(wrong), "{error}");
}
