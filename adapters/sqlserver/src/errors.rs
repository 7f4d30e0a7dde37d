//! What an error of a connection means.

use contract::SourceError;
use tiberius::error::{Error, TokenError};

/// What prepares a database for us.
pub(crate) const PREPARE: &str = "lighterman source prepare --apply";
/// What reads everything again once a log is lost.
pub(crate) const RESYNC: &str = "lighterman source resync: every table is read again and compared";
/// What names the missing right.
const RIGHT: &str = "lighterman check names the missing right and the SQL that grants it";
/// The server says the same of a wrong password and of a login it does not have; the reason is in its log
/// only.
const LOGIN: &str = "set user and password in the settings; where they are right, see the server's own error \
     log: it names the reason of error 18456 by its state, such as a login that is disabled or a server that \
     only takes Windows accounts";
const NOT_A_SERVER: &str = "set host and port (or instance) to those of a SQL Server";
/// Severities from here on end the connection.
const FATAL: u8 = 20;

/// Why a statement gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failed {
    /// The server's number for it; `None` = the server did not say it.
    pub(crate) number: Option<u32>,
    pub(crate) error: SourceError,
}

impl Failed {
    /// Whether it is one of these errors of the server.
    pub(crate) fn is(&self, numbers: &[u32]) -> bool {
        self.number.is_some_and(|number| numbers.contains(&number))
    }

    /// Whether it passes by itself: it says nothing about what was asked.
    pub(crate) fn passes(&self) -> bool {
        self.is(AGAIN) || self.is(PASSING)
    }

    /// Something of our own.
    pub(crate) fn ours(error: SourceError) -> Self {
        Self {
            number: None,
            error,
        }
    }
}

impl From<Failed> for SourceError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// There is no object of that name, or no column.
pub(crate) const NO_OBJECT: &[u32] = &[207, 208];
/// A right on an object, a column, a function or the server is missing.
pub(crate) const NO_RIGHT: &[u32] = &[229, 230, 262, 297, 300, 371, 916];
/// A position outside what a function of change data capture can tell: too few arguments, says the server.
pub(crate) const OUT_OF_RANGE: &[u32] = &[313];
/// Change data capture is off for the database.
pub(crate) const NO_CAPTURE: &[u32] = &[22901];
/// Change tracking is off, for the table or the whole database.
pub(crate) const NOT_TRACKED: &[u32] = &[4998, 22105];
/// The database does not allow snapshot isolation.
pub(crate) const NO_SNAPSHOTS: &[u32] = &[3952, 3954, 3956];
/// What a transaction saw is gone, or a table was altered meanwhile: the whole of it is to be tried again.
pub(crate) const AGAIN: &[u32] = &[1205, 1222, 3948, 3953, 3957, 3958, 3960, 3961, 3966, 3967];
/// What passes by itself, by the server's own words: no locks, memory or connections left, a server or a
/// database on its way, a replica that changes its role, a limit of Azure's. The numbers of sockets among
/// them are a client's, and stand for a connection that broke.
const PASSING: &[u32] = &[
    64, 233, 701, 802, 845, 983, 988, 1204, 1221, 4221, 6005, 8645, 8651, 9001, 10_053, 10_054,
    10_060, 10_928, 10_929, 10_936, 17_142, 17_187, 17_188, 17_189, 17_197, 17_809, 18_401, 18_451,
    35_250, 40_143, 40_166, 40_197, 40_501, 40_540, 40_549, 40_550, 40_551, 40_552, 40_553, 40_613,
    40_627, 42_108, 42_109, 49_918, 49_919, 49_920,
];
/// The database is not to be had at this server now: another may have it.
pub(crate) const NOT_HERE: &[u32] = &[
    904, 911, 921, 922, 923, 924, 926, 927, 928, 941, 942, 945, 946, 948, 952, 954, 976, 978, 979,
    982, 983, 988, 4060, 35250, 40613,
];

/// What answers is no server, or none that speaks the protocol as we know it.
pub(crate) fn no_server(doing: &str) -> SourceError {
    denied(
        format!("{doing}: what answers is no SQL Server"),
        NOT_A_SERVER,
    )
}

/// The log does not reach back to us any more.
pub(crate) fn lost(what: String) -> SourceError {
    SourceError::PositionLost {
        what,
        hint: RESYNC.to_owned(),
    }
}

