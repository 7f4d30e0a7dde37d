//! A connection: its transaction, its settings, and the batches it runs.

use super::ast::Statement;
use super::bind::{Cx, Facts, Names, Result, Scope, expr};
use super::eval::{Env, eval, holds};
use super::parse::{self, Read};
use super::query;
use super::types::Kind;
use crate::model::{Database, Then, View};
use crate::wire::{Column, Isolation, Parameter, Part, ServerError, Transacted, Value};

/// Rows with their columns.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSet {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Vec<Value>>,
}

/// The transaction of a connection.
#[derive(Debug)]
struct Held {
    id: u64,
    /// What a SNAPSHOT transaction sees, from its first read on.
    snapshot: Option<u64>,
    count: i32,
}

/// What a statement gave.
pub(super) enum Gave {
    Rows(ResultSet),
    Count(u64),
    Nothing,
    Transacted(Transacted),
    Database(String),
    Info(String),
    Return(i32),
}

/// A connection to the database, with or without a wire.
#[derive(Debug)]
pub struct Connection {
    pub(super) database: Database,
    pub(super) user: String,
    life: u64,
    isolation: Isolation,
    held: Option<Held>,
    abort: bool,
    lock_timeout: i32,
    pub(super) program: String,
    names: Names,
    rows: i64,
    statements: u64,
}

impl Connection {
    pub(crate) fn new(database: Database, user: &str) -> Self {
        let life = database.with_state(|state| state.life);
        Self {
            database,
            user: user.to_owned(),
            life,
            isolation: Isolation::ReadCommitted,
            held: None,
            abort: false,
            lock_timeout: -1,
            program: String::new(),
            names: Names::new(),
            rows: 0,
            statements: 0,
        }
    }

    /// Runs statements in one transaction. Gives back the first error.
    pub fn run(&mut self, sql: &str) -> Result<()> {
        self.begin()?;
        let done = self.query(sql, &[]).map(drop);
        if done.is_err() {
            self.roll_back();
            return done;
        }
        self.commit()
    }

    /// Runs a batch and gives back its result sets, or the first error.
    pub fn query(&mut self, sql: &str, parameters: &[Parameter]) -> Result<Vec<ResultSet>> {
        let mut found: Vec<ResultSet> = Vec::new();
        for part in self.execute(sql, parameters) {
            match part {
                Part::Columns(columns) => found.push(ResultSet {
                    columns,
                    rows: Vec::new(),
                }),
                Part::Row(row) => {
                    if let Some(set) = found.last_mut() {
                        set.rows.push(row);
                    }
                }
                Part::Error(error) => return Err(error),
                _ => {}
            }
        }
        Ok(found)
    }

    /// Runs a batch. It ends with its first error, as it does with XACT_ABORT, and here always.
    pub(crate) fn execute(&mut self, sql: &str, parameters: &[Parameter]) -> Vec<Part> {
        self.database.note(sql);
        let reads = match parse::batch(sql) {
            Ok(reads) => reads,
            Err(error) => return vec![Part::Error(error)],
        };
        self.names = parameters
            .iter()
            .map(|parameter| {
                let mut kind = Kind::new(parameter.kind.clone()).collated(parameter.collation);
                kind.nullable = parameter.value == Value::Null;
                (parameter.name.clone(), (parameter.value.clone(), kind))
            })
            .collect();
        // A parameter's text compares in the collation of the database.
        let default = self.database.with_state(|state| state.collation.1);
        for (_, kind) in self.names.values_mut() {
            kind.collation = default;
        }
        let mut parts = Vec::new();
        for read in &reads {
            if !self.statement(read, &mut parts) {
                break;
            }
        }
        if parts.is_empty() {
            parts.push(Part::Done(None));
        }
        parts
    }

    /// Runs one statement; whether the batch goes on.
    fn statement(&mut self, read: &Read, parts: &mut Vec<Part>) -> bool {
        let database = self.database.clone();
        let mut failed = None;
        let mut after = Vec::new();
        for then in database.due(&read.text) {
            match then {
                Then::Before(act) => act(&database),
                Then::After(act) => after.push(act),
                Then::Fail(error) => failed = Some(error),
            }
        }
        let gave = match (failed, self.is_dead()) {
            (_, true) => {
                let text =
                    "Cannot continue the execution because the session is in the kill state.";
                Err(ServerError::new(596, 21, text))
            }
            (Some(error), _) => Err(error),
            _ => self.one(&read.statement),
        };
        for act in after {
            act(&database);
        }
        match gave {
            Ok(all) => {
                all.into_iter().for_each(|gave| self.tell(gave, parts));
                true
            }
            Err(error) => {
                // Errors that end the transaction whatever is set.
                let ends = matches!(error.number, 1205 | 3951 | 3958 | 3960 | 3961 | 3966);
                parts.push(Part::Error(error));
                if (self.abort || ends) && self.held.is_some() {
                    self.roll_back();
                    parts.push(Part::Transaction(Transacted::RolledBack));
                }
                false
            }
        }
    }

