//! Connections, and what their errors mean.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use contract::SourceError;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::identity::Identity;
use crate::settings::{Settings, is_local};
use crate::tls;
use crate::wire::{self, Failure, Login, Reading, Replication};

/// Who we are in `pg_stat_activity`.
pub(crate) const APPLICATION: &str = "lighterman";
/// What prepares a database for us.
pub(crate) const RESYNC: &str = "if the slot is there and its log is lost, SELECT \
     pg_drop_replication_slot(..); then lighterman source prepare --apply, and lighterman source \
     resync: every table is read again and compared";
pub(crate) const PREPARE: &str = "lighterman source prepare --apply";
/// How long a connection may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the server may take to accept the start of replication.
const START_MAX: Duration = Duration::from_secs(30);

/// Session settings that shape the text of values: the same on every connection, so that snapshot
/// and stream give equal texts.
const PINNED: &[(&str, &str)] = &[
    ("datestyle", "ISO"),
    ("intervalstyle", "postgres"),
    ("extra_float_digits", "3"),
    ("timezone", "UTC"),
    ("bytea_output", "hex"),
    ("xmlbinary", "base64"),
    ("quote_all_identifiers", "off"),
];
/// As those above, but set after the login where there are statements: what the login says would be
/// the default of the session, and the database's own is needed as well (for the path a mapping's
/// own statement is run with, and for the coins of the type `money`).
const SET_AFTER: &[(&str, &str)] = &[("search_path", "pg_catalog"), ("lc_monetary", "C")];
const READ_ONLY: (&str, &str) = ("default_transaction_read_only", "on");

const UTF8: &str = "UTF8";
const SQL_ASCII: &str = "SQL_ASCII";

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
        let client = open(settings, &options(Some(rights)), &place).await?;
        reached(&client, rights, &place).await?;
        let set = SET_AFTER.iter();
        let set = set.map(|(name, value)| format!("SET {name} = '{value}'"));
        let mut sql = set.collect::<Vec<_>>().join("; ");
        if encoding(&client).await? != UTF8 {
            // Our own connection, as was just seen: no pooler hands this on to anybody.
            let _ = write!(sql, "; SET client_encoding = '{SQL_ASCII}'");
        }
        let set = client.batch_execute(&sql).await;
        set.map_err(|error| classify(&place, &error))?;
        Ok(client)
    };
    in_time(&place, CONNECT_MAX, connecting).await
}

/// The time zone that a session of ours would have without our own settings.
pub(crate) async fn timezone(settings: &Settings) -> Result<String, SourceError> {
    let place = format!("connect to {}:{}", settings.host, settings.port);
    let asking = async {
        let client = open(settings, "", &place).await?;
        let asked = client.query_one("SELECT pg_catalog.current_setting('TimeZone')", &[]);
        let row = asked.await.map_err(|error| classify(&place, &error))?;
        Ok(row.get(0))
    };
    in_time(&place, CONNECT_MAX, asking).await
}

/// Our session settings go with the login and not as statements: a pooler would leave those behind
/// for whoever gets the server's connection after us, and an ERP that suddenly can only read is
/// worse than no agent. What is in [`SET_AFTER`] is the exception.
fn options(rights: Option<Rights>) -> String {
    let more: &[(&str, &str)] = match rights {
        // A replication connection runs no statements.
        None => SET_AFTER,
        Some(Rights::Read) => &[
            READ_ONLY,
            ("statement_timeout", "60s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "60s"),
            ("row_security", "off"),
        ],
        Some(Rights::Write) => &[("statement_timeout", "120s"), ("lock_timeout", "5s")],
    };
    let all = PINNED.iter().chain(more);
    let all = all.map(|(name, value)| format!("-c {name}={value}"));
    all.collect::<Vec<_>>().join(" ")
}

/// Whether our session settings are those of the connection the server sees.
async fn reached(client: &Client, rights: Rights, place: &str) -> Result<(), SourceError> {
    let more = (rights == Rights::Read).then_some(&READ_ONLY);
    let all = PINNED.iter().chain(more).map(|(name, value)| {
        // The server completes some of them.
        format!(
            "pg_catalog.starts_with(pg_catalog.current_setting({}), {})",
            literal(name),
            literal(value)
        )
    });
    let sql = format!("SELECT {}", all.collect::<Vec<_>>().join(" AND "));
    let answer = rows(client, &sql, place).await?;
    if answer.first().and_then(|row| row.get(0)) == Some("t") {
        Ok(())
    } else {
        Err(pooled(&format!(
            "{place}: our session settings do not reach the server"
        )))
    }
}

async fn in_time<T>(
    doing: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let found = format!("{doing}: no answer within {} s", limit.as_secs());
        Err(SourceError::Disconnected(found))
    })
}

