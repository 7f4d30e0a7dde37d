//! What a check says of a table is what the stream does with it, whatever is there, allowed and chosen.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

use crate::common::world::World;
use crate::common::{PASSWORD, captured, of, secret, text};
use contract::{Finding, Level};
use tds_server::model::User;

const TABLE: &str = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, name nvarchar(9) NULL)";
const VERSIONED: &str = "CREATE TABLE dbo.t (id int NOT NULL PRIMARY KEY, rv rowversion NOT NULL)";
const PLACED: &str =
    "CREATE TABLE dbo.t (id hierarchyid NOT NULL PRIMARY KEY, n int NOT NULL UNIQUE)";
const SELECT: &str = "GRANT SELECT ON dbo.t TO agent";
const TRACK: [&str; 2] = [
    "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
    "ALTER TABLE dbo.t ENABLE CHANGE_TRACKING",
];
const VIEW: &str = "GRANT VIEW CHANGE TRACKING ON dbo.t TO agent";
const CAPTURE: [&str; 2] = [
    "EXEC sys.sp_cdc_enable_db",
    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = NULL",
];
const GATED: [&str; 2] = [
    CAPTURE[0],
    "EXEC sys.sp_cdc_enable_table @source_schema = N'dbo', @source_name = N't', @role_name = N'readers'",
];
const MEMBER: &str = "ALTER ROLE readers ADD MEMBER agent";
const SCHEMA: &str = "GRANT SELECT ON SCHEMA::cdc TO agent";

/// What is there, and what is chosen of it where nobody chooses; none = nothing may be.
fn databases() -> Vec<(Vec<&'static str>, Option<&'static str>)> {
    let [on, track] = TRACK;
    let [cdc, capture] = CAPTURE;
    let [_, gated] = GATED;
    vec![
        (vec![TABLE, SELECT], Some("compare")),
        (vec![VERSIONED, SELECT], Some("rowversion")),
        (vec![TABLE, SELECT, on], Some("compare")),
        (vec![TABLE, SELECT, on, track], None),
        (vec![VERSIONED, SELECT, on, track], None),
        (vec![TABLE, SELECT, on, track, VIEW], Some("tracking")),
        (vec![PLACED, SELECT, on, track, VIEW], None),
        (vec![TABLE, SELECT, cdc], Some("compare")),
        (vec![TABLE, SELECT, cdc, SCHEMA], Some("compare")),
        (vec![TABLE, SELECT, cdc, capture], Some("cdc-function")),
        (vec![TABLE, SELECT, cdc, capture, SCHEMA], Some("cdc")),
        (vec![TABLE, SELECT, cdc, gated], None),
        (vec![TABLE, SELECT, cdc, gated, SCHEMA], None),
        (
            vec![TABLE, SELECT, cdc, gated, MEMBER],
            Some("cdc-function"),
        ),
        (vec![TABLE, SELECT, cdc, gated, MEMBER, SCHEMA], Some("cdc")),
        (vec![TABLE, SELECT, on, track, VIEW, cdc, gated], None),
    ]
}

fn world(sql: &[&str], chosen: Option<&str>) -> World {
    let mut world = World::new()
        .set("user", text("agent"))
        .set("password", secret(PASSWORD));
    world.database.add_user(User::new("agent", PASSWORD));
    for sql in sql {
        world.database.run(sql).unwrap();
    }
    world.tables.push(captured("dbo", "t"));
    match chosen {
        Some(mode) => world.mode(mode),
        None => world,
    }
}

/// The mode that a check says a table is captured by.
fn said(findings: &[Finding]) -> Option<&'static str> {
    let words = [
        ("is captured by cdc-function", "cdc-function"),
        ("is captured by cdc", "cdc"),
        ("is captured by tracking", "tracking"),
        ("is captured by its rowversion", "rowversion"),
        ("nothing tells its changes", "compare"),
    ];
    let of_table = findings
        .iter()
        .filter(|one| one.what.ends_with("table dbo.t"));
    let mut found = of_table.filter_map(|one| {
        let fits = words.iter().find(|(words, _)| one.found.starts_with(words));
        fits.map(|(_, mode)| *mode)
    });
    found.next()
}

#[tokio::test]
async fn a_check_says_of_a_table_what_the_stream_does_with_it() {
    let modes = ["cdc", "cdc-function", "tracking", "rowversion", "compare"];
    for (sql, expected) in databases() {
        for chosen in std::iter::once(None).chain(modes.map(Some)) {
            let world = world(&sql, chosen);
            let findings = world.source().check().await;
            let mut reader = world.open();
            let opened = reader.start().await;
            let told = match opened {
                Ok(()) => {
                    let server = reader.stream.as_ref().unwrap().server().unwrap();
                    let line = server
                        .lines()
                        .find_map(|line| line.strip_prefix("\"dbo.t\" "));
                    let mode = line.unwrap().split(' ').next().unwrap().to_owned();
                    assert_eq!(
                        of(&findings, Level::Fail),
                        Vec::<String>::new(),
                        "{sql:?} {chosen:?}"
                    );
                    assert_eq!(said(&findings), Some(mode.as_str()), "{sql:?} {chosen:?}");
                    Some(mode)
                }
                Err(error) => {
                    // In the same words.
                    let failed = findings.iter().find(|one| one.level == Level::Fail);
                    let failed = failed.unwrap_or_else(|| panic!("{sql:?} {chosen:?}: {error}"));
                    let both = format!("{sql:?} {chosen:?}: {error} / {failed}");
                    assert!(error.to_string().contains(&failed.found), "{both}");
                    assert_eq!(failed.fix.as_deref(), error.hint(), "{both}");
                    None
                }
            };
            match chosen {
                None => assert_eq!(told.as_deref(), expected, "{sql:?}"),
                Some(chosen) => assert!(told.is_none_or(|mode| mode == chosen), "{sql:?}"),
            }
        }
    }
}
