//! What the tests share.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "tests, of which each uses a part"
)]

pub mod world;

use std::fs;
use std::sync::{Arc, Mutex};

use contract::{
    CapturedTable, Finding, Key, Level, Node, NodeKind, Problems, Secret, SecretPlace, Secrets,
    Section, Source, SourceContext, SourceError, TableName,
};
use harness::certificates::Certificates;
use tds_server::wire::{
    Answer, Certificate, Column, Encryption, Handler, Length, Login, Options, Parameter, Server,
    ServerError, Session, Transaction, Type, Value,
};

pub const PASSWORD: &str = "p@ss wörd";

/// The one who says what SQL text is answered with.
pub type AnswerFn = dyn Fn(&str, &[Parameter]) -> Answer + Send + Sync;

/// Lets in who has the password, or a token, and remembers who came.
#[derive(Clone)]
pub struct Door {
    pub answer: Arc<AnswerFn>,
    pub logins: Arc<Mutex<Vec<Login>>>,
    pub transactions: Arc<Mutex<Vec<Transaction>>>,
    /// In the place of a login.
    pub refuse: Option<ServerError>,
}

impl Door {
    pub fn new(answer: impl Fn(&str, &[Parameter]) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            answer: Arc::new(answer),
            logins: Arc::default(),
            transactions: Arc::default(),
            refuse: None,
        }
    }

    pub fn logins(&self) -> Vec<Login> {
        self.logins.lock().unwrap().clone()
    }
}

impl Handler for Door {
    fn login(&self, login: &Login) -> Result<Box<dyn Session>, ServerError> {
        self.logins.lock().unwrap().push(login.clone());
        if let Some(refuse) = &self.refuse {
            return Err(refuse.clone());
        }
        if login.token.is_none() && login.password != PASSWORD {
            return Err(ServerError::login_failed(&login.user));
        }
        Ok(Box::new(Inside(self.clone())))
    }
}

struct Inside(Door);

impl Session for Inside {
    fn batch(&mut self, sql: &str, parameters: &[Parameter]) -> Answer {
        (self.0.answer)(sql, parameters)
    }

    fn transaction(&mut self, request: &Transaction) -> Result<(), ServerError> {
        self.0.transactions.lock().unwrap().push(request.clone());
        Ok(())
    }
}

pub fn nvarchar() -> Type {
    Type::NVarChar(Length::Of(128))
}

/// A result set of texts and numbers.
pub fn table(columns: &[(&str, Type)], rows: Vec<Vec<Value>>) -> Answer {
    let columns = columns
        .iter()
        .map(|(name, kind)| Column::new(name, kind.clone()));
    Answer::rows(columns.collect(), rows)
}

/// A database without any table, in which questions are asked.
pub fn empty(sql: &str) -> Answer {
    if sql.starts_with("SET ") {
        return Answer::empty();
    }
    if sql.contains("FROM sys.databases") {
        return database(1);
    }
    let views = ["sys.tables", "sys.columns", "sys.indexes", "sys.partitions"];
    if views.iter().any(|view| sql.contains(view)) {
        return table(&[("object_id", Type::Int)], Vec::new());
    }
    Answer::error(ServerError::invalid_object(sql))
}

pub fn database(snapshot_state: u8) -> Answer {
    table(
        &[
            ("name", nvarchar()),
            ("is_cdc_enabled", Type::Bit),
            ("snapshot_isolation_state", Type::TinyInt),
            ("is_read_committed_snapshot_on", Type::Bit),
            ("recovery_model", Type::TinyInt),
            ("collation_name", nvarchar()),
            ("updateability", nvarchar()),
            ("service_broker_guid", Type::UniqueIdentifier),
            ("create_date", Type::DateTime),
        ],
        vec![vec![
            Value::text("ERP"),
            Value::Bit(false),
            Value::TinyInt(snapshot_state),
            Value::Bit(false),
            Value::TinyInt(1),
            Value::text("SQL_Latin1_General_CP1_CI_AS"),
            Value::text("READ_WRITE"),
            Value::Null,
            Value::Null,
        ]],
    )
}

