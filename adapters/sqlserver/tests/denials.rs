//! Rights that somebody denied: no `GRANT` helps against a `DENY`.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::sync::Arc;

use common::{PASSWORD, about, captured, key, node, nvarchar, source, table, text};
use contract::{CapturedTable, Level, Login as As, NodeKind, Secret, Source};
use tds_server::model::{Database, User};
use tds_server::wire::{
    Answer, Handler, Login, Options, Parameter, Server, ServerError, Session, Transaction, Type,
    Value,
};

/// A class of securables, its number, a right, whom, and the names of a schema and a column.
type Denied = (
    u8,
    i32,
    &'static str,
    &'static str,
    Option<&'static str>,
    Option<&'static str>,
);

/// A database in which something is denied, which the model does not know.
#[derive(Clone)]
struct Denying {
    database: Database,
    denied: Vec<Denied>,
    reads_nothing: bool,
}

impl Handler for Denying {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        let inner = self.database.login(login)?;
        Ok(Box::new(Inside(inner, self.clone())))
    }
}

struct Inside(Box<dyn Session>, Denying);

impl Session for Inside {
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer {
        let number = |value: bool| Value::Int(i32::from(value));
        if sql.contains("db_denydatareader") {
            let row = vec![number(self.1.reads_nothing)];
            return table(&[("denied", Type::Int)], vec![row]);
        }
        let asks = sql.contains("p.state = 'D'");
        // The model's own answer shows that the question is one that a database understands.
        let answer = self.0.batch(sql, parameters);
        if !asks {
            return answer;
        }
        let word = |word: Option<&str>| word.map_or(Value::Null, Value::text);
        let rows = self.1.denied.iter();
        let rows = rows.map(|(class, on, right, to, schema, column)| {
            vec![
                Value::TinyInt(*class),
                Value::Int(*on),
                Value::text(right),
                Value::text(to),
                word(*schema),
                word(*column),
            ]
        });
        table(
            &[
                ("class", Type::TinyInt),
                ("major_id", Type::Int),
                ("permission_name", nvarchar()),
                ("name", nvarchar()),
                ("of_schema", nvarchar()),
                ("of_column", nvarchar()),
            ],
            rows.collect(),
        )
    }

    fn transaction(&mut self, request: &Transaction) -> Result<(), ServerError> {
        self.0.transaction(request)
    }
}

struct World {
    database: Database,
    server: Server,
    modes: NodeKind,
    item: CapturedTable,
}

/// A tracked table that the agent was granted nothing on but what the texts say.
fn world(sql: &[&str], denied: impl FnOnce(i32) -> Vec<Denied>, reads_nothing: bool) -> World {
    let database = Database::new("ERP");
    database.add_user(User::new("agent", PASSWORD));
    let all = [
        "CREATE TABLE dbo.item (id int NOT NULL PRIMARY KEY, name nvarchar(40) NULL)",
        "ALTER DATABASE ERP SET CHANGE_TRACKING = ON (CHANGE_RETENTION = 7 DAYS, AUTO_CLEANUP = ON)",
        "ALTER TABLE dbo.item ENABLE CHANGE_TRACKING",
    ];
    for sql in all.iter().chain(sql) {
        database.run(sql).unwrap();
    }
    let id = database
        .connect("sa")
        .query("SELECT OBJECT_ID(N'dbo.item')", &[]);
    let id = match &id.unwrap()[0].rows[0][0] {
        Value::Int(id) => *id,
        other => panic!("{other:?}"),
    };
    let denying = Denying {
        database: database.clone(),
        denied: denied(id),
        reads_nothing,
    };
    let mut item = captured("dbo", "item");
    item.columns = vec!["id".to_owned(), "name".to_owned()];
    World {
        database,
        server: Server::start(Options::default(), denying).unwrap(),
        modes: NodeKind::Map(vec![(key("dbo.item"), node(text("tracking")))]),
        item,
    }
}

impl World {
    fn source(&self) -> Arc<dyn Source> {
        let port = self.server.address().port();
        source(
            port,
            &[("modes", self.modes.clone())],
            vec![self.item.clone()],
        )
    }

