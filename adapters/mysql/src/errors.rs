//! What an error of a connection means.

use std::fmt::Write as _;

use contract::SourceError;
use mysql_async::{DriverError, Error, ServerError};

use crate::connect::{PREPARE, RESYNC};
use crate::settings::{Settings, TlsMode};
use crate::tls;

/// The server says the same of a wrong password, of a user it does not know from this host, and of
/// one that has to come over TLS or with a certificate.
const LOGIN: &str = "set user and password in the settings; where they are right, see which hosts \
     and what TLS the user is made for: SHOW CREATE USER '<user>'@'<host>'";
const NOT_A_SERVER: &str = "set host and port to those of a MySQL or MariaDB server";

/// What answers is no server, or none that speaks the protocol as we know it.
pub(crate) fn no_server(what: &str) -> SourceError {
    denied(what.to_owned(), NOT_A_SERVER)
}

/// The user is one whose way to log in we do not have.
pub(crate) fn unknown_login(doing: &str, kind: &str) -> SourceError {
    denied(
        format!("{doing}: the server asks for a login of kind `{kind}`, which we do not know"),
        "make the agent's user with mysql_native_password or caching_sha2_password: ALTER USER .. \
         IDENTIFIED VIA mysql_native_password USING PASSWORD('..') at MariaDB, ALTER USER .. \
         IDENTIFIED WITH caching_sha2_password BY '..' at MySQL",
    )
}

/// Something between us and the server answers.
pub(crate) fn proxied(what: &str) -> SourceError {
    denied(
        format!("{what}: a proxy such as MaxScale or ProxySQL answers here, not the server itself"),
        "set host and port to the server's own, past the proxy: a log cannot be read through one",
    )
}

/// The log does not reach back to us any more.
pub(crate) fn lost(what: String) -> SourceError {
    SourceError::PositionLost {
        what,
        hint: RESYNC.to_owned(),
    }
}

fn denied(what: String, hint: &str) -> SourceError {
    SourceError::Denied {
        what,
        hint: hint.to_owned(),
    }
}

/// What an error of a connection means that is not there yet.
pub(crate) fn of_login(settings: &Settings, doing: &str, error: &Error) -> SourceError {
    if let Some(nameless) = tls::nameless(settings, doing, error) {
        return nameless;
    }
    match error {
        // Words out of turn: nothing of our log is broken yet.
        Error::Driver(
            DriverError::UnexpectedPacket { .. }
            | DriverError::PacketOutOfOrder
            | DriverError::PacketTooLarge
            | DriverError::CantParseServerVersion { .. },
        ) => no_server(&format!(
            "{doing}: what answers is no MySQL or MariaDB server"
        )),
        Error::Io(_) if is_malformed(error) => no_server(&format!(
            "{doing}: what answers is no MySQL or MariaDB server"
        )),
        error => of_certificate(settings, tls::was_cut(error), classify(doing, error)),
    }
}

/// A packet that does not parse is an I/O error to the library.
fn is_malformed(error: &Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, Other};
    tls::behind::<std::io::Error>(error).is_some_and(|error| {
        // A packet that is too short has the kind of a connection that ended.
        [InvalidData, InvalidInput, Other].contains(&error.kind())
            || error.to_string().starts_with("can't parse")
    }) && tls::behind::<rustls::Error>(error).is_none()
}

/// A server that does not accept our certificate says so, but a connection that ends `cut` off takes
/// its words along.
fn of_certificate(settings: &Settings, cut: bool, error: SourceError) -> SourceError {
    match error {
        SourceError::Disconnected(what) if cut && settings.identity.is_some() => {
            SourceError::Disconnected(format!(
                "{what}; one that does not accept our certificate (cert_file) may end a \
                 connection like this, and says so in its log"
            ))
        }
        SourceError::Denied { what, hint }
            if settings.tls == TlsMode::Disable && what.contains("Access denied") =>
        {
            SourceError::Denied {
                what,
                hint: format!("{hint}; a user made with REQUIRE SSL needs tls in the settings"),
            }
        }
        other => other,
    }
}