    fn tell(&mut self, gave: Gave, parts: &mut Vec<Part>) {
        match gave {
            Gave::Rows(set) => {
                self.rows = i64::try_from(set.rows.len()).unwrap_or(i64::MAX);
                parts.push(Part::Columns(set.columns));
                parts.extend(set.rows.into_iter().map(Part::Row));
                parts.push(Part::Done(None));
            }
            Gave::Count(count) => {
                self.rows = i64::try_from(count).unwrap_or(i64::MAX);
                parts.push(Part::Done(Some(count)));
            }
            Gave::Nothing => parts.push(Part::Done(None)),
            Gave::Transacted(did) => {
                parts.push(Part::Transaction(did));
                parts.push(Part::Done(None));
            }
            Gave::Database(name) => {
                parts.push(Part::Database(name));
                parts.push(Part::Done(None));
            }
            Gave::Info(text) => parts.push(Part::Info(ServerError::new(0, 0, text))),
            Gave::Return(status) => parts.push(Part::Return(status)),
        }
    }

    fn is_dead(&self) -> bool {
        self.database.with_state(|state| state.life != self.life)
    }

    fn one(&mut self, statement: &Statement) -> Result<Vec<Gave>> {
        Ok(vec![match statement {
            Statement::Query(of) => {
                let set = self.read(|cx| {
                    let bound = query::bind(cx, of, None)?;
                    let columns = bound.columns.iter().map(column).collect();
                    let rows = bound.run(cx, None)?;
                    Ok(ResultSet { columns, rows })
                })?;
                Gave::Rows(set)
            }
            Statement::Set(name, value) => {
                if name.contains("XACT_ABORT") {
                    self.abort = value == "ON";
                } else if name == "LOCK_TIMEOUT" {
                    self.lock_timeout = value.parse().map_err(|_| ServerError::syntax(value))?;
                }
                Gave::Nothing
            }
            Statement::SetIsolation(isolation) => {
                self.isolate(*isolation)?;
                Gave::Nothing
            }
            Statement::Begin => {
                let first = self.held.is_none();
                self.begin()?;
                if first {
                    Gave::Transacted(Transacted::Begun)
                } else {
                    Gave::Nothing
                }
            }
            Statement::Commit => {
                self.commit()?;
                if self.held.is_none() {
                    Gave::Transacted(Transacted::Committed)
                } else {
                    Gave::Nothing
                }
            }
            Statement::Rollback => {
                if self.held.is_none() {
                    let text =
                        "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.";
                    return Err(ServerError::new(3903, 16, text));
                }
                self.roll_back();
                Gave::Transacted(Transacted::RolledBack)
            }
            Statement::If(when, then, other) => {
                let yes = self.read(|cx| {
                    let bound = expr(cx, when, &Scope::default(), None)?;
                    holds(cx, &bound, &Env::of(&[]))
                })?;
                return match (yes, other) {
                    (true, _) => self.one(then),
                    (false, Some(other)) => self.one(other),
                    _ => Ok(Vec::new()),
                };
            }
            Statement::Block(inner) => {
                let mut all = Vec::new();
                for statement in inner {
                    all.extend(self.one(statement)?);
                }
                return Ok(all);
            }
            Statement::Use(name) => {
                let here = self.database.with_state(|state| state.name.clone());
                if !crate::model::same_name(name, &here) {
                    return Err(ServerError::new(
                        911,
                        16,
                        format!(
                            "Database '{name}' does not exist. Make sure that the name is entered correctly."
                        ),
                    ));
                }
                Gave::Database(here)
            }
            Statement::Declare(name, kind, value) => {
                let value = match value {
                    Some(value) => self.value(value, Some(kind))?,
                    None => Value::Null,
                };
                let default = self.database.with_state(|state| state.collation.1);
                self.names.insert(
                    name.clone(),
                    (value, Kind::new(kind.clone()).collated(default)),
                );
                Gave::Nothing
            }
            Statement::Assign(name, value) => {
                let kind = self
                    .names
                    .get(name)
                    .map(|(_, kind)| kind.of.clone())
                    .ok_or_else(|| {
                        ServerError::new(
                            137,
                            15,
                            format!("Must declare the scalar variable \"{name}\"."),
                        )
                    })?;
                let value = self.value(value, Some(&kind))?;
                if let Some((held, _)) = self.names.get_mut(name) {
                    *held = value;
                }
                Gave::Nothing
            }
            Statement::Print(what) => {
                let to = crate::wire::Type::NVarChar(crate::wire::Length::Of(4000));
                match self.value(what, Some(&to))? {
                    Value::Text(text) => Gave::Info(text),
                    _ => Gave::Info(String::new()),
                }
            }
            Statement::Execute { path, args } => return self.procedure(path, args),
            Statement::Insert { .. } | Statement::Update { .. } | Statement::Delete { .. } => {
                Gave::Count(self.change(statement)?)
            }
            other => {
                self.define(other)?;
                Gave::Nothing
            }
        }])
    }

