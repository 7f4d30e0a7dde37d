//! Connections, and what their errors mean.

use std::fmt::Write as _;
use std::time::Duration;

use contract::{Secret, SourceError};
use pgwire_replication::{Lsn, PgWireError, ReplicationClient, ReplicationConfig};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::settings::{Settings, TlsMode};
use crate::tls;

/// Who we are in `pg_stat_activity`.
const APPLICATION: &str = "lighterman";
/// What prepares a database for us.
pub(crate) const RESYNC: &str = "if the slot is there and its log is lost, SELECT \
     pg_drop_replication_slot(..); then lighterman source prepare --apply, and lighterman source \
     resync: every table is read again and compared";
pub(crate) const PREPARE: &str = "lighterman source prepare --apply";
/// How long a connection may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to accept the start of replication.
const START_MAX: Duration = Duration::from_secs(30);
/// Changes that may wait in memory between the connection and the stream.
const BUFFER_CHANGES: usize = 256;

/// Session settings that shape the text of values: the same on every connection, so that snapshot
/// and stream give equal texts.
const PINNED: &[(&str, &str)] = &[
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("search_path", "pg_catalog"),
];

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Read only, each statement within a minute.
    Read,
    /// Change the database: `source prepare --apply`.
    Write,
}

/// Opens a connection for SQL.
pub(crate) async fn connect(settings: &Settings, rights: Rights) -> Result<Client, SourceError> {
    let place = format!("connect to {}:{}", settings.host, settings.port);
    let connecting = async {
        let client = open(settings, &place).await?;
        let mut sql = String::new();
        for (name, value) in PINNED {
            let _ = write!(sql, "SET {name} = '{value}'; ");
        }
        sql.push_str(match rights {
            Rights::Read => {
                "SET default_transaction_read_only = on; SET statement_timeout = '60s'; \
                 SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '60s'; \
                 SET row_security = off"
            }
            Rights::Write => "SET statement_timeout = '120s'; SET lock_timeout = '5s'",
        });
        let set = client.batch_execute(&sql).await;
        set.map_err(|error| classify(&place, &error))?;
        Ok(client)
    };
    tokio::time::timeout(CONNECT_MAX, connecting)
        .await
        .unwrap_or_else(|_| {
            let found = format!("{place}: no answer within {} s", CONNECT_MAX.as_secs());
            Err(SourceError::Disconnected(found))
        })
}

async fn open(settings: &Settings, place: &str) -> Result<Client, SourceError> {
    let mut config = tokio_postgres::Config::new();
    if settings.host.starts_with('/') {
        config.host_path(&settings.host);
    } else {
        config.host(&settings.host);
    }
    config
        .port(settings.port)
        .dbname(&settings.database)
        .user(&settings.user)
        .application_name(APPLICATION)
        .keepalives_idle(Duration::from_secs(30))
        .tcp_user_timeout(Duration::from_mins(1));
    if let Some(password) = &settings.password {
        config.password(password.expose());
    }
    let failed = |error| classify(place, &error);
    if settings.tls == TlsMode::Disable {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        run(connection);
        Ok(client)
    } else {
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        let tls = tls::connector(settings).await?;
        let (client, connection) = config.connect(tls).await.map_err(failed)?;
        run(connection);
        Ok(client)
    }
}

/// Drives a connection until its client is dropped.
fn run(connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "connection ended");
        }
    });
}

/// Starts replication at `start`, telling the server no more than `acknowledged`.
pub(crate) async fn replicate(
    settings: &Settings,
    start: u64,
    acknowledged: u64,
) -> Result<ReplicationClient, SourceError> {
    let doing = format!("start replication from slot \"{}\"", settings.slot);
    let options: Vec<String> = PINNED
        .iter()
        .map(|(name, value)| format!("-c {name}={value}"))
        .collect();
    // The file must stay until the connection is up.
    let authorities = tls::authorities_file(settings).await?;
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let password = settings.password.as_ref().map_or("", Secret::expose);
    let config = ReplicationConfig::new(
        &settings.host,
        &settings.user,
        password,
        &settings.database,
        quoted(&settings.slot),
        quoted(&settings.publication),
    )
    .with_port(settings.port)
    .with_tls(tls::replication(settings, authorities.as_ref()))
    .with_start_lsn(Lsn::from_u64(start))
    .with_ack_lsn(Lsn::from_u64(acknowledged))
    .with_status_interval(Duration::from_secs(1))
    .with_wakeup_interval(Duration::from_secs(1))
    .with_buffer_size(BUFFER_CHANGES)
    .with_options(options.join(" "))
    .with_application_name(APPLICATION);
    let starting = async {
        let mut client = ReplicationClient::connect(config).await?;
        client.wait_started().await?;
        Ok(client)
    };
    match tokio::time::timeout(START_MAX, starting).await {
        Ok(started) => started.map_err(|error| classify_replication(&doing, &error)),
        Err(_) => Err(SourceError::Disconnected(format!(
            "{doing}: no answer within {} s",
            START_MAX.as_secs()
        ))),
    }
}

/// Rows of statements run by the simple protocol, whose texts are those of the types' own output
/// functions, as in the log (a cast to text is not: it trims `char(n)` and spells out booleans).
pub(crate) async fn rows(
    client: &Client,
    sql: &str,
    doing: &str,
) -> Result<Vec<tokio_postgres::SimpleQueryRow>, SourceError> {
    let messages = client.simple_query(sql).await;
    Ok(messages
        .map_err(|error| classify(doing, &error))?
        .into_iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .collect())
}

/// A name in SQL.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL, whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!("E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}

