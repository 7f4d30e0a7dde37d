//! Where to read on, and whether that is still the log we came from.

use contract::{Resume, SourceError};

use crate::connect::{self, Connection, Flavour};
use crate::errors::lost;
use crate::feed::From;
use crate::gtid::{Gtid, GtidSet};
use crate::place::{Place, file_number};
use crate::server::{Log, Server};
use crate::settings::Settings;

/// Where a stream begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) from: From,
    /// Where it stands before the first event: the file's name and the place.
    pub(crate) file: String,
    pub(crate) place: Place,
    /// The checkpoint lies within this transaction, at this row, and in another life of the log.
    pub(crate) inside: Option<(Gtid, u32)>,
    /// The next event of the log must begin here, if it is in this very file: else the file is
    /// another one of the same name.
    pub(crate) expected: Option<(u64, u64)>,
}

/// What the server's log must be like before anything is read of it.
const OFF: &str = "switch the log on in the server's configuration (log_bin, server_id), restart it, \
     then lighterman check";

/// Where to begin.
///
/// # Errors
/// [`SourceError::PositionLost`] when this is not the log that the checkpoint came from, or it no
/// longer reaches back to it.
pub(crate) async fn start(
    settings: &Settings,
    sql: &mut Connection,
    server: &Server,
    from: &Resume,
) -> Result<Start, SourceError> {
    let Some(log) = Log::read(sql).await? else {
        return Err(SourceError::Denied {
            what: "read the binary log: the server writes none".to_owned(),
            hint: OFF.to_owned(),
        });
    };
    let Some(after) = &from.after else {
        return match &settings.start {
            Some(set) => Ok(behind(set)),
            None => now(sql, &log).await,
        };
    };
    let checkpoint = Place::parse(after)?;
    let same = from
        .server
        .as_ref()
        .is_none_or(|known| *known == server.identity());
    let file = log
        .files
        .iter()
        .find(|file| file_number(&file.name).is_some_and(|(_, n)| n == checkpoint.file));
    let here = file.filter(|file| same && file.bytes >= checkpoint.offset);
    let inside = checkpoint.gtid.clone().filter(|_| after.seq > 0);
    let Some(before) = checkpoint.before.clone().filter(|_| has_gtids(server)) else {
        // Without GTIDs a place means something in its own file only.
        let Some(here) = here else {
            return Err(lost(format!(
                "open the binary log: file {} up to position {} is not there any more{}",
                checkpoint.file,
                checkpoint.offset,
                if same {
                    ""
                } else {
                    ", and this is another server"
                }
            )));
        };
        let offset = if after.seq > 0 {
            return Err(lost(
                "open the binary log: our checkpoint lies within a transaction, and the server has \
                 no GTIDs to find its beginning by"
                    .to_owned(),
            ));
        } else {
            checkpoint.offset
        };
        return Ok(Start {
            from: From::File {
                name: here.name.clone(),
                offset,
            },
            file: here.name.clone(),
            place: checkpoint,
            inside: None,
            expected: None,
        });
    };
    let known = all(sql.flavour, &log.gtids)?;
    if !known.covers(&before) {
        return Err(lost(format!(
            "open the binary log: our checkpoint is behind transactions {before}, and the server \
             has only {known}: its log was deleted (RESET MASTER), it was restored to an earlier time, or \
             it is another server"
        )));
    }
    let expected = here.map(|_| (checkpoint.file, checkpoint.offset));
    let place = if here.is_some() {
        checkpoint
    } else {
        Place {
            life: checkpoint.life.saturating_add(1),
            file: 0,
            offset: 0,
            gtid: None,
            before: Some(before.clone()),
        }
    };
    Ok(Start {
        from: From::After(before),
        file: here.map(|file| file.name.clone()).unwrap_or_default(),
        inside: inside
            .filter(|_| here.is_none())
            .map(|gtid| (gtid, after.seq)),
        expected: expected.filter(|_| after.seq == 0),
        place,
    })
}

/// Behind these transactions, wherever that is.
fn behind(set: &GtidSet) -> Start {
    Start {
        from: From::After(set.clone()),
        file: String::new(),
        place: Place {
            life: 1,
            file: 0,
            offset: 0,
            gtid: None,
            before: Some(set.clone()),
        },
        inside: None,
        expected: None,
    }
}

/// At the end of the log, as it is now.
async fn now(sql: &mut Connection, log: &Log) -> Result<Start, SourceError> {
    let Some((_, number)) = file_number(&log.file) else {
        return Err(SourceError::Malformed(format!(
            "read the state of the log: \"{}\" is no name of a log file",
            log.file
        )));
    };
    let before = match sql.flavour {
        // File and transactions are told by two statements: the transactions of that very place.
        Flavour::MariaDb => {
            let asked = format!(
                "SELECT BINLOG_GTID_POS({}, {})",
                connect::literal(&log.file),
                log.end
            );
            let found = sql
                .one::<Option<String>>("read the log's GTIDs", &asked)
                .await?;
            found.and_then(|text| GtidSet::parse_maria(&text))
        }
        Flavour::MySql => GtidSet::parse_mysql(&log.gtids).filter(|_| !log.gtids.is_empty()),
    };
    let place = Place {
        life: 1,
        file: number,
        offset: log.end,
        gtid: None,
        before,
    };
    Ok(Start {
        from: From::File {
            name: log.file.clone(),
            offset: log.end,
        },
        file: log.file.clone(),
        place,
        inside: None,
        expected: None,
    })
}

/// Whether the server numbers its transactions.
fn has_gtids(server: &Server) -> bool {
    match server.flavour {
        Flavour::MariaDb => true,
        Flavour::MySql => server
            .get("gtid_mode")
            .is_some_and(|mode| mode.eq_ignore_ascii_case("ON")),
    }
}

fn all(flavour: Flavour, text: &str) -> Result<GtidSet, SourceError> {
    let set = match flavour {
        Flavour::MariaDb => GtidSet::parse_maria(text),
        Flavour::MySql => GtidSet::parse_mysql(text),
    };
    set.ok_or_else(|| {
        SourceError::Malformed(format!(
            "read the state of the log: \"{text}\" is no set of transactions"
        ))
    })
}