    pub(super) fn isolate(&mut self, isolation: Isolation) -> Result<()> {
        if isolation == Isolation::ReadUncommitted {
            let text = "The model refuses READ UNCOMMITTED: dirty reads.";
            return Err(ServerError::new(50_000, 16, text));
        }
        if isolation == Isolation::Snapshot
            && self.held.is_some()
            && self.isolation != Isolation::Snapshot
        {
            return Err(ServerError::new(
                3951,
                16,
                "Transaction failed because the isolation level was changed to SNAPSHOT in a transaction that was started under another isolation level.",
            ));
        }
        self.isolation = isolation;
        Ok(())
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        if let Some(held) = &mut self.held {
            held.count += 1;
            return Ok(());
        }
        let id = self.database.with_state(crate::model::State::begin);
        self.held = Some(Held {
            id,
            snapshot: None,
            count: 1,
        });
        Ok(())
    }

    pub(super) fn commit(&mut self) -> Result<()> {
        let Some(held) = &mut self.held else {
            let text = "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.";
            return Err(ServerError::new(3902, 16, text));
        };
        held.count -= 1;
        if held.count > 0 {
            return Ok(());
        }
        let id = held.id;
        self.held = None;
        self.database.with(|state| state.commit(id).map(drop))
    }

    pub(super) fn roll_back(&mut self) {
        if let Some(held) = self.held.take() {
            self.database.with_state(|state| state.rollback(held.id));
        }
    }

    /// As it was after the login.
    pub(super) fn reset(&mut self) {
        self.roll_back();
        self.isolation = Isolation::ReadCommitted;
        self.abort = false;
        self.lock_timeout = -1;
        self.names.clear();
    }

    pub(super) fn has_transaction(&self) -> bool {
        self.held.is_some()
    }

    /// Does something in the transaction of the connection, or in one of its own.
    pub(super) fn in_transaction<T>(
        &mut self,
        act: impl FnOnce(&mut Self, u64) -> Result<T>,
    ) -> Result<T> {
        let own = self.held.is_none();
        self.begin()?;
        let id = self.held.as_ref().map_or(0, |held| held.id);
        let done = act(self, id);
        if !own && done.is_err() {
            if let Some(held) = &mut self.held {
                held.count -= 1;
            }
            return done;
        }
        if done.is_err() {
            self.roll_back();
            return done;
        }
        self.commit()?;
        done
    }

    /// Reads with what the connection sees now.
    pub(super) fn read<T>(&mut self, act: impl FnOnce(&Cx<'_>) -> Result<T>) -> Result<T> {
        self.statements += 1;
        let facts = Facts {
            transactions: self.held.as_ref().map_or(0, |held| held.count),
            lock_timeout: self.lock_timeout,
            program: self.program.clone(),
            row_count: self.rows,
        };
        let (database, names) = (self.database.clone(), &self.names);
        let snapshot = self.isolation == Isolation::Snapshot;
        let held = &mut self.held;
        let (user, salt) = (&self.user, self.statements);
        database.with(|state| {
            let seq = match held {
                Some(held) if snapshot => *held.snapshot.get_or_insert(state.seq),
                _ => state.seq,
            };
            let own = held.as_ref().map(|held| held.id);
            let user = state.user(user).ok_or_else(|| {
                ServerError::new(15_151, 16, "The login does not exist any more.")
            })?;
            let view = View { seq, own, snapshot };
            act(&Cx {
                state,
                user,
                view,
                names,
                facts: &facts,
                salt,
            })
        })
    }

    /// The value of an expression outside any row.
    pub(super) fn value(
        &mut self,
        of: &super::ast::Expr,
        to: Option<&crate::wire::Type>,
    ) -> Result<Value> {
        self.read(|cx| {
            let bound = expr(cx, of, &Scope::default(), None)?;
            let value = eval(cx, &bound, &Env::of(&[]))?;
            match to {
                Some(to) => super::convert(&value, &bound.kind.of, to, 0),
                None => Ok(value),
            }
        })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.roll_back();
    }
}

pub(super) fn column(of: &query::Column) -> Column {
    let mut column = Column::new(&of.name, of.kind.of.clone()).collated(of.kind.collation);
    column.nullable = of.kind.nullable;
    column.identity = of.identity;
    if of.kind.rowversion {
        column.user_type = 80;
    }
    column
}
