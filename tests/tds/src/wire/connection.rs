//! One connection, from its first byte to its end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::answer::{Answer, ServerError, Transacted};
use super::encode::{self, RowShape};
use super::fault::{FaultKind, LoginFault, Point};
use super::handler::{Session, Transaction};
use super::link::{Ended, HEADER_BYTES, Link, Message};
use super::login::{self, Greeting};
use super::parameter::Parameter;
use super::prelogin::{self, Agreed, Prelogin};
use super::reader::Malformed;
use super::reply::{Reply, State, Told, unfit};
use super::request::{self, Call, Procedure, Request, name_by_declaration, number_of, text_of};
use super::server::Shared;
use super::tls::Transport;
use super::token;
use super::types::Type;
use super::value::Value;

/// The packet size before the login has changed it.
const FIRST_PACKET_BYTES: usize = 4096;
/// The most statements that a connection may keep prepared.
const PREPARED_MAX: usize = 1000;

/// Serves a connection.
pub(super) async fn serve(
    socket: TcpStream,
    number: u64,
    shared: &Arc<Shared>,
) -> Result<(), Ended> {
    let fault = shared.login_fault();
    if let Some(LoginFault::DropAtConnect) = fault {
        return Err(Ended::Wanted);
    }
    let mut link = Link::new(Transport::Plain(socket), shared.options.message_bytes_max);
    link.write_bytes_max = shared.options.write_bytes_max.unwrap_or(usize::MAX).max(1);
    link.spid = u16::try_from(50 + number % 30_000).unwrap_or(50);

    let (prelogin, agreed) = agree(&mut link, shared, fault.as_ref()).await?;
    if agreed == Agreed::Nothing {
        return Err(Ended::Gone);
    }
    if agreed != Agreed::Plain {
        let certificate = shared
            .options
            .certificate
            .as_ref()
            .ok_or_else(|| unfit("encryption is offered without a certificate"))?;
        link.transport.encrypt(certificate).await.map_err(|error| {
            Ended::Malformed(Malformed(format!("the handshake of TLS failed: {error}")))
        })?;
    }
    let message = link.read().await?;
    if agreed == Agreed::LoginOnly {
        link.transport.decrypt();
    }
    if message.kind != 0x10 {
        return Err(Malformed(format!(
            "a packet of kind {:#04x} for a login",
            message.kind
        ))
        .into());
    }
    let mut greeting = login::read(&message.body)?;
    greeting.login.connection = number;
    greeting.login.encrypted = agreed == Agreed::All;
    greeting.login.instance = prelogin.instance;
    let refusal = match fault {
        Some(LoginFault::DropAtLogin) => return Err(Ended::Wanted),
        Some(LoginFault::Stall(gate)) => {
            gate.pass().await;
            None
        }
        Some(LoginFault::Refuse(error)) => Some(error),
        _ => None,
    };
    let mut state = State {
        database: String::new(),
        transaction: 0,
        transaction_count: number << 16,
        packet_bytes: FIRST_PACKET_BYTES,
        row_shape: RowShape {
            null_bitmap: shared.options.null_bitmap && greeting.login.version >= 0x730B_0003,
            chunk_bytes: shared.options.chunk_bytes,
            announce_length: shared.options.announce_length,
        },
        server_name: shared.options.name.clone(),
    };
    let session = let_in(&mut link, &mut state, shared, &mut greeting, refusal).await?;
    let mut client = Client {
        link,
        state,
        session,
        prepared: HashMap::new(),
        shared,
    };
    loop {
        client.next().await?;
    }
}

async fn agree(
    link: &mut Link,
    shared: &Shared,
    fault: Option<&LoginFault>,
) -> Result<(Prelogin, Agreed), Ended> {
    let message = link.read().await?;
    if matches!(fault, Some(LoginFault::DropAtPrelogin)) {
        return Err(Ended::Wanted);
    }
    if message.kind != 0x12 {
        return Err(Malformed(format!(
            "a packet of kind {:#04x} at the beginning",
            message.kind
        ))
        .into());
    }
    let prelogin = Prelogin::read(&message.body)?;
    let options = &shared.options;
    let (byte, agreed) = prelogin::agree(prelogin.encryption, options.encryption)?;
    let instance_is_right = prelogin.instance.is_empty()
        || prelogin.instance.eq_ignore_ascii_case(&options.instance)
        // What clients say who ask for no instance by name.
        || prelogin.instance.eq_ignore_ascii_case("MSSQLServer");
    let federated = prelogin.federated.map(|wish| wish & 1);
    let answer = prelogin::answer(options.version, byte, instance_is_right, federated);
    link.write_message(&answer, FIRST_PACKET_BYTES - HEADER_BYTES)
        .await?;
    Ok((prelogin, agreed))
}