    async fn planned(&self) -> Vec<String> {
        let sa = As {
            user: "sa".to_owned(),
            password: Some(Secret::new("Secret-1")),
        };
        self.source().prepare_as(&sa, false).await.unwrap().sql
    }
}

const SELECT: &str = "GRANT SELECT ON [dbo].[item] TO [agent]";
const PLACE: &str = "-- in database [ERP]:";
const VIEW: &str = "GRANT VIEW CHANGE TRACKING ON [dbo].[item] TO [agent]";

#[tokio::test]
async fn what_is_denied_is_said_with_what_takes_it_back() {
    let on_schema = |_| vec![(3, 1, "SELECT", "trainees", Some("dbo"), None)];
    let granted = "GRANT SELECT ON dbo.item TO agent";
    let world = world(&[granted], on_schema, false);
    // The grant is there already, and is not proposed again.
    assert_eq!(
        world.planned().await,
        [
            PLACE,
            VIEW,
            "-- SELECT on SCHEMA::[dbo] is denied to [trainees]: REVOKE SELECT ON SCHEMA::[dbo] FROM [trainees]: no \
             GRANT helps against a DENY; undo: DENY SELECT ON SCHEMA::[dbo] TO [trainees]",
        ]
    );
    // The model knows of no denial: the right is there until it is taken back.
    let findings = world.source().check().await;
    let finding = about(&findings, "table dbo.item");
    assert!(!finding.found.contains("denied"), "{finding}");
    world
        .database
        .run(
            "REVOKE SELECT ON dbo.item FROM agent; GRANT VIEW CHANGE TRACKING ON dbo.item TO agent",
        )
        .unwrap();
    let findings = world.source().check().await;
    let finding = about(&findings, "table dbo.item");
    assert_eq!(finding.level, Level::Fail);
    assert!(finding.found.contains("denied to [trainees]"), "{finding}");
    let fix = finding.fix.as_deref().unwrap();
    assert!(fix.starts_with("REVOKE SELECT ON SCHEMA::[dbo]"), "{fix}");
}

#[tokio::test]
async fn a_denial_of_tracking_or_of_a_column_that_is_read_is_said() {
    let denied = |id| {
        vec![
            (1, id, "VIEW CHANGE TRACKING", "agent", None, None),
            (1, id, "SELECT", "public", None, Some("name")),
            (1, id, "SELECT", "public", None, Some("another")),
            (1, id + 1, "SELECT", "agent", None, None),
        ]
    };
    let world = world(&["GRANT SELECT ON dbo.item TO agent"], denied, false);
    assert_eq!(
        world.planned().await,
        [
            PLACE,
            VIEW,
            "-- VIEW CHANGE TRACKING on [dbo].[item] is denied to [agent]: REVOKE VIEW CHANGE TRACKING ON \
             [dbo].[item] FROM [agent]: no GRANT helps against a DENY; undo: DENY VIEW CHANGE TRACKING ON \
             [dbo].[item] TO [agent]",
            "-- SELECT on [dbo].[item]([name]) is denied to [public]: REVOKE SELECT ON [dbo].[item]([name]) FROM \
             [public]: no GRANT helps against a DENY; undo: DENY SELECT ON [dbo].[item]([name]) TO [public]",
        ]
    );
    let findings = world.source().check().await;
    let of_item = findings
        .iter()
        .filter(|one| one.what.ends_with("table dbo.item"));
    let said: Vec<&str> = of_item.map(|one| one.found.as_str()).collect();
    assert!(
        said.iter().any(|said| said.contains("([name])")),
        "{said:?}"
    );
    let tracked = said.iter().find(|said| said.contains("tracked changes"));
    assert!(tracked.unwrap().contains("denied to [agent]"), "{said:?}");
}

#[tokio::test]
async fn a_role_that_may_read_no_table_is_said() {
    let world = world(&[], |_| Vec::new(), true);
    assert_eq!(
        world.planned().await,
        [
            PLACE,
            VIEW,
            SELECT,
            "-- the agent's user is in db_denydatareader, which may read no table: ALTER ROLE db_denydatareader DROP \
             MEMBER [agent]; undo: ALTER ROLE db_denydatareader ADD MEMBER [agent]",
        ]
    );
}
