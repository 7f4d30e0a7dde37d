//! Connections and their sessions.

use std::fmt::Write as _;
use std::time::Duration;

use contract::SourceError;
use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Opts, OptsBuilder};

use crate::errors::{self, classify};
use crate::settings::{Settings, TlsMode};
use crate::settling::Settling;
use crate::tls;

/// Who we are in `performance_schema.session_connect_attrs`.
const APPLICATION: &str = "lighterman";
/// What prepares a database for us.
pub(crate) const PREPARE: &str = "lighterman source prepare --apply";
/// What reads everything again once a log is lost.
pub(crate) const RESYNC: &str = "lighterman source resync: every table is read again and compared";
/// How long a connection may take to be there.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longer than the server's own limit on our statements.
const SILENCE_MAX: Duration = Duration::from_secs(75);
/// After so long without a word the network is asked whether the other side is still there.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// The largest packet of the protocol that a server may be told to send (its own limit is at most
/// this): a row of the log may be larger than `max_allowed_packet`.
/// <https://mariadb.com/docs/server/ha-and-performance/standard-replication/replication-and-binary-log-system-variables>
/// (`slave_max_allowed_packet`)
const PACKET_MAX: usize = 1 << 30;

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Read only, each statement within a minute.
    Read,
    /// Change the database: `source prepare --apply`.
    Write,
    /// Be given the log. Its statements are few and of no weight.
    Log,
}

/// Which of the two a server is: they share the protocol, not the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    MariaDb,
    MySql,
}

impl Flavour {
    /// By what `VERSION()` says. MariaDB has its name in it, whatever the packager adds.
    pub(crate) fn of(version: &str) -> Self {
        if version.to_ascii_lowercase().contains("mariadb") {
            Self::MariaDb
        } else {
            Self::MySql
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        }
    }
}

/// A connection, and what it ends at.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) conn: Conn,
    pub(crate) flavour: Flavour,
    /// As `VERSION()` has it.
    pub(crate) version: String,
    /// What the server calls itself, where that was asked.
    pub(crate) server: String,
    /// A statement was sent, and nobody waited for its answer: it would be taken for the next one's.
    unanswered: bool,
    /// What was seen by it of commits on their way.
    pub(crate) settling: Settling,
    /// So long the server may say nothing while it owes an answer; `None` = for ever.
    pub(crate) silence_max: Option<Duration>,
}

/// Waits for a word of the server's, but not for longer: a network that forgets a connection says
/// nothing for ever.
pub(crate) async fn heard<T>(
    limit: Option<Duration>,
    work: impl Future<Output = mysql_async::Result<T>>,
) -> mysql_async::Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let what = format!("the server has said nothing for {} s", limit.as_secs());
        let error = std::io::Error::new(std::io::ErrorKind::TimedOut, what);
        Err(mysql_async::IoError::from(error).into())
    })
}

