//! From the first byte to the start of the stream.

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::ScramSha256;
use postgres_protocol::message::backend::{AuthenticationSaslBody, ErrorResponseBody, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::dial::{Duplex, dial};
use super::{Failure, Login, Reading, auth, frame};
use crate::connect::name;
use crate::lsn;

/// The server's answer to the start: from here on both sides send. The library does not know it.
pub(super) const BOTH_SEND: u8 = b'W';

/// A session that is logged in.
pub(super) struct Session {
    pub(super) socket: Box<dyn Duplex>,
    /// What has arrived and is not read yet.
    pub(super) arrived: BytesMut,
}

pub(super) async fn open(login: &Login<'_>) -> Result<Session, Failure> {
    let line = dial(login.host, login.port, login.tls.as_ref()).await?;
    let mut session = Session {
        socket: line.socket,
        arrived: BytesMut::new(),
    };
    let parameters = [
        ("user", login.user),
        ("database", login.database),
        ("replication", "database"),
        ("application_name", login.application),
        ("client_encoding", login.encoding),
        ("options", login.options),
    ];
    let mut out = BytesMut::new();
    frontend::startup_message(parameters, &mut out).map_err(Failure::Io)?;
    session.send(&out).await?;
    let mut scram: Option<Scram> = None;
    loop {
        match session.message().await? {
            Message::AuthenticationOk if scram.as_ref().is_some_and(|scram| !scram.done) => {
                return Err(Failure::Malformed(
                    "the server lets us in without proving that it knows the password".to_owned(),
                ));
            }
            Message::AuthenticationOk => {}
            Message::AuthenticationCleartextPassword => {
                let password = auth::clear_password(login, line.encrypted)?;
                session.password(password).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let password = auth::password(login)?;
                let hash = md5_hash(login.user.as_bytes(), password, body.salt());
                session.password(hash.as_bytes()).await?;
            }
            Message::AuthenticationSasl(body) => {
                let offered = mechanisms(&body)?;
                let offered: Vec<&str> = offered.iter().map(String::as_str).collect();
                let (mechanism, state) =
                    auth::scram(login, &offered, line.encrypted, line.binding.as_ref())?;
                let mut out = BytesMut::new();
                frontend::sasl_initial_response(mechanism, state.message(), &mut out)
                    .map_err(Failure::Io)?;
                session.send(&out).await?;
                scram = Some(Scram { state, done: false });
            }
            Message::AuthenticationSaslContinue(body) => {
                let scram = scram.as_mut().ok_or_else(disorder)?;
                scram
                    .state
                    .update(body.data())
                    .map_err(|error| proof(&error))?;
                let mut out = BytesMut::new();
                frontend::sasl_response(scram.state.message(), &mut out).map_err(Failure::Io)?;
                session.send(&out).await?;
            }
            Message::AuthenticationSaslFinal(body) => {
                let scram = scram.as_mut().ok_or_else(disorder)?;
                scram
                    .state
                    .finish(body.data())
                    .map_err(|error| proof(&error))?;
                scram.done = true;
            }
            Message::AuthenticationGss | Message::AuthenticationSspi => {
                return Err(auth::unknown("Kerberos"));
            }
            Message::ReadyForQuery(_) => return Ok(session),
            Message::ParameterStatus(_)
            | Message::BackendKeyData(_)
            | Message::NoticeResponse(_) => {}
            Message::ErrorResponse(body) => return Err(server(&body)),
            _ => return Err(disorder()),
        }
    }
}

struct Scram {
    state: ScramSha256,
    /// The server has proved that it knows the password, too.
    done: bool,
}

fn mechanisms(body: &AuthenticationSaslBody) -> Result<Vec<String>, Failure> {
    let all = body.mechanisms().map(|name| Ok(name.to_owned())).collect();
    all.map_err(Failure::Io)
}

fn disorder() -> Failure {
    Failure::Malformed("the server answers out of order before the stream begins".to_owned())
}

/// The library's errors of SCRAM say nothing of the password.
fn proof(error: &std::io::Error) -> Failure {
    Failure::Login(format!("SCRAM: {error}"))
}

/// An error as the server tells it. Its text may be in any language and encoding: only the code
/// is relied on.
pub(super) fn server(body: &ErrorResponseBody) -> Failure {
    let (mut code, mut message, mut native) = (String::new(), String::new(), false);
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        let value = || String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value(),
            b'M' => message = value(),
            // Where in its own source; nobody else has that.
            b'R' => native = true,
            _ => {}
        }
    }
    Failure::Server {
        code,
        message,
        native,
    }
}