/// What an error of a connection means.
pub(crate) fn classify(doing: &str, error: &Error) -> SourceError {
    if let Some(refused) = tls::refused(doing, error) {
        return refused;
    }
    match error {
        Error::Server(error) => by_code(doing, error),
        Error::Driver(error) => of_driver(doing, error),
        Error::Url(_) | Error::Other(_) | Error::Io(_) => {
            let mut text = doing.to_owned();
            let mut cause: Option<&dyn std::error::Error> = Some(error);
            // Each of the library's own layers repeats what is below it.
            while let Some(inner) = cause {
                cause = inner.source();
                if cause.is_none() {
                    let _ = write!(text, ": {inner}");
                }
            }
            SourceError::Disconnected(text)
        }
    }
}

fn of_driver(doing: &str, error: &DriverError) -> SourceError {
    match error {
        DriverError::NoClientSslFlagFromServer => tls::absent(doing),
        DriverError::UnknownAuthPlugin { name } => unknown_login(doing, name),
        DriverError::MysqlOldPasswordDisabled => denied(
            format!(
                "{doing}: the server asks for a login of before MySQL 4.1, which anybody can read"
            ),
            "give the agent's user a password of today: SET PASSWORD FOR .. = PASSWORD('..') with \
             old_passwords = 0",
        ),
        DriverError::CleartextPluginDisabled => denied(
            format!("{doing}: the server asks for the password in clear text"),
            "set tls = \"verify-full\": a password in clear text is only sent to a server that is \
             known",
        ),
        // Some of them show what was received.
        DriverError::UnexpectedPacket { .. } => SourceError::Disconnected(format!(
            "{doing}: the server sends something that is not an answer"
        )),
        DriverError::FromRow { .. } | DriverError::FromValue { .. } => SourceError::Malformed(
            format!("{doing}: the answer is of another type than asked for"),
        ),
        other => SourceError::Disconnected(format!("{doing}: {other}")),
    }
}

/// What a server's error code means
/// (<https://mariadb.com/docs/server/reference/error-codes/mariadb-error-code-reference>,
/// <https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html>).
pub(crate) fn by_code(doing: &str, error: &ServerError) -> SourceError {
    let ServerError {
        code,
        message,
        state,
    } = error;
    // Messages of these classes quote the data they complain about.
    let quotes_data = state.starts_with("22") || state.starts_with("23") || *code == 1366;
    let what = if quotes_data {
        format!("{doing}: the server refuses a value (error {code})")
    } else {
        format!("{doing}: {message} (error {code})")
    };
    match code {
        // Access denied, with and without a password.
        1045 | 1698 => denied(what, LOGIN),
        1044 => denied(
            what,
            "lighterman check names the missing right and the SQL that grants it",
        ),
        1049 => denied(what, "set the database's name in the settings"),
        // The host may not connect at all.
        1130 => denied(
            what,
            "make the agent's user for the host that the agent runs on: CREATE USER \
             '<user>'@'<host>' IDENTIFIED BY '..'",
        ),
        1129 => denied(
            what,
            "too many connections from the agent's host broke; see why, then FLUSH HOSTS at MariaDB \
             or TRUNCATE TABLE performance_schema.host_cache at MySQL",
        ),
        1820 | 1862 => denied(
            what,
            "ALTER USER '<user>'@'<host>' IDENTIFIED BY '..', and PASSWORD EXPIRE NEVER where \
             nobody renews it",
        ),
        // Locked, at MySQL and MariaDB.
        3118 | 4151 => denied(what, "ALTER USER '<user>'@'<host>' ACCOUNT UNLOCK"),
        // No connection without TLS.
        3159 => denied(what, "set tls in the settings"),
        1251 | 1275 | 1524 => denied(
            what,
            "give the agent's user a way to log in that the server has: ALTER USER",
        ),
        // A right on a table, a column, or the server.
        1142 | 1143 | 1227 | 1370 => denied(
            what,
            "lighterman check names the missing right and the SQL that grants it",
        ),
        // No such table or column.
        1051 | 1054 | 1146 => SourceError::SchemaChanged {
            what,
            hint: "lighterman check".to_owned(),
        },
        1236 | 4052 => of_log(what, message),
        // The binary log is off.
        1381 => denied(what, PREPARE),
        1290 | 1792 => denied(what, "lighterman check"),
        // Too many connections, locks, time limits, shutting down and all the rest.
        _ => SourceError::Disconnected(what),
    }
}