pub(crate) fn denied(what: String, hint: impl Into<String>) -> SourceError {
    SourceError::Denied {
        what,
        hint: hint.into(),
    }
}

/// A connection that broke in the middle of something.
pub(crate) fn broken(doing: &str, why: impl std::fmt::Display) -> SourceError {
    SourceError::Disconnected(format!("{doing}: {why}"))
}

/// What an error of a connection means.
pub(crate) fn classify(doing: &str, error: &Error) -> Failed {
    let number = error.code();
    let error = match error {
        Error::Server(error) => by_number(doing, error),
        // Its text is the one of our own stream below it.
        Error::Io { message, .. } => broken(doing, message),
        Error::Tls(message) => broken(doing, message),
        Error::Routing { host, port } => {
            broken(doing, format!("the server sends us on to {host}:{port}"))
        }
        // Some of them show what was received.
        Error::Conversion(_) | Error::ParseInt(_) | Error::Utf8 | Error::Utf16 => {
            SourceError::Malformed(format!(
                "{doing}: a cell is of another type than its column"
            ))
        }
        Error::Encoding(_) => denied(
            format!("{doing}: a text is in a code page that the client does not know, or is none"),
            "CAST(.. AS nvarchar(4000)) around the column: the server knows every code page",
        ),
        Error::Protocol(_) => broken(
            doing,
            "the server sends something that is not an answer to us",
        ),
        Error::BulkInput(_) => broken(doing, "nothing is written"),
    };
    Failed { number, error }
}

/// Whether the server may have quoted data in its message.
fn quotes_data(number: u32) -> bool {
    [
        220, 232, 241, 242, 244, 245, 248, 295, 296, 398, 402, 517, 535, 547, 2601, 2627, 2628,
        6522, 8114, 8115, 8152, 9420, 9421, 9422, 9436, 9455, 9803, 9804, 13608, 13609, 50000,
    ]
    .contains(&number)
}

/// What a server's error means
/// (<https://learn.microsoft.com/en-us/sql/relational-databases/errors-events/database-engine-events-and-errors>,
/// <https://learn.microsoft.com/en-us/azure/azure-sql/database/troubleshoot-common-errors-issues>).
pub(crate) fn by_number(doing: &str, error: &TokenError) -> SourceError {
    let (number, state) = (error.code(), error.state());
    let passes = PASSING.contains(&number) || AGAIN.contains(&number);
    let what = if quotes_data(number) || number >= 50_000 {
        format!("{doing}: the server refuses a value (error {number})")
    } else {
        let message = error.message().trim_end_matches('.');
        format!("{doing}: {message} (error {number}, state {state})")
    };
    if error.class() >= FATAL {
        return SourceError::Disconnected(what);
    }
    match number {
        18456 => denied(what, LOGIN),
        18452 => denied(
            what,
            "set integrated = true where the agent runs on Windows, or set user and password of a SQL login",
        ),
        18470 => denied(what, "ALTER LOGIN [<user>] ENABLE"),
        18486 => denied(
            what,
            "ALTER LOGIN [<user>] WITH PASSWORD = '..' UNLOCK, as an administrator",
        ),
        18487 | 18488 => denied(
            what,
            "ALTER LOGIN [<user>] WITH PASSWORD = '..', CHECK_EXPIRATION = OFF",
        ),
        17892 => denied(
            what,
            "a logon trigger of the server refused our login: whoever looks after the server must let it in",
        ),
        4060 | 4064 | 911 => denied(
            what,
            "set the database's name in the settings; where it is right, give the login a user in it: \
             lighterman source prepare says how",
        ),
        916 => denied(
            what,
            "give the login a user in the database: lighterman source prepare says how",
        ),
        40_531 | 40_532 => denied(
            what,
            "set host to the server's full name, and user to a login of that server",
        ),
        40_515 => denied(
            what,
            "ask only the source's own database: Azure SQL Database knows no other",
        ),
        // Azure's firewall.
        40_615 | 40_914 | 47_073 => denied(
            what,
            "allow the agent's address in the server's firewall, in the Azure portal",
        ),
        978 => denied(
            what,
            "set read_only_intent = true, or host to the availability group's primary",
        ),
        976 | 979 | 982 => denied(
            what,
            "set host to the availability group's listener or to its primary, or let the replica be read: \
             ALTER AVAILABILITY GROUP .. MODIFY REPLICA ON .. WITH (SECONDARY_ROLE (ALLOW_CONNECTIONS = ALL))",
        ),
        229 | 230 | 262 | 297 | 300 | 371 | 15247 | 15151 | 22904 => denied(what, RIGHT),
        207 | 208 | 4902 | 22981 => SourceError::SchemaChanged {
            what,
            hint: "lighterman check".to_owned(),
        },
        313 => lost(format!(
            "{what}: the server says so of a position that change data capture does not reach"
        )),
        3952 | 3954 => denied(what, snapshots(error.message())),
        3956 => denied(
            what,
            format!(
                "nothing, once the transactions that were open have ended: {} is on its way",
                snapshots(error.message())
            ),
        ),
        8623 | 8632 => denied(
            what,
            "let the mapping read fewer columns of the table, or ask for less at once",
        ),
        22901 => denied(
            what,
            format!("change data capture is off: {PREPARE} turns it on"),
        ),
        22117 => denied(
            what,
            "change tracking is only told by the availability group's primary: set host to it or to its \
             listener, without read_only_intent",
        ),
        22116 => denied(
            what,
            "choose another mode for the table: modes in the settings",
        ),
        4998 | 22105 => denied(
            what,
            format!("change tracking is off: {PREPARE} turns it on"),
        ),
        // Statements that no server of that version has, and names that none can have: our own fault.
        102 | 156 | 170 | 195 => SourceError::Malformed(what),
        _ if passes
            || quotes_data(number)
            || NOT_HERE.contains(&number)
            || (18_458..=18_463).contains(&number) =>
        {
            SourceError::Disconnected(what)
        }
        // It may pass. As long as it does not, it stands in the log and in `status`.
        _ => SourceError::Disconnected(format!("{what}; nothing is known of this error here")),
    }
}