impl Session {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.socket.write_all(bytes).await.map_err(Failure::Io)?;
        self.socket.flush().await.map_err(Failure::Io)
    }

    async fn password(&mut self, password: &[u8]) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::password_message(password, &mut out).map_err(Failure::Io)?;
        self.send(&out).await
    }

    /// The next message as it is.
    async fn whole(&mut self) -> Result<BytesMut, Failure> {
        loop {
            if let Some(whole) = frame::take_whole(&mut self.arrived, frame::START_MAX)? {
                return Ok(whole);
            }
            frame::make_room(&mut self.arrived);
            let read = self.socket.read_buf(&mut self.arrived);
            if read.await.map_err(Failure::Io)? == 0 {
                return Err(Failure::Ended(
                    "the server closed the connection without a word".to_owned(),
                ));
            }
        }
    }

    async fn message(&mut self) -> Result<Message, Failure> {
        parse(self.whole().await?)
    }

    /// Starts to read a slot.
    pub(super) async fn start(&mut self, reading: &Reading<'_>) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::query(&start_command(reading), &mut out).map_err(Failure::Io)?;
        self.send(&out).await?;
        loop {
            let whole = self.whole().await?;
            if whole.first() == Some(&BOTH_SEND) {
                return Ok(());
            }
            match parse(whole)? {
                Message::ErrorResponse(body) => return Err(server(&body)),
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(disorder()),
            }
        }
    }

    /// The server's system identifier and timeline: `7412345678901234567/2`.
    pub(super) async fn server(&mut self) -> Result<String, Failure> {
        let system = self.cell("IDENTIFY_SYSTEM", 0).await?;
        let timeline = self.cell("IDENTIFY_SYSTEM", 1).await?;
        Ok(format!("{system}/{timeline}"))
    }

    /// The history of a timeline: its file's name and content are one row.
    pub(super) async fn timeline_history(&mut self, timeline: u32) -> Result<String, Failure> {
        self.cell(&format!("TIMELINE_HISTORY {timeline}"), 1).await
    }

    /// A cell of the one row that a command answers.
    async fn cell(&mut self, command: &str, place: usize) -> Result<String, Failure> {
        let mut out = BytesMut::new();
        frontend::query(command, &mut out).map_err(Failure::Io)?;
        self.send(&out).await?;
        let (mut cell, mut refused) = (None, None);
        loop {
            match self.message().await? {
                Message::DataRow(body) => {
                    let range = body.ranges().nth(place).map_err(Failure::Io)?.flatten();
                    let bytes = range.and_then(|range| body.buffer().get(range));
                    cell = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
                }
                Message::ErrorResponse(body) => refused = Some(server(&body)),
                Message::ReadyForQuery(_) => {
                    return refused.map_or_else(|| cell.ok_or_else(disorder), Err);
                }
                Message::RowDescription(_)
                | Message::CommandComplete(_)
                | Message::NoticeResponse(_)
                | Message::ParameterStatus(_) => {}
                _ => return Err(disorder()),
            }
        }
    }

    /// Ends the session.
    pub(super) async fn leave(mut self) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::terminate(&mut out);
        self.send(&out).await?;
        self.socket.shutdown().await.map_err(Failure::Io)
    }
}

fn parse(mut whole: BytesMut) -> Result<Message, Failure> {
    match Message::parse(&mut whole) {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(disorder()),
        Err(error) => Err(Failure::Malformed(error.to_string())),
    }
}

fn start_command(reading: &Reading<'_>) -> String {
    // The option's value is a list of identifiers inside a text.
    let publications = name(reading.publication).replace('\'', "''");
    format!(
        "START_REPLICATION SLOT {} LOGICAL {} (proto_version '1', publication_names '{publications}', \
         messages 'true')",
        name(reading.slot),
        lsn::text(reading.from)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_identifiers_and_inside_the_text() {
        let command = start_command(&Reading {
            slot: "lighterman_erp",
            publication: "it's \"mine\"",
            from: 0x16_B374_D848,
            acknowledged: 0,
            server: "7/1",
        });
        assert_eq!(
            command,
            "START_REPLICATION SLOT \"lighterman_erp\" LOGICAL 16/B374D848 (proto_version '1', \
             publication_names '\"it''s \"\"mine\"\"\"', messages 'true')"
        );
    }

    #[test]
    fn an_error_of_the_server_is_read_in_any_encoding() {
        let mut whole = BytesMut::from(&b"E\0\0\0\0SFATAL\0C28P01\0Mpassword \xE9\0\0"[..]);
        let length = u32::try_from(whole.len() - 1).unwrap();
        whole[1..5].copy_from_slice(&length.to_be_bytes());
        let Message::ErrorResponse(body) = parse(whole).unwrap() else {
            panic!("not an error");
        };
        let Failure::Server {
            code,
            message,
            native,
        } = server(&body)
        else {
            panic!("not the server's");
        };
        assert!(!native);
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("28P01", "password \u{FFFD}")
        );
    }
}