impl Connection {
    /// All rows of a statement.
    pub(crate) async fn rows<T: FromRow + Send + 'static>(
        &mut self,
        doing: &str,
        sql: &str,
    ) -> Result<Vec<T>, SourceError> {
        self.ask(doing)?;
        let rows: Result<Vec<mysql_async::Row>, _> =
            heard(self.silence_max, self.conn.query(sql)).await;
        self.unanswered = matches!(rows, Err(mysql_async::Error::Io(_)));
        let rows = rows.map_err(|error| classify(doing, &error))?;
        let rows = rows.into_iter().map(mysql_async::from_row_opt);
        rows.collect::<Result<_, _>>().map_err(|_| {
            // The library's own error shows the row.
            SourceError::Malformed(format!(
                "{doing}: the answer has other columns than asked for"
            ))
        })
    }

    /// The first row of a statement.
    pub(crate) async fn row<T: FromRow + Send + 'static>(
        &mut self,
        doing: &str,
        sql: &str,
    ) -> Result<Option<T>, SourceError> {
        Ok(self.rows(doing, sql).await?.into_iter().next())
    }

    /// All rows of a statement that newer servers call otherwise than older ones.
    pub(crate) async fn rows_of_either<T: FromRow + Send + 'static>(
        &mut self,
        doing: &str,
        new: &str,
        old: &str,
    ) -> Result<Vec<T>, SourceError> {
        match self.rows(doing, new).await {
            // A syntax error: an older server.
            Err(SourceError::Disconnected(what)) if what.contains("(error 1064)") => {
                self.rows(doing, old).await
            }
            other => other,
        }
    }

    /// The first row of a statement that always has one.
    pub(crate) async fn one<T: FromRow + Send + 'static>(
        &mut self,
        doing: &str,
        sql: &str,
    ) -> Result<T, SourceError> {
        self.row(doing, sql)
            .await?
            .ok_or_else(|| SourceError::Malformed(format!("{doing}: the server gives no answer")))
    }

    /// Runs a statement.
    pub(crate) async fn run(&mut self, doing: &str, sql: &str) -> Result<(), SourceError> {
        self.ask(doing)?;
        let done = heard(self.silence_max, self.conn.query_drop(sql)).await;
        self.unanswered = matches!(done, Err(mysql_async::Error::Io(_)));
        done.map_err(|error| classify(doing, &error))
    }

    /// A wait may be given up at any time: whoever asks next gets another connection.
    fn ask(&mut self, doing: &str) -> Result<(), SourceError> {
        if std::mem::replace(&mut self.unanswered, true) {
            return Err(SourceError::Disconnected(format!(
                "{doing}: an answer was not waited for, and its connection cannot be used again"
            )));
        }
        Ok(())
    }

    /// Ends the connection in the protocol's own way, so that the server does not count it among
    /// those that broke. Nobody waits for it.
    pub(crate) fn close(self) {
        tokio::spawn(async move {
            let _ = tokio::time::timeout(CONNECT_MAX, self.conn.disconnect()).await;
        });
    }
}

/// Opens a connection for SQL or for the log.
pub(crate) async fn connect(
    settings: &Settings,
    rights: Rights,
) -> Result<Connection, SourceError> {
    let place = place(settings);
    let connecting = async {
        let mut conn = open(settings, &place).await?;
        let (version, id) = greeting(&mut conn, &place).await?;
        if id != conn.id() {
            return Err(errors::proxied(&format!(
                "{place}: the server knows this connection under another number than we"
            )));
        }
        let flavour = Flavour::of(&version);
        let set = conn.query_drop(session(flavour, rights)).await;
        set.map_err(|error| classify(&place, &error))?;
        Ok(Connection {
            conn,
            flavour,
            version,
            server: String::new(),
            unanswered: false,
            settling: Settling::default(),
            silence_max: (rights == Rights::Read).then_some(SILENCE_MAX),
        })
    };
    in_time(&place, CONNECT_MAX, connecting).await
}