/// A path is a folder with a Unix socket.
#[cfg(unix)]
fn server(config: &mut tokio_postgres::Config, host: &str) {
    if host.starts_with('/') {
        config.host_path(host);
    } else {
        config.host(host);
    }
}

#[cfg(not(unix))]
fn server(config: &mut tokio_postgres::Config, host: &str) {
    config.host(host);
}

async fn open(settings: &Settings, options: &str, place: &str) -> Result<Client, SourceError> {
    let mut config = tokio_postgres::Config::new();
    server(&mut config, &settings.host);
    config
        .port(settings.port)
        .dbname(&settings.database)
        .user(&settings.user)
        .application_name(APPLICATION)
        .options(options)
        .keepalives_idle(wire::KEEPALIVE_IDLE)
        .keepalives_interval(wire::KEEPALIVE_EVERY)
        .keepalives_retries(wire::KEEPALIVE_TIMES)
        .tcp_user_timeout(Duration::from_mins(1));
    if let Some(password) = &settings.password {
        config.password(password.expose());
    }
    let failed = |error: tokio_postgres::Error| match error.code() {
        // A right on the database itself: nothing else is asked for yet.
        Some(code) if code.code() == "42501" => SourceError::Denied {
            what: classify(place, &error).to_string(),
            hint: format!(
                "GRANT CONNECT ON DATABASE {database} TO {user}; undo: REVOKE CONNECT ON DATABASE \
                 {database} FROM {user}",
                database = name(&settings.database),
                user = name(&settings.user)
            ),
        },
        _ => of_login(settings, tls::was_cut(&error), classify(place, &error)),
    };
    if let Some(tls) = tls::config(settings).await? {
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
        let (client, connection) = config.connect(tls).await.map_err(failed)?;
        run(connection);
        Ok(client)
    } else {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(failed)?;
        run(connection);
        Ok(client)
    }
}

/// Gives a connection up whose server is still sending: it is told to stop, and nobody waits for it.
pub(crate) async fn abandon(settings: &Settings, client: Client) -> Result<(), SourceError> {
    let stop = client.cancel_token();
    let tls = tls::config(settings).await?;
    tokio::spawn(async move {
        let stopping = async {
            match tls {
                Some(tls) => {
                    let tls = tokio_postgres_rustls::MakeRustlsConnect::new(tls);
                    stop.cancel_query(tls).await
                }
                None => stop.cancel_query(NoTls).await,
            }
        };
        if let Ok(Err(error)) = tokio::time::timeout(CONNECT_MAX, stopping).await {
            tracing::debug!(error = %error, "a connection given up is not told to stop");
        }
        // Its last answers are taken until here; then it ends.
        drop(client);
    });
    Ok(())
}

/// Drives a connection until its client is dropped.
fn run(connection: impl Future<Output = Result<(), tokio_postgres::Error>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = %error, "connection ended");
        }
    });
}

