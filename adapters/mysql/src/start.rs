//! Where to read on, and whether that is still the log we came from.

use contract::{Position, Resume, SourceError};

use crate::connect::{self, Connection, Flavour};
use crate::errors::lost;
use crate::feed::From;
use crate::gtid::{Gtid, GtidSet};
use crate::heads;
use crate::place::{Born, Place, file_number};
use crate::server::{Log, LogFile, Server};
use crate::settings::{Settings, StartAt};
use crate::stream::Kept;

/// Where a stream begins.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) from: From,
    /// Where it stands before the first event: the file's name and the place.
    pub(crate) file: String,
    pub(crate) place: Place,
    /// The checkpoint lies within this transaction, at this row, and in another life of the log.
    pub(crate) inside: Option<(Gtid, u32)>,
}

/// The first life of a source's positions.
const EPOCH_FIRST: u32 = 1;
/// In it places alone tell what was read. It rises where the log is gone on with by GTIDs.
const LIFE_FIRST: u32 = 1;
/// Transactions that come from another server were made by its clock: in seconds.
const CLOCKS_APART: u32 = 60;
/// The first event of a file begins here.
const FILE_HEAD: u64 = 4;

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
    kept: &Kept,
) -> Result<Start, SourceError> {
    let Some(log) = Log::read(sql).await? else {
        return Err(SourceError::Denied {
            what: "read the binary log: the server writes none".to_owned(),
            hint: OFF.to_owned(),
        });
    };
    let Some(after) = &from.after else {
        // Of what came before a loss, tables that are read again tell the newest.
        let first = settings
            .start
            .as_ref()
            .filter(|_| from.epoch <= EPOCH_FIRST);
        return match first {
            Some(StartAt::Behind(set)) => Ok(behind(set)),
            Some(StartAt::Time(time)) => {
                let (name, place) = heads::at(settings, &log, *time).await?;
                Ok(at(name, place))
            }
            None => now(settings, sql, server, &log).await,
        };
    };
    let checkpoint = Place::parse(after)?;
    let same = from
        .server
        .as_ref()
        .is_none_or(|known| *known == server.identity());
    let here = file_of(settings, &log, &checkpoint, same).await?;
    let Some(before) = checkpoint.before.clone().filter(|_| has_gtids(server)) else {
        return by_file(settings, after, checkpoint, here, same).await;
    };
    // A place beyond that can be asked for by its transactions only.
    let here = here.filter(|_| u32::try_from(checkpoint.offset).is_ok());
    let known = all(sql.flavour, &log.gtids)?;
    if here.is_some() {
        let start = by_file(settings, after, checkpoint.clone(), here, same).await?;
        // Where the log was gone on with by GTIDs, what comes before a place may be less than we have.
        let exact = match sql.flavour {
            Flavour::MariaDb => is_exact(sql, server, &start, &before, kept).await?,
            Flavour::MySql => start.place.life <= LIFE_FIRST && known.covers(&before),
        };
        if exact {
            return Ok(start);
        }
    }
    if !known.covers(&before) {
        return Err(lost(format!(
            "open the binary log: our checkpoint is behind transactions {before}, and the server \
             has only {known}: its log was deleted (RESET MASTER), it was restored to an earlier time, or \
             it is another server, which never got the last of them"
        )));
    }
    if let Some(last) = checkpoint.last {
        let made = heads::made(settings, &log, &before).await?;
        if !made.is_empty() && !made.contains(&last) {
            return Err(lost(format!(
                "open the binary log: our checkpoint is behind transactions {before}, and what has \
                 these numbers here was made at another time: the server was restored to an earlier \
                 time and has used them anew, or it is another server"
            )));
        }
    }
    let inside = checkpoint.gtid.clone().filter(|_| after.seq > 0);
    let place = Place {
        life: checkpoint.life.saturating_add(1),
        file: 0,
        offset: 0,
        gtid: None,
        before: Some(before.clone()),
        born: None,
        last: None,
    };
    Ok(Start {
        from: From::After(before),
        file: String::new(),
        inside: inside.map(|gtid| (gtid, after.seq)),
        place,
    })
}