/// What lets a database be read as of one moment: the one that the server names, which need not be ours. What
/// a mapping asks may read others.
fn snapshots(message: &str) -> String {
    let named = message.split_once("database '").and_then(|(_, rest)| {
        let (name, _) = rest.split_once("' because").or(rest.split_once('\''))?;
        (!name.is_empty()).then(|| crate::sql::name(name))
    });
    format!(
        "ALTER DATABASE {} SET ALLOW_SNAPSHOT_ISOLATION ON",
        named.as_deref().unwrap_or("CURRENT")
    )
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

    /// What the library makes of the server's words cannot be made by hand: the numbers are looked at as
    /// it hands them on, in the tests over a socket.
    #[test]
    fn numbers_stand_in_one_list_only() {
        let lists = [
            NO_OBJECT,
            NO_RIGHT,
            OUT_OF_RANGE,
            NOT_TRACKED,
            NO_SNAPSHOTS,
            AGAIN,
        ];
        for (at, list) in lists.iter().enumerate() {
            for number in *list {
                let mut others = lists.iter().enumerate().filter(|(other, _)| *other != at);
                assert!(!others.any(|(_, other)| other.contains(number)), "{number}");
                assert!(!quotes_data(*number), "{number}");
            }
        }
    }

    #[test]
    fn the_database_that_needs_snapshots_is_the_one_that_the_server_names() {
        let named = "Snapshot isolation transaction failed accessing database 'it's ]odd' because snapshot \
                     isolation is not allowed in this database. Use ALTER DATABASE to allow it.";
        assert_eq!(
            snapshots(named),
            "ALTER DATABASE [it's ]]odd] SET ALLOW_SNAPSHOT_ISOLATION ON"
        );
        assert_eq!(
            snapshots("something else"),
            "ALTER DATABASE CURRENT SET ALLOW_SNAPSHOT_ISOLATION ON"
        );
    }

    #[test]
    fn what_the_client_itself_says_shows_nothing_that_was_received() {
        let secret = || "secret row value".into();
        for (error, expected) in [
            (Error::Conversion(secret()), "malformed"),
            (Error::Protocol(secret()), "disconnected"),
            (Error::Encoding(secret()), "denied"),
            (Error::Utf8, "malformed"),
        ] {
            let failed = classify("read", &error);
            assert_eq!((kind(&failed.error), failed.number), (expected, None));
            assert!(!failed.error.to_string().contains("secret"));
        }
    }
}