async fn login<'a>(
    settings: &'a Settings,
    encoding: &'a str,
    options: &'a str,
) -> Result<Login<'a>, SourceError> {
    Ok(Login {
        host: &settings.host,
        port: settings.port,
        database: &settings.database,
        user: &settings.user,
        password: settings.password.as_ref(),
        trusts_the_network: is_local(&settings.host),
        tls: tls::config(settings).await?.map(Arc::new),
        application: APPLICATION,
        encoding,
        options,
    })
}

/// Whether the server gives us a replication connection.
pub(crate) async fn try_replication(settings: &Settings) -> Result<(), SourceError> {
    let doing = format!(
        "open a replication connection to {}:{}",
        settings.host, settings.port
    );
    let options = options(None);
    let login = login(settings, UTF8, &options).await?;
    let trying = async {
        let tried = wire::try_login(&login).await;
        tried.map_err(|failure| of_login_failure(settings, &doing, failure))
    };
    in_time(&doing, CONNECT_MAX, trying).await
}

/// The encoding that texts have on our connections: the server converts to UTF-8, or says that it
/// cannot. A database without an encoding of its own holds any bytes: they come as they are, and
/// those that are no UTF-8 are told as invalid, one by one, where the server would refuse the row.
pub(crate) async fn encoding(client: &Client) -> Result<&'static str, SourceError> {
    let doing = "read the database's encoding";
    let found = rows(
        client,
        "SELECT pg_catalog.current_setting('server_encoding')",
        doing,
    )
    .await?;
    let encoding = found.first().and_then(|row| row.get(0));
    let missing = || SourceError::Malformed(format!("{doing}: the server gives no answer"));
    Ok(match encoding.ok_or_else(missing)? {
        SQL_ASCII => SQL_ASCII,
        _ => UTF8,
    })
}

/// The history of a timeline, as the server keeps it: each earlier timeline and where it ended.
/// Only a replication connection may ask for it without more rights than ours.
pub(crate) async fn timeline_history(
    settings: &Settings,
    timeline: u32,
) -> Result<String, SourceError> {
    let doing = format!("read the history of timeline {timeline}");
    let options = options(None);
    let login = login(settings, UTF8, &options).await?;
    let asking = async {
        let asked = wire::timeline_history(&login, timeline).await;
        asked.map_err(|failure| of_login_failure(settings, &doing, failure))
    };
    in_time(&doing, CONNECT_MAX, asking).await
}

/// Starts replication at `start`, telling the server no more than `acknowledged`.
pub(crate) async fn replicate(
    settings: &Settings,
    server: &Identity,
    encoding: &str,
    start: u64,
    acknowledged: u64,
) -> Result<Replication, SourceError> {
    let doing = format!("start replication from slot \"{}\"", settings.slot);
    let options = options(None);
    let login = login(settings, encoding, &options).await?;
    let reading = Reading {
        slot: &settings.slot,
        publication: &settings.publication,
        from: start,
        acknowledged,
        server: &server.to_string(),
    };
    let starting = async {
        let started = wire::start(&login, &reading).await;
        started.map_err(|failure| of_login_failure(settings, &doing, failure))
    };
    in_time(&doing, START_MAX, starting).await
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
        let code = db.code().code();
        return if is_poolers(code, db.routine().is_some()) {
            pooled(&format!("{doing}: {}", db.message()))
        } else {
            by_code(doing, code, db.message())
        };
    }
    if let Some(refused) = tls::refused(doing, error) {
        return refused;
    }
    let mut text = format!("{doing}: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(text, ": {inner}");
        cause = inner.source();
    }
    // The library has no code for these.
    if text.contains("does not support TLS") {
        return tls::absent(doing);
    }
    if text.contains("password missing") || text.contains("authentication error") {
        return SourceError::Denied {
            what: text,
            hint: AUTHENTICATION.to_owned(),
        };
    }
    SourceError::Disconnected(text)
}

/// Whether a pooler between us and the server complains. PostgreSQL names the routine behind each
/// of its own errors; poolers have none, and call everything a connection exception.
fn is_poolers(code: &str, native: bool) -> bool {
    !native && code.starts_with("08")
}

