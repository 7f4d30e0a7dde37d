//! One connection, from its first byte to its end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::net::TcpStream;

use super::answer::ServerError;
use super::client::Client;
use super::encode::RowShape;
use super::fault::LoginFault;
use super::handler::Session;
use super::link::{Ended, HEADER_BYTES, Link};
use super::login::{self, Greeting};
use super::prelogin::{self, Agreed, Prelogin};
use super::reader::Malformed;
use super::reply::{State, unfit};
use super::server::Shared;
use super::tls::Transport;
use super::token;

/// The packet size before the login has changed it.
const FIRST_PACKET_BYTES: usize = 4096;

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
        program: greeting.login.program,
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
    if let Some(route) = options.route.as_ref().filter(|route| route.takes(login)) {
        token::routed(&mut out, &route.host, route.port)?;
    }
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
