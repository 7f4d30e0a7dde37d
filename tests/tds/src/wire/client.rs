//! A client that is in: its requests one after the other.

use std::collections::HashMap;

use super::answer::{Answer, ServerError, Transacted};
use super::encode;
use super::fault::{FaultKind, Point};
use super::handler::{Session, Transaction};
use super::link::{Ended, Link, Message};
use super::parameter::Parameter;
use super::reader::Malformed;
use super::reply::{Reply, State, Told, unfit};
use super::request::{self, Call, Procedure, Request, name_by_declaration, number_of, text_of};
use super::server::Shared;
use super::token;
use super::types::Type;
use super::value::Value;

/// The most statements that a connection may keep prepared.
const PREPARED_MAX: usize = 1000;

/// A statement that a client keeps.
pub(super) struct Prepared {
    sql: String,
    declaration: String,
}

/// A client that is in.
pub(super) struct Client<'a> {
    pub(super) link: Link,
    pub(super) state: State,
    pub(super) session: Box<dyn Session>,
    pub(super) prepared: HashMap<i32, Prepared>,
    pub(super) shared: &'a Shared,
    /// What the client calls itself.
    pub(super) program: String,
}

impl Client<'_> {
    /// Answers one request.
    pub(super) async fn next(&mut self) -> Result<(), Ended> {
        let message = self.link.read().await?;
        if message.kind == 0x06 {
            // What it was about is told already.
            let mut reply = Reply::new(&mut self.link, &mut self.state, Vec::new());
            let mut out = Vec::new();
            token::done(&mut out, token::DONE, token::ATTENTION, 0, 0);
            reply.put(&out).await?;
            return reply.finish().await;
        }
        if message.ignored {
            let mut reply = Reply::new(&mut self.link, &mut self.state, Vec::new());
            let mut out = Vec::new();
            token::done(&mut out, token::DONE, token::ATTENTION, 0, 0);
            reply.put(&out).await?;
            return reply.finish().await;
        }
        let (transaction, request) = request::read(message.kind, &message.body)?;
        let mut head = Vec::new();
        self.reset(&message, &mut head)?;
        let known = if head.is_empty() {
            self.state.transaction
        } else {
            transaction
        };
        if transaction != known {
            let error = ServerError::new(
                3989,
                16,
                "New request is not allowed to start because it should come with valid \
                 transaction descriptor.",
            );
            return self.whole(&head, Vec::new(), Answer::error(error)).await;
        }
        match request {
            Request::Batch(sql) => {
                self.shared.saw(&sql, &self.program);
                let faults = self.shared.faults(&sql);
                self.start(&faults).await?;
                let answer = self.session.batch(&sql, &[]);
                self.whole(&head, faults, answer).await
            }
            Request::Calls(calls) => self.calls(&head, calls).await,
            Request::Transaction { first, then } => self.transact(head, first, then).await,
        }
    }

    /// Lets what stands before the effect of a statement happen.
    async fn start(&mut self, faults: &[FaultKind]) -> Result<(), Ended> {
        let faults = faults.to_vec();
        Reply::new(&mut self.link, &mut self.state, faults)
            .at(Point::Start)
            .await
    }

    /// Answers a batch.
    async fn whole(
        &mut self,
        head: &[u8],
        faults: Vec<FaultKind>,
        answer: Answer,
    ) -> Result<(), Ended> {
        let mut reply = Reply::new(&mut self.link, &mut self.state, faults);
        reply.put(head).await?;
        if let Told::Whole { .. } = reply.tell(answer, false).await? {
            reply.end_batch().await?;
        }
        reply.finish().await
    }

    /// Sets the session back when the client wants it.
    fn reset(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<(), Ended> {
        let keeps_transaction = message.status & 0x10 != 0;
        if message.status & 0x08 == 0 && !keeps_transaction {
            return Ok(());
        }
        if !keeps_transaction {
            self.state.transaction = 0;
        }
        self.session.reset();
        token::changed(out, 18, &[], &[])?;
        Ok(())
    }

    async fn transact(
        &mut self,
        head: Vec<u8>,
        first: Transaction,
        then: Option<Transaction>,
    ) -> Result<(), Ended> {
        let faults = self.shared.faults(match &first {
            Transaction::Begin { .. } => "BEGIN TRANSACTION",
            Transaction::Commit => "COMMIT TRANSACTION",
            Transaction::Rollback { .. } => "ROLLBACK TRANSACTION",
            Transaction::Save { .. } => "SAVE TRANSACTION",
        });
        self.start(&faults).await?;
        let mut out = head;
        let mut answer = Answer::empty();
        for request in std::iter::once(first).chain(then) {
            if let Err(error) = self.session.transaction(&request) {
                answer = Answer::error(error);
                break;
            }
            let what = match request {
                Transaction::Begin { .. } => Transacted::Begun,
                Transaction::Commit => Transacted::Committed,
                Transaction::Rollback { name } if name.is_empty() => Transacted::RolledBack,
                Transaction::Rollback { .. } | Transaction::Save { .. } => continue,
            };
            self.state.transact(&mut out, what)?;
        }
        self.whole(&out, faults, answer).await
    }

    async fn calls(&mut self, head: &[u8], calls: Vec<Call>) -> Result<(), Ended> {
        let mut faults = Vec::new();
        let mut ready = Vec::new();
        // What is asked for is known before anything is answered, so that faults find it.
        for call in calls {
            let ready_call = self.ready(call)?;
            faults.extend(self.shared.faults(ready_call.text()));
            ready.push(ready_call);
        }
        self.start(&faults).await?;
        let mut reply = Reply::new(&mut self.link, &mut self.state, faults);
        reply.put(head).await?;
        let mut left = ready.len();
        for call in ready {
            left -= 1;
            let outputs = call.outputs()?;
            let answer = match call {
                Ready::Statement {
                    sql, parameters, ..
                } => self.session.batch(&sql, &parameters),
                Ready::Named { name, parameters } => self.session.procedure(&name, &parameters),
                Ready::Nothing { .. } => Answer::new([]),
                Ready::Refused(error) => Answer::error(error),
            };
            match reply.tell(answer, true).await? {
                Told::Stopped => break,
                Told::Whole { error, returned } => {
                    reply
                        .end_call(returned.unwrap_or(error), &outputs, left > 0)
                        .await?;
                }
            }
        }
        reply.finish().await
    }

    /// Makes of a call what it means.
    fn ready(&mut self, call: Call) -> Result<Ready, Ended> {
        let Call {
            procedure,
            mut parameters,
        } = call;
        let rest = |parameters: &mut Vec<Parameter>, from: usize| -> Vec<Parameter> {
            parameters.split_off(from.min(parameters.len()))
        };
        Ok(match procedure {
            Procedure::Named(name) if name.eq_ignore_ascii_case("sp_reset_connection") => {
                self.session.reset();
                Ready::Nothing { handle: None }
            }
            Procedure::Named(name) => Ready::Named { name, parameters },
            Procedure::ExecuteSql => {
                let mut values = rest(&mut parameters, 2);
                let sql = text_of(parameters.first())?;
                if let Some(declaration) = parameters.get(1) {
                    name_by_declaration(&text_of(Some(declaration))?, &mut values);
                }
                self.shared.saw(&sql, &self.program);
                Ready::Statement {
                    sql,
                    parameters: values,
                    handle: None,
                }
            }
            Procedure::Prepare | Procedure::PrepareExecute => {
                let mut values = rest(&mut parameters, 3);
                let declaration = text_of(parameters.get(1))?;
                let sql = text_of(parameters.get(2))?;
                name_by_declaration(&declaration, &mut values);
                self.shared.saw(&sql, &self.program);
                let handle = self.keep(Prepared {
                    sql: sql.clone(),
                    declaration,
                })?;
                if procedure == Procedure::Prepare {
                    Ready::Nothing {
                        handle: Some(handle),
                    }
                } else {
                    Ready::Statement {
                        sql,
                        parameters: values,
                        handle: Some(handle),
                    }
                }
            }
            Procedure::Execute => {
                let mut values = rest(&mut parameters, 1);
                let handle = number_of(parameters.first())?;
                match self.prepared.get(&handle) {
                    None => Ready::Refused(not_prepared(handle)),
                    Some(prepared) => {
                        name_by_declaration(&prepared.declaration, &mut values);
                        Ready::Statement {
                            sql: prepared.sql.clone(),
                            parameters: values,
                            handle: None,
                        }
                    }
                }
            }
            Procedure::Unprepare => {
                let handle = number_of(parameters.first())?;
                match self.prepared.remove(&handle) {
                    None => Ready::Refused(not_prepared(handle)),
                    Some(_) => Ready::Nothing { handle: None },
                }
            }
        })
    }

    fn keep(&mut self, prepared: Prepared) -> Result<i32, Ended> {
        if self.prepared.len() >= PREPARED_MAX {
            return Err(Malformed(format!("more than {PREPARED_MAX} statements prepared")).into());
        }
        let handle = (1..=i32::MAX)
            .find(|handle| !self.prepared.contains_key(handle))
            .ok_or_else(|| unfit("no handle is free"))?;
        self.prepared.insert(handle, prepared);
        Ok(handle)
    }
}

fn not_prepared(handle: i32) -> ServerError {
    ServerError::new(
        8179,
        16,
        format!("Could not find prepared statement with handle {handle}."),
    )
}

/// A call that is ready to be answered.
enum Ready {
    Statement {
        sql: String,
        parameters: Vec<Parameter>,
        handle: Option<i32>,
    },
    Named {
        name: String,
        parameters: Vec<Parameter>,
    },
    Nothing {
        handle: Option<i32>,
    },
    Refused(ServerError),
}

impl Ready {
    fn text(&self) -> &str {
        match self {
            Self::Statement { sql, .. } => sql,
            Self::Named { name, .. } => name,
            Self::Nothing { .. } | Self::Refused(_) => "",
        }
    }

    /// The handle of a prepared statement goes back in a parameter.
    fn outputs(&self) -> Result<Vec<u8>, Ended> {
        let mut out = Vec::new();
        if let Self::Statement {
            handle: Some(handle),
            ..
        }
        | Self::Nothing {
            handle: Some(handle),
        } = self
        {
            encode::output(&mut out, "", &Type::Int, &Value::Int(*handle))?;
        }
        Ok(out)
    }
}