/// Whether the transactions before the checkpoint's place in its file, at MariaDB, are those that we
/// have.
///
/// A file that is begun anew (`RESET MASTER`) within the second in which it was begun before has the same
/// head, one that was restored with its machine has it, too, and where the log was gone on with by GTIDs,
/// its order need not be that of our checkpoints. The server finds what is before a place by reading the
/// file up to there: it is asked when the agent starts and after a stream that has failed.
async fn is_exact(
    sql: &mut Connection,
    server: &Server,
    start: &Start,
    before: &GtidSet,
    kept: &Kept,
) -> Result<bool, SourceError> {
    let (identity, place) = (server.identity(), &start.place);
    let by_place = place.life <= LIFE_FIRST || kept.is_in_order(&identity, place.life);
    if by_place && place.born.is_some_and(|born| kept.is_ours(&identity, born)) {
        return Ok(true);
    }
    let now: u64 = sql
        .one("read the server's clock", "SELECT UNIX_TIMESTAMP()")
        .await?;
    let there = match transactions_at(sql, &start.file, place.offset).await {
        // It reads for longer than a statement of ours may take, and would each time.
        Err(SourceError::Disconnected(what)) if by_place && is_too_slow(&what) => {
            let outlived = place.born.is_some_and(|born| outlived(born, place.last));
            if outlived {
                return Ok(true);
            }
            return Err(SourceError::Disconnected(what));
        }
        other => other?,
    };
    if there.as_ref() == Some(before) {
        if let Some(born) = place.born
            && now > u64::from(born.second) + 1
        {
            kept.found_ours(&identity, born, place.life);
        }
        return Ok(true);
    }
    match there {
        Some(there) if before.covers(&there) && !by_place => Ok(false),
        Some(there) => Err(begun_anew(start, before, &there.to_string())),
        // Where the file itself cannot be read, nothing is known of the place.
        None => match transactions_at(sql, &start.file, FILE_HEAD).await? {
            Some(_) => Err(begun_anew(start, before, "no such place")),
            None => Err(SourceError::Disconnected(format!(
                "open the binary log: the server does not say which transactions file {} has",
                start.file
            ))),
        },
    }
}

fn begun_anew(start: &Start, before: &GtidSet, there: &str) -> SourceError {
    lost(format!(
        "open the binary log: at position {} of file {} our checkpoint has transactions {before} behind \
         it, and the server has {there}: the log was deleted and begun anew (RESET MASTER)",
        start.place.offset, start.file,
    ))
}

/// Whether the server has ended a statement for its time, or we have.
fn is_too_slow(what: &str) -> bool {
    what.contains("error 1969") || what.contains("said nothing for")
}

/// Whether we read of the file what was made so long after it was begun that no other was begun within
/// the same second.
fn outlived(born: Born, last: Option<u32>) -> bool {
    last.is_some_and(|last| last > born.second.saturating_add(CLOCKS_APART))
}

/// The file that the checkpoint lies in, where this server has it.
async fn file_of<'a>(
    settings: &Settings,
    log: &'a Log,
    checkpoint: &Place,
    same: bool,
) -> Result<Option<&'a LogFile>, SourceError> {
    let number = |file: &LogFile| file_number(&file.name).map(|(_, number)| number);
    let named = log
        .files
        .iter()
        .find(|file| number(file) == Some(checkpoint.file));
    let anew = |what: String| {
        Err(lost(format!(
            "open the binary log: {what}: the log was deleted and begun anew (RESET MASTER), or the \
             server was restored to an earlier time"
        )))
    };
    let Some(file) = named else {
        let newest = log.files.last().and_then(number);
        if same && newest.is_some_and(|newest| newest < checkpoint.file) {
            return anew(format!(
                "our checkpoint is in file {}, and the newest one is {}",
                checkpoint.file, log.file
            ));
        }
        return Ok(None);
    };
    let is_ours = match checkpoint.born {
        Some(born) => heads::read(settings, file).await? == born,
        None => same,
    };
    if !is_ours {
        if same {
            return anew(format!("file {} is not the one that we read", file.name));
        }
        // Another server numbers its files as it likes.
        return Ok(None);
    }
    if file.bytes < checkpoint.offset {
        return anew(format!(
            "file {} ends at {}, and our checkpoint is at {}",
            file.name, file.bytes, checkpoint.offset
        ));
    }
    Ok(Some(file))
}