/// A table in SQL.
pub(crate) fn table(table: &contract::TableName) -> String {
    format!("{}.{}", name(&table.schema), name(&table.name))
}

/// What an error of an SQL connection means.
pub(crate) fn classify(doing: &str, error: &tokio_postgres::Error) -> SourceError {
    if let Some(db) = error.as_db_error() {
        return by_code(doing, db.code().code(), db.message());
    }
    let mut text = format!("{doing}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    if text.contains("certificate") || text.contains("does not support TLS") {
        return untrusted(text);
    }
    SourceError::Disconnected(text)
}

/// TLS cannot be had as the settings ask for it. Neither library has a code for that.
fn untrusted(what: String) -> SourceError {
    SourceError::Denied {
        what,
        hint: "set ca_file to the PEM file of the authority that signed the server's certificate, \
               and host to a name in that certificate; or choose another tls"
            .to_owned(),
    }
}

/// What an error of the replication connection means. It carries the server's code only inside
/// its text.
pub(crate) fn classify_replication(doing: &str, error: &PgWireError) -> SourceError {
    match error {
        PgWireError::Server(text) => {
            let (message, code) = match text.rsplit_once(" (SQLSTATE ") {
                Some((message, code)) => (message, code.trim_end_matches(')')),
                None => (text.as_str(), ""),
            };
            by_code(doing, code, message)
        }
        PgWireError::Auth(text) => SourceError::Denied {
            what: format!("{doing}: {text}"),
            hint: AUTHENTICATION.to_owned(),
        },
        PgWireError::Tls(text) if text.contains("certificate") || text.contains("support TLS") => {
            untrusted(format!("{doing}: {text}"))
        }
        PgWireError::Protocol(text) => SourceError::Malformed(format!("{doing}: {text}")),
        PgWireError::MessageTooLarge { payload_bytes, .. } => {
            SourceError::Malformed(format!("{doing}: a row of {payload_bytes} bytes"))
        }
        other => SourceError::Disconnected(format!("{doing}: {other}")),
    }
}

const AUTHENTICATION: &str =
    "set user and password in the settings, and allow the user in the server's pg_hba.conf";

/// What a server's error code means (<https://www.postgresql.org/docs/current/errcodes-appendix.html>).
pub(crate) fn by_code(doing: &str, code: &str, message: &str) -> SourceError {
    // Messages of these classes quote the data they complain about.
    let quotes_data = code.starts_with("22") || code.starts_with("23");
    let what = if quotes_data {
        format!("{doing}: the server refuses a value (SQLSTATE {code})")
    } else {
        format!("{doing}: {message}")
    };
    let denied = |hint: &str| SourceError::Denied {
        what: what.clone(),
        hint: hint.to_owned(),
    };
    match code {
        _ if code.starts_with("28") => denied(AUTHENTICATION),
        "3D000" => denied("set the database's name in the settings"),
        "42501" => denied("lighterman check names the missing right and the SQL that grants it"),
        // A slot that was dropped, or a publication the slot is older than.
        "42704" => denied(PREPARE),
        "42P01" | "42703" | "3F000" => SourceError::SchemaChanged {
            what,
            hint: "lighterman check".to_owned(),
        },
        // The log the slot needs is gone.
        "58P01" => lost(what),
        "55000" if message.contains("can no longer") || message.contains("invalidated") => {
            lost(what)
        }
        "55000" | "0A000" => denied("lighterman check"),
        // In use, shutting down, starting up, too many connections, timeouts and all the rest.
        _ => SourceError::Disconnected(what),
    }
}

/// The log does not reach back to us any more.
pub(crate) fn lost(what: String) -> SourceError {
    SourceError::PositionLost {
        what,
        hint: RESYNC.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(error: &SourceError) -> &'static str {
        match error {
            SourceError::Disconnected(_) => "disconnected",
            SourceError::PositionLost { .. } => "lost",
            SourceError::Denied { .. } => "denied",
            SourceError::SchemaChanged { .. } => "schema",
            SourceError::Malformed(_) => "malformed",
        }
    }

    #[test]
    fn a_code_in_a_text_decides() {
        for (code, message, expected) in [
            ("42704", "replication slot \"x\" does not exist", "denied"),
            (
                "55006",
                "replication slot \"x\" is active for PID 1",
                "disconnected",
            ),
            ("57P01", "terminating connection", "disconnected"),
            ("28P01", "password authentication failed", "denied"),
            ("28000", "no pg_hba.conf entry", "denied"),
            (
                "55000",
                "can no longer get changes from replication slot \"x\"",
                "lost",
            ),
            (
                "55000",
                "logical decoding requires wal_level >= logical",
                "denied",
            ),
            (
                "58P01",
                "requested WAL segment 00 has already been removed",
                "lost",
            ),
            ("53300", "too many clients", "disconnected"),
            ("42P01", "relation does not exist", "schema"),
        ] {
            let error = PgWireError::Server(format!("{message} (SQLSTATE {code})"));
            let error = classify_replication("read", &error);
            assert_eq!(kind(&error), expected, "{code}");
            assert_eq!(error.to_string(), format!("read: {message}"));
        }
        let bare = classify_replication("read", &PgWireError::Server("unknown".to_owned()));
        assert_eq!(kind(&bare), "disconnected");
    }

    #[test]
    fn a_message_that_quotes_data_is_left_out() {
        let error = by_code(
            "read table",
            "22P02",
            "invalid input syntax: \"secret row value\"",
        );
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn quoting_holds() {
        assert_eq!(name("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'"), "E'\\\\'''");
    }
}