async fn let_in(
    link: &mut Link,
    state: &mut State,
    shared: &Shared,
    greeting: &mut Greeting,
    refusal: Option<ServerError>,
) -> Result<Box<dyn Session>, Ended> {
    let options = &shared.options;
    let name = options.name.clone();
    if let Some(sspi) = greeting.login.sspi.clone()
        && let Some(challenge) = shared.handler.challenge(&greeting.login, &sspi)
    {
        let mut out = Vec::new();
        token::sspi(&mut out, &challenge)?;
        link.write_message(&out, FIRST_PACKET_BYTES - HEADER_BYTES)
            .await?;
        let reply = link.read().await?;
        if reply.kind != 0x11 {
            let malformed = format!(
                "a packet of kind {:#04x} for a challenge's reply",
                reply.kind
            );
            return Err(Malformed(malformed).into());
        }
        greeting.login.sspi_reply = Some(reply.body);
    }
    let login = &greeting.login;
    let session = match refusal {
        Some(error) => Err(error),
        None => shared.handler.login(login),
    };
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            let mut out = Vec::new();
            token::message(&mut out, true, &error, &name)?;
            token::done(&mut out, token::DONE, token::ERROR, 0, 0);
            link.write_message(&out, FIRST_PACKET_BYTES - HEADER_BYTES)
                .await?;
            return Err(Ended::Wanted);
        }
    };

    let database = if login.database.is_empty() {
        options.database.clone()
    } else {
        login.database.clone()
    };
    let wished = if login.packet_size == 0 {
        4096
    } else {
        login.packet_size
    };
    let packet_bytes = options
        .packet_bytes
        .map_or(wished, u32::from)
        .clamp(512, 32_767);
    let protocol = login.version.min(0x7400_0004);
    let mut out = Vec::new();
    let message = |number, text: String| ServerError {
        state: 2,
        ..ServerError::new(number, 0, text)
    };
    token::changed_text(&mut out, 1, &database, "master")?;
    let text = format!("Changed database context to '{database}'.");
    token::message(&mut out, false, &message(5701, text), &name)?;
    token::changed_collation(&mut out, options.collation)?;
    token::changed_text(&mut out, 2, "us_english", "")?;
    let text = "Changed language setting to us_english.".to_owned();
    token::message(&mut out, false, &message(5703, text), &name)?;
    token::login_ack(&mut out, protocol, options.version)?;
    token::changed_text(&mut out, 4, &packet_bytes.to_string(), "4096")?;
    let mut features: Vec<(u8, &[u8])> = Vec::new();
    let signed = [0; 32];
    for feature in &greeting.features {
        match feature {
            // A nonce is sent back with a signature, which nobody can check here.
            0x02 => features.push((0x02, if greeting.nonce { &signed } else { &[] })),
            0x0A => features.push((0x0A, &[1])),
            _ => {}
        }
    }
    if !greeting.features.is_empty() {
        token::features(&mut out, &features)?;
    }
    token::done(&mut out, token::DONE, 0, 0, 0);
    link.write_message(&out, FIRST_PACKET_BYTES - HEADER_BYTES)
        .await?;
    state.packet_bytes = usize::try_from(packet_bytes).unwrap_or(FIRST_PACKET_BYTES);
    state.database = database;
    Ok(session)
}

/// A statement that a client keeps.
struct Prepared {
    sql: String,
    declaration: String,
}

/// A client that is in.
struct Client<'a> {
    link: Link,
    state: State,
    session: Box<dyn Session>,
    prepared: HashMap<i32, Prepared>,
    shared: &'a Shared,
}

impl Client<'_> {
    /// Answers one request.
    async fn next(&mut self) -> Result<(), Ended> {
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
                self.shared.saw(&sql);
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
                self.shared.saw(&sql);
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
                self.shared.saw(&sql);
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