/// Without GTIDs a place means something in its own file only.
async fn by_file(
    settings: &Settings,
    after: &Position,
    checkpoint: Place,
    here: Option<&LogFile>,
    same: bool,
) -> Result<Start, SourceError> {
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
    let mut place = checkpoint;
    if after.seq > 0 {
        // Within a transaction the place is where its first event ends.
        place.offset = heads::begins(settings, here, place.offset).await?;
        place.gtid = None;
    }
    Ok(at(here.name.clone(), place))
}

/// At a place in a file.
fn at(file: String, place: Place) -> Start {
    Start {
        from: From::File {
            name: file.clone(),
            offset: place.offset,
        },
        file,
        place,
        inside: None,
    }
}

/// Behind these transactions, wherever that is.
fn behind(set: &GtidSet) -> Start {
    Start {
        from: From::After(set.clone()),
        file: String::new(),
        place: Place {
            life: LIFE_FIRST + 1,
            file: 0,
            offset: 0,
            gtid: None,
            before: Some(set.clone()),
            born: None,
            last: None,
        },
        inside: None,
    }
}

/// At the end of the log, as it is now.
async fn now(
    settings: &Settings,
    sql: &mut Connection,
    server: &Server,
    log: &Log,
) -> Result<Start, SourceError> {
    let Some((_, number)) = file_number(&log.file) else {
        return Err(SourceError::Malformed(format!(
            "read the state of the log: \"{}\" is no name of a log file",
            log.file
        )));
    };
    let file = log.files.iter().find(|file| file.name == log.file);
    let born = match file {
        Some(file) => Some(heads::read(settings, file).await?),
        None => None,
    };
    let before = match sql.flavour {
        // File and transactions are told by two statements: the transactions of that very place.
        Flavour::MariaDb => transactions_at(sql, &log.file, log.end).await?,
        // What the server says it has executed is older than the log's end.
        Flavour::MySql => match file.filter(|_| has_gtids(server)) {
            Some(file) => heads::before(settings, file, log.end).await?,
            None => None,
        },
    };
    let place = Place {
        life: LIFE_FIRST,
        file: number,
        offset: log.end,
        gtid: None,
        before,
        born,
        last: None,
    };
    Ok(at(log.file.clone(), place))
}

/// All transactions before a place of MariaDB's log, by the server itself; `None` = it has no such
/// place.
async fn transactions_at(
    sql: &mut Connection,
    file: &str,
    offset: u64,
) -> Result<Option<GtidSet>, SourceError> {
    let asked = format!(
        "SELECT BINLOG_GTID_POS({}, {offset})",
        connect::literal(file)
    );
    let found = sql
        .one::<Option<String>>("read the log's GTIDs", &asked)
        .await?;
    Ok(found.and_then(|text| GtidSet::parse_maria(&text)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the server does not come to an answer to what is before a place.
    #[test]
    fn a_file_in_which_we_read_what_is_later_is_ours() {
        let born = Born {
            second: 1_000,
            server: 1,
        };
        for (last, ours) in [
            (None, false),
            (Some(1), false),
            (Some(1_060), false),
            (Some(1_061), true),
        ] {
            assert_eq!(outlived(born, last), ours, "{last:?}");
        }
    }
}