fn pooled(what: &str) -> SourceError {
    SourceError::Denied {
        what: format!(
            "{what}: a connection pooler such as pgbouncer answers here, not the server itself"
        ),
        hint: "set host and port to the server's own, past the pooler: a log cannot be read \
               through one"
            .to_owned(),
    }
}

/// What an error of a connection means that is not there yet. A server that does not accept our
/// certificate says so, but a connection that ends `cut` off takes its words along.
fn of_login(settings: &Settings, cut: bool, error: SourceError) -> SourceError {
    match error {
        SourceError::Disconnected(what) if cut && settings.identity.is_some() => {
            SourceError::Disconnected(format!(
                "{what}; one that does not accept our certificate (cert_file) may end a \
                 connection like this, and says so in its log"
            ))
        }
        other => other,
    }
}

fn of_login_failure(settings: &Settings, doing: &str, failure: Failure) -> SourceError {
    let cut = match &failure {
        Failure::Io(error) => tls::was_cut(error),
        Failure::Ended(_) => true,
        _ => false,
    };
    match failure {
        // Nothing of our log is broken yet.
        Failure::Malformed(found) => SourceError::Denied {
            what: format!("{doing}: {found}"),
            hint: "set host and port to those of a PostgreSQL server".to_owned(),
        },
        failure => of_login(settings, cut, of_failure(doing, failure)),
    }
}

/// What an error of the replication connection means.
pub(crate) fn of_failure(doing: &str, failure: Failure) -> SourceError {
    match failure {
        Failure::Server {
            code,
            message,
            native,
        } if is_poolers(&code, native) => pooled(&format!("{doing}: {message}")),
        Failure::Server { code, message, .. } => by_code(doing, &code, &message),
        Failure::Login(found) => SourceError::Denied {
            what: format!("{doing}: {found}"),
            hint: AUTHENTICATION.to_owned(),
        },
        Failure::NoTls => tls::absent(doing),
        Failure::Io(error) => tls::refused(doing, &error).unwrap_or_else(|| {
            SourceError::Disconnected(format!("{doing}: the connection broke: {error}"))
        }),
        Failure::Malformed(found) => SourceError::Malformed(format!("{doing}: {found}")),
        Failure::Ended(found) => SourceError::Disconnected(format!("{doing}: {found}")),
    }
}

const AUTHENTICATION: &str =
    "set user and password in the settings, and allow the user in the server's pg_hba.conf";
/// The server says the same of a wrong password and of one whose time is over.
const PASSWORD: &str = "set user and password in the settings; where they are right, the password's \
     time may be over: SELECT rolvaliduntil FROM pg_roles WHERE rolname = '<user>', then ALTER ROLE \
     <user> VALID UNTIL '<date>'";
const NO_ENTRY: &str = "allow the user in the server's pg_hba.conf; where it asks for a client \
     certificate, set cert_file and key_file; where it asks for TLS, set tls";

/// The log keeps the old text for ever.
const NO_UTF8: &str = "a text in the database cannot be told as UTF-8: find it by reading the table with \
     client_encoding = 'UTF8', and correct the text there. While a table is read that is enough. From \
     the log it is not, for the former text stays in it: then SELECT pg_drop_replication_slot(..), \
     lighterman source prepare --apply, and lighterman source resync: every table is read again and \
     compared";

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
        "28P01" => denied(PASSWORD),
        "28000" => denied(NO_ENTRY),
        _ if code.starts_with("28") => denied(AUTHENTICATION),
        "3D000" => denied("set the database's name in the settings"),
        "22021" | "22P05" => denied(NO_UTF8),
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
    fn the_code_decides() {
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
            let failure = Failure::Server {
                code: code.to_owned(),
                message: message.to_owned(),
                native: true,
            };
            let error = of_failure("read", failure);
            assert_eq!(kind(&error), expected, "{code}");
            assert_eq!(error.to_string(), format!("read: {message}"));
        }
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