pub(crate) fn place(settings: &Settings) -> String {
    if settings.host.starts_with('/') {
        format!("connect to {}", settings.host)
    } else {
        format!("connect to {}:{}", settings.host, settings.port)
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

async fn open(settings: &Settings, place: &str) -> Result<Conn, SourceError> {
    let ssl = tls::options(settings).await?;
    let failed = |error| errors::of_login(settings, place, &error);
    let error = match login(options(settings, ssl.clone())).await? {
        Ok(conn) => return Ok(conn),
        Err(error) => error,
    };
    match ssl.and_then(|ssl| tls::by_any_name(settings, ssl, &error)) {
        Some(ssl) => login(options(settings, Some(ssl))).await?.map_err(failed),
        None => Err(failed(error)),
    }
}

/// The library takes some of what the other side says on trust while it logs in, and panics where
/// that is no server at all: a task of its own keeps that from us.
async fn login(options: Opts) -> Result<mysql_async::Result<Conn>, SourceError> {
    let task = tokio::spawn(Conn::new(options));
    // A connection nobody waits for any more is not opened to the end.
    let _guard = AbortOnDrop(task.abort_handle());
    task.await.map_err(|error| {
        let said = error.try_into_panic().ok().and_then(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            text.or_else(|| panic.downcast_ref::<&str>().copied())
                .map(str::to_owned)
        });
        // Kinds it has heard of and was not built with.
        let kinds = ["ed25519", "parsec"];
        let kind = said.and_then(|said| kinds.into_iter().find(|kind| said.contains(kind)));
        match kind {
            Some(kind) => errors::unknown_login("log in", kind),
            None => errors::no_server("log in: what answers does not keep to the protocol"),
        }
    })
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn options(settings: &Settings, ssl: Option<mysql_async::SslOpts>) -> Opts {
    let socket = settings.host.starts_with('/').then_some(&settings.host);
    // A password in clear text only goes to whom we know.
    let known = matches!(settings.tls, TlsMode::VerifyCa | TlsMode::VerifyFull);
    let options = OptsBuilder::default()
        .ip_or_hostname(settings.host.clone())
        .tcp_port(settings.port)
        .socket(socket)
        // The library would leave the connection we asked for, and its TLS, for a socket.
        .prefer_socket(false)
        .user(Some(&settings.user))
        .pass(settings.password.as_ref().map(contract::Secret::expose))
        .ssl_opts(ssl)
        .enable_cleartext_plugin(known || socket.is_some())
        .tcp_keepalive(Some(KEEPALIVE_IDLE))
        .max_allowed_packet(Some(PACKET_MAX))
        // Only its pool looks at it; known, it is not asked for.
        .wait_timeout(Some(28_800))
        .connect_attribute("program_name", APPLICATION);
    options.into()
}

/// The version, and the number of the connection as the server itself knows it. Proxies answer
/// plain questions for their server's variables, and for the connection's number in its usual
/// words, themselves.
async fn greeting(conn: &mut Conn, place: &str) -> Result<(String, u32), SourceError> {
    let sql = "SELECT CONCAT(VERSION(), ''), (CONNECTION_ID() & 4294967295) + 0";
    let row: Option<(String, u64)> = conn
        .query_first(sql)
        .await
        .map_err(|error| classify(place, &error))?;
    let (version, id) =
        row.ok_or_else(|| errors::no_server(&format!("{place}: the server gives no answer")))?;
    // The greeting has the lower half of the number.
    Ok((version, u32::try_from(id).unwrap_or_default()))
}

/// So many seconds a session that reads or writes may keep a transaction open without a word.
const IDLE_MAX: u32 = 60;

/// The session's settings, in one statement. What shapes values is the same on every connection, so
/// that snapshot and stream give equal values on any server; what a person may have set for all
/// sessions and would cut answers short is taken back.
fn session(flavour: Flavour, rights: Rights) -> String {
    // Names that both have; a limit on statements has two names.
    let mut sql =
        "SET NAMES utf8mb4, SESSION time_zone = '+00:00', SESSION sql_mode = '', SESSION \
                   autocommit = 1, SESSION sql_select_limit = 18446744073709551615, SESSION \
                   sql_big_selects = 1, SESSION sql_auto_is_null = 0, SESSION wait_timeout = 28800"
            .to_owned();
    // Its own key of a table without one is in the log, and so it must be in the catalogue.
    if flavour == Flavour::MySql {
        sql.push_str(
            " /*!80030 , SESSION show_gipk_in_create_table_and_information_schema = ON */",
        );
    }
    let (seconds, lock_seconds) = match rights {
        Rights::Read => (60, 2),
        Rights::Write => (120, 5),
        Rights::Log => return sql,
    };
    // A transaction of ours that nobody goes on with, because this machine or the network is gone, holds
    // up whoever changes a table that it has read.
    let limit = match flavour {
        Flavour::MariaDb => {
            format!("max_statement_time = {seconds}, SESSION idle_transaction_timeout = {IDLE_MAX}")
        }
        // In milliseconds, and for SELECT alone. It has no limit for transactions.
        Flavour::MySql => {
            format!("max_execution_time = {seconds}000, SESSION wait_timeout = {IDLE_MAX}")
        }
    };
    let _ = write!(
        sql,
        ", SESSION {limit}, SESSION lock_wait_timeout = {lock_seconds}, SESSION \
         innodb_lock_wait_timeout = {lock_seconds}"
    );
    if rights == Rights::Read {
        sql.push_str("; SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    }
    sql
}

/// A name in SQL.
pub(crate) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text in SQL, under the `sql_mode` of our sessions.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A table in SQL.
pub(crate) fn table(table: &contract::TableName) -> String {
    format!("{}.{}", name(&table.schema), name(&table.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_holds() {
        assert_eq!(name("a`b"), "`a``b`");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("\\'"), "'\\\\'''");
    }

    #[test]
    fn the_version_tells_the_flavour() {
        for (version, flavour) in [
            ("10.11.19-MariaDB-0+deb12u1-log", Flavour::MariaDb),
            ("11.4.2-mariadb", Flavour::MariaDb),
            ("8.0.36", Flavour::MySql),
            ("8.4.0-0ubuntu1", Flavour::MySql),
        ] {
            assert_eq!(Flavour::of(version), flavour, "{version}");
        }
    }

    /// Where the catalogue may hide the key that the log has.
    #[test]
    fn only_mysql_is_asked_for_the_keys_it_made_itself() {
        for rights in [Rights::Read, Rights::Write, Rights::Log] {
            let asks = |flavour| session(flavour, rights).contains("/*!80030 , SESSION show_gipk");
            assert!(asks(Flavour::MySql) && !asks(Flavour::MariaDb));
        }
    }

    /// A session of ours at a server whose own settings are others.
    #[tokio::test]
    async fn sessions_are_the_same_at_every_server() {
        let options = harness::mariadb::MariadbOptions::default()
            .setting("default_time_zone=+05:30")
            .setting("sql_mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT")
            .setting("character_set_server=latin1")
            .setting("wait_timeout=2")
            .setting("autocommit=0");
        let server = harness::mariadb::MariadbServer::start(options);
        server.run("SET GLOBAL sql_select_limit = 1").await;
        let settings = crate::settings::of_tests(server.port());
        let mut connection = connect(&settings, Rights::Read).await.unwrap();
        assert_eq!(connection.flavour, Flavour::MariaDb);
        let found: (String, String, String, u64, u64, u64, String) = connection
            .one(
                "read",
                "SELECT @@time_zone, @@sql_mode, @@character_set_results, @@wait_timeout,
                        @@autocommit, @@lock_wait_timeout, USER()",
            )
            .await
            .unwrap();
        let expected = (
            "+00:00".to_owned(),
            String::new(),
            "utf8mb4".to_owned(),
            28_800,
            1,
            2,
            // Where the settings say, not over a socket that the server names.
            "root@127.0.0.1".to_owned(),
        );
        assert_eq!(found, expected);
        let rows: Vec<u64> = connection
            .rows("read", "SELECT 1 UNION SELECT 2")
            .await
            .unwrap();
        assert_eq!(rows.len(), 2);
        let write = connection.run("write", "CREATE DATABASE x").await;
        assert!(
            matches!(write, Err(SourceError::Denied { .. })),
            "{write:?}"
        );
        // An answer that nobody waited for is not taken for the next one's.
        let given_up = tokio::select! {
            biased;
            found = connection.rows::<u64>("read", "SELECT SLEEP(1), 1") => Some(found),
            () = tokio::task::yield_now() => None,
        };
        assert_eq!(given_up, None);
        let next = connection.rows::<u64>("read", "SELECT 2").await;
        assert!(
            matches!(next, Err(SourceError::Disconnected(_))),
            "{next:?}"
        );
        let mut log = connect(&settings, Rights::Log).await.unwrap();
        let limit: (f64,) = log
            .one("read", "SELECT @@max_statement_time")
            .await
            .unwrap();
        assert!(limit.0.abs() < f64::EPSILON);
        let wrong: Result<(u64,), _> = log.one("read", "SELECT 'secret row value'").await;
        assert!(matches!(wrong, Err(SourceError::Malformed(what)) if !what.contains("secret")));
    }
}