pub fn start(options: Options, door: &Door) -> Server {
    Server::start(options, door.clone()).unwrap()
}

pub fn plain(door: &Door) -> Server {
    start(Options::default(), door)
}

pub fn encrypted(certificates: &Certificates, own: &str) -> Options {
    let read = |name: String| fs::read_to_string(certificates.file(&name)).unwrap();
    let (chain, key) = (read(format!("{own}.crt")), read(format!("{own}.key")));
    Options {
        encryption: Encryption::On,
        certificate: Some(Certificate::from_pem(&chain, &key).unwrap()),
        ..Options::default()
    }
}

struct Named;

impl Secrets for Named {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(secret) => Ok(Secret::new(secret)),
            _ => Err("no files here".to_owned()),
        }
    }
}

/// A secret that is its own name.
pub fn secret(secret: &str) -> NodeKind {
    NodeKind::Map(vec![(key("env"), node(text(secret)))])
}

pub fn key(name: &str) -> Key {
    Key {
        name: name.to_owned(),
        line: 1,
        column: 1,
    }
}

pub fn node(kind: NodeKind) -> Node {
    Node {
        line: 1,
        column: 1,
        kind,
    }
}

pub fn text(text: impl Into<String>) -> NodeKind {
    NodeKind::Text(text.into())
}

pub fn number(number: impl Into<u64>) -> NodeKind {
    NodeKind::Number(number.into().to_string())
}

pub fn captured(schema: &str, name: &str) -> CapturedTable {
    CapturedTable {
        table: TableName::new(schema, name),
        key: Vec::new(),
        columns: Vec::new(),
    }
}

/// A source at a port of this machine, with settings in place of the usual ones; null leaves one out.
pub fn source(port: u16, more: &[(&str, NodeKind)], tables: Vec<CapturedTable>) -> Arc<dyn Source> {
    let context = SourceContext {
        name: "erp".to_owned(),
        tables,
    };
    build(port, more)(context).unwrap()
}

/// What builds the same for each mapping.
pub fn build(port: u16, more: &[(&str, NodeKind)]) -> contract::BuildSource {
    let mut settings = vec![
        ("host", text("127.0.0.1")),
        ("port", number(port)),
        ("database", text("ERP")),
        ("user", text("agent")),
        ("password", secret(PASSWORD)),
    ];
    settings.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let given = more.iter().filter(|(_, kind)| *kind != NodeKind::Null);
    settings.extend(given.map(|(name, kind)| (*name, kind.clone())));
    let entries = settings
        .iter()
        .map(|(name, kind)| (key(name), node(kind.clone())))
        .collect();
    let table = node(NodeKind::Map(entries));
    let problems = Problems::new("t");
    let mut section = Section::new(&table, "source", &problems);
    let build = source_sqlserver::read(&mut section, &Named);
    section.finish();
    assert_eq!(problems.take(), Vec::new());
    build.unwrap()
}

/// Logs in and asks for the tables.
pub async fn connect(port: u16, more: &[(&str, NodeKind)]) -> Result<(), SourceError> {
    source(port, more, Vec::new()).catalogue(&[]).await?;
    Ok(())
}

#[track_caller]
pub fn denied(error: &SourceError, found: &str, to_do: &str) {
    assert!(matches!(error, SourceError::Denied { .. }), "{error:?}");
    assert!(error.to_string().contains(found), "{error:?}");
    assert!(error.hint().unwrap().contains(to_do), "{error:?}");
}

#[track_caller]
pub fn disconnected(error: &SourceError, found: &str) {
    assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
    assert!(error.to_string().contains(found), "{error:?}");
}

/// Those findings of a level, as people read them.
pub fn of(findings: &[Finding], level: Level) -> Vec<String> {
    let found = findings.iter().filter(|one| one.level == level);
    found.map(ToString::to_string).collect()
}

/// The finding about a part.
pub fn about<'a>(findings: &'a [Finding], part: &str) -> &'a Finding {
    let found = findings.iter().find(|one| one.what.ends_with(part));
    found.unwrap_or_else(|| panic!("nothing about {part}: {findings:#?}"))
}