/// What the server says when it does not give us the log: all of it under one number, in words.
fn of_log(what: String, message: &str) -> SourceError {
    let says = |words: &[&str]| {
        let message = message.to_ascii_lowercase();
        words.iter().any(|words| message.contains(words))
    };
    if says(&["same server_uuid", "same server_id", "same server id"]) {
        return denied(
            what,
            "somebody else reads the log under our server id: set server_id in the settings to a \
             number that nobody has (SHOW SLAVE HOSTS at MariaDB, SHOW REPLICAS at MySQL)",
        );
    }
    if says(&["exceeded max_allowed_packet"]) {
        return denied(what, "SET GLOBAL max_allowed_packet = 1073741824");
    }
    if says(&["binary log is not open", "misconfigured master"]) {
        return denied(what, PREPARE);
    }
    if says(&[
        "could not find first log file",
        "could not find gtid state",
        "is not in the master's binlog",
        "has purged binary logs",
        "purged required binary logs",
        "missing transactions",
        "is missing the gtid",
        "requested to start",
        "impossible position",
        // A place that is not where an event begins: of another log.
        "bogus data in log event",
        "more gtids than the",
        "start replication from position > file size",
    ]) {
        return lost(what);
    }
    SourceError::Disconnected(what)
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

    fn error(code: u16, state: &str, message: &str) -> ServerError {
        ServerError {
            code,
            state: state.to_owned(),
            message: message.to_owned(),
        }
    }

    #[test]
    fn the_code_decides() {
        for (code, message, expected) in [
            (
                1045,
                "Access denied for user 'x'@'y' (using password: YES)",
                "denied",
            ),
            (1227, "Access denied; you need SUPER", "denied"),
            (1142, "SELECT command denied", "denied"),
            (1040, "Too many connections", "disconnected"),
            (1205, "Lock wait timeout exceeded", "disconnected"),
            (
                1969,
                "Query execution was interrupted (max_statement_time exceeded)",
                "disconnected",
            ),
            (1053, "Server shutdown in progress", "disconnected"),
            (1129, "Host is blocked", "denied"),
            (1146, "Table 'a.b' doesn't exist", "schema"),
            (
                1236,
                "A slave with the same server_uuid/server_id as this slave has connected",
                "denied",
            ),
            (
                4052,
                "A slave with the same server_uuid/server_id is already connected",
                "denied",
            ),
        ] {
            let error = by_code("read", &error(code, "HY000", message));
            assert_eq!(kind(&error), expected, "{code}");
            assert_eq!(error.to_string(), format!("read: {message} (error {code})"));
        }
    }

    /// What MariaDB 10.11 says, and MySQL 5.7 and 8.4 by their sources' list of errors.
    #[test]
    fn a_log_that_does_not_reach_back_to_us_is_lost() {
        for message in [
            "Could not find first log file name in binary log index file",
            "Could not find GTID state requested by slave in any binlog files. Probably the slave \
             state is too old and required binlog files have been purged.",
            "Error: connecting slave requested to start from GTID 0-1-999, which is not in the \
             master's binlog",
            "The binlog on the master is missing the GTID 0-1-5 requested by the slave (even though \
             a subsequent sequence number does exist), and GTID strict mode is enabled",
            "Client requested master to start replication from impossible position; the first event \
             'b.000004' at 99999999, the last event read from 'b.000004' at 4",
            "bogus data in log event; the first event 'b.000004' at 5",
            "Cannot replicate because the source purged required binary logs. Replicate the missing \
             transactions from elsewhere",
            "Slave has more GTIDs than the master has, using the master's SERVER_UUID.",
        ] {
            let found = by_code("read", &error(1236, "HY000", message));
            assert_eq!(kind(&found), "lost", "{message}");
            assert!(found.hint().is_some_and(|hint| hint.contains("resync")));
        }
        let large =
            "log event entry exceeded max_allowed_packet; Increase max_allowed_packet on master";
        assert_eq!(
            kind(&by_code("read", &error(1236, "HY000", large))),
            "denied"
        );
    }

    #[test]
    fn a_message_that_quotes_data_is_left_out() {
        let found = by_code(
            "read table",
            &error(
                1292,
                "22007",
                "Incorrect datetime value: 'secret row value'",
            ),
        );
        assert!(!found.to_string().contains("secret"));
    }
}
