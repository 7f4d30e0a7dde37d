//! What an event is
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>,
//! <https://mariadb.com/kb/en/2-binlog-event-header/>).

use contract::SourceError;

pub(crate) use super::format::{Format, FormatDescription};
use super::gtid::{MariadbGtid, MariadbPlace, MysqlGtid, PreviousGtids, Xid};
use super::input::Input;
use super::payload::Payload;
use super::query::Query;
use super::raw::Raw;
use super::rows::RowsEvent;
use super::table_map::TableEvent;
use super::{Hidden, Result, Trouble, compressed, malformed};

/// An event of the binary log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// The format of what follows.
    FormatDescription(FormatDescription),
    /// The log goes on in another file.
    Rotate(Rotate),
    /// A statement: a transaction's border, DDL, or rows in statement format.
    Query(Query),
    /// The transaction is committed.
    Commit {
        /// Its number inside the server.
        xid: u64,
    },
    /// An XA transaction is prepared, and with it its group of events is complete. It may still be
    /// rolled back, unless it is committed in one phase.
    XaPrepare { xid: Xid, one_phase: bool },
    /// A transaction of MariaDB begins.
    MariadbGtid(MariadbGtid),
    /// The last transaction of each domain and server before this file.
    MariadbGtidList(Vec<MariadbPlace>),
    /// A transaction of MySQL begins.
    MysqlGtid(MysqlGtid),
    /// The transactions of MySQL before this file.
    PreviousGtids(PreviousGtids),
    /// The table that following rows belong to.
    TableMap(TableEvent),
    /// Rows that were written, changed or removed.
    Rows(RowsEvent),
    /// A whole transaction, compressed.
    Payload(Payload),
    /// The server says that something is missing in the log.
    Incident { number: u16, text: String },
    /// The server is alive, and has nothing new behind this position.
    Heartbeat { file: String, position: u64 },
    /// The text of the statement behind the rows that follow.
    Statement(Hidden),
    /// A part of a statement in statement format (the name of the part): what it does to rows is
    /// not in the log.
    StatementPart(&'static str),
    /// The server was shut down in an orderly way.
    Stop,
    /// Known to tell nothing about rows.
    Ignored,
}

/// Where the log goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotate {
    pub(crate) file: String,
    pub(crate) position: u64,
    /// Made for the connection, not in the log.
    pub(crate) artificial: bool,
}

/// Reads an event. A format description is to be learned by the caller ([`Format::learn`]).
pub(crate) fn decode(raw: &Raw, format: &Format) -> std::result::Result<Event, SourceError> {
    event(raw, format).map_err(|trouble| trouble.at(&raw.doing()))
}

fn event(raw: &Raw, format: &Format) -> Result<Event> {
    let (body, checksum) = raw.open(format.checksum)?;
    let kind = raw.header.kind;
    Ok(match kind {
        2 => Event::Query(Query::read(&body)?),
        3 => Event::Stop,
        4 => rotate(&body, raw.header.is_artificial())?,
        5 => Event::StatementPart("a value of AUTO_INCREMENT or LAST_INSERT_ID()"),
        13 => Event::StatementPart("a seed of RAND()"),
        14 => Event::StatementPart("a user variable"),
        6 | 8..=12 | 17 => Event::StatementPart("LOAD DATA"),
        18 => Event::Query(Query::read_load(&body)?),
        15 => Event::FormatDescription(FormatDescription::read(&body, checksum)?),
        16 => {
            let mut input = Input(&body);
            let xid = input.u64()?;
            input.end()?;
            Event::Commit { xid }
        }
        19 => Event::TableMap(TableEvent::read(
            &body,
            format.table_id_bytes(kind),
            format.of_mariadb,
        )?),
        23..=25 | 30..=32 | 39 => {
            Event::Rows(RowsEvent::read(kind, &body, format.table_id_bytes(kind))?)
        }
        26 => incident(&body)?,
        // The file's name; the position is in the header.
        27 => Event::Heartbeat {
            file: file_name(&body)?,
            position: u64::from(raw.header.end),
        },
        // To be ignored by all, and what group replication tells its own members.
        28 | 36 | 37 => Event::Ignored,
        // A length in one byte that longer texts do not fit in, and the text.
        29 => Event::Statement(Hidden(body.slice(1.min(body.len())..))),
        33 | 34 => Event::MysqlGtid(MysqlGtid::read(kind, &body)?),
        35 => Event::PreviousGtids(PreviousGtids::read(&body)?),
        38 => xa_prepare(&body)?,
        40 => Event::Payload(Payload::read(&body)?),
        41 => heartbeat(&body)?,
        42 => Event::MysqlGtid(MysqlGtid::read_tagged(&body)?),
        160 => Event::Statement(Hidden(body)),
        // Which file recovery begins with.
        161 => Event::Ignored,
        162 => Event::MariadbGtid(MariadbGtid::read(&body, raw.header.server_id)?),
        163 => Event::MariadbGtidList(super::gtid::list(&body)?),
        // A server that encrypts its log decrypts what it sends, and marks this event as one to be
        // ignored.
        164 if raw.header.is_ignorable() => Event::Ignored,
        164 => return Err(encrypted()),
        165 => Event::Query(Query::read_compressed(&body)?),
        166..=171 => {
            let (kind, body) = compressed::rows(kind, &body, format)?;
            Event::Rows(RowsEvent::read(kind, &body, format.table_id_bytes(kind))?)
        }
        _ => {
            return Err(Trouble::Malformed(
                "no such type is known, so what it tells would be lost; nothing was skipped".into(),
            ));
        }
    })
}

fn encrypted() -> Trouble {
    Trouble::Denied {
        what: "what follows is encrypted".to_owned(),
        hint: "read the log from the server, which decrypts it, instead of from a file".to_owned(),
    }
}

/// The name of a log file, which goes into settings and statements of ours.
fn file_name(bytes: &[u8]) -> Result<String> {
    let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ' || *byte >= 0x80;
    std::str::from_utf8(bytes)
        .ok()
        .filter(|name| !name.is_empty() && name.len() <= 512 && name.bytes().all(|b| plain(&b)))
        .map(str::to_owned)
        .ok_or(malformed("the name of a log file that is none"))
}

fn rotate(body: &[u8], artificial: bool) -> Result<Event> {
    let mut input = Input(body);
    let position = input.u64()?;
    Ok(Event::Rotate(Rotate {
        position,
        file: file_name(input.rest())?,
        artificial,
    }))
}

fn incident(body: &[u8]) -> Result<Event> {
    let mut input = Input(body);
    let number = input.u16()?;
    let text = String::from_utf8_lossy(input.short_text()?).into_owned();
    Ok(Event::Incident { number, text })
}

/// Parts of (number, length, bytes): 1 = file, 2 = position, 0 = the end. Positions above 4 GiB do
/// not fit in the header of the older event
/// (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Heartbeat__event__v2.html>).
fn heartbeat(body: &[u8]) -> Result<Event> {
    let mut input = Input(body);
    let (mut file, mut position) = (None, None);
    while !input.is_empty() {
        let number = input.u8()?;
        if number == 0 {
            break;
        }
        let length = input.packed_length()?;
        let bytes = input.take(length)?;
        match number {
            1 => file = Some(file_name(bytes)?),
            2 => position = Some(Input(bytes).packed()?),
            _ => {}
        }
    }
    match (file, position) {
        (Some(file), Some(position)) => Ok(Event::Heartbeat { file, position }),
        _ => Err(malformed("a heartbeat without its place")),
    }
}

fn xa_prepare(body: &[u8]) -> Result<Event> {
    let mut input = Input(body);
    let one_phase = input.u8()? != 0;
    let format = input.u32()?;
    let (first, second) = (input.u32()?, input.u32()?);
    let xid = Xid::read(&mut input, format, first, second)?;
    input.end()?;
    Ok(Event::XaPrepare { xid, one_phase })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::raw::{HEADER, Header};
    use super::*;

    pub(super) fn raw(kind: u8, body: &[u8]) -> Raw {
        let header = Header {
            timestamp: 0,
            kind,
            server_id: 9,
            size: u32::try_from(HEADER + body.len()).unwrap(),
            end: 77,
            flags: 0,
        };
        Raw::from_parts(header, body, None, None).unwrap()
    }

    fn read(kind: u8, body: &[u8]) -> std::result::Result<Event, SourceError> {
        decode(&raw(kind, body), &Format::new())
    }

    #[test]
    fn an_unknown_type_stops_the_source_with_type_and_position() {
        for kind in (0..=255).filter(|kind| !matches!(kind, 2..=6 | 8..=19 | 23..=42 | 160..=171)) {
            let error = read(kind, b"").unwrap_err();
            assert!(matches!(error, SourceError::Malformed(_)), "{kind}");
            let text = error.to_string();
            assert!(
                text.contains(&format!("type {kind} before position 77")),
                "{text}"
            );
        }
        let mut sent = raw(164, &[1; 17]);
        sent.header.flags = 0x80;
        assert_eq!(decode(&sent, &Format::new()), Ok(Event::Ignored));
        let error = read(164, b"").unwrap_err();
        assert!(matches!(error, SourceError::Denied { .. }), "{error}");
    }

    proptest! {
        /// Nor do the columns of a table.
        #[test]
        fn any_event_is_read(kind: u8, body: Vec<u8>, end: u32, flags: u16) {
            let size = u32::try_from(HEADER + body.len()).unwrap();
            let header = Header { timestamp: 0, kind, server_id: 1, size, end, flags };
            let raw = Raw::from_parts(header, &body, None, None).unwrap();
            if let Ok(Event::TableMap(table)) = decode(&raw, &Format::new()) {
                let _ = table.map("");
            }
            let columns = [&b"\x01\0\0\0\0\0\0\0\x01s\0\x01t\0"[..], &body].concat();
            if let Ok(Event::TableMap(table)) = read(19, &columns) {
                let _ = table.map("");
            }
        }
    }

    #[test]
    fn small_events_are_read() {
        assert_eq!(read(16, &7_u64.to_le_bytes()), Ok(Event::Commit { xid: 7 }));
        assert!(read(16, b"1234567").is_err());
        assert!(read(16, b"123456789").is_err());
        let place = Event::Heartbeat {
            file: "bin.000002".to_owned(),
            position: 77,
        };
        assert_eq!(read(27, b"bin.000002"), Ok(place));
        assert_eq!(
            read(41, b"\x01\x0abin.000002\x02\x09\xfe\0\0\0\0\x01\0\0\0\0"),
            Ok(Event::Heartbeat {
                file: "bin.000002".to_owned(),
                position: 1 << 32
            })
        );
        assert!(read(41, b"\x01\x0abin.000002").is_err());
        assert_eq!(
            read(26, b"\x01\0\x04lost"),
            Ok(Event::Incident {
                number: 1,
                text: "lost".to_owned()
            })
        );
        assert_eq!(
            read(29, b"\xffSELECT"),
            Ok(Event::Statement(Hidden(Bytes::from_static(b"SELECT"))))
        );
        let prepared = read(38, b"\x01\x01\0\0\0\x02\0\0\0\x01\0\0\0abc");
        let Ok(Event::XaPrepare { xid, one_phase }) = prepared else {
            panic!("{prepared:?}")
        };
        assert!(one_phase);
        assert_eq!(xid.to_string(), "X'6162',X'63',1");
        assert!(read(38, b"\x01\x01\0\0\0\x02\0\0\0\x02\0\0\0abc").is_err());
    }

    #[test]
    fn a_file_name_with_a_checksum_glued_to_it_is_refused() {
        let body = [&4_u64.to_le_bytes()[..], b"bin.000001\x15Pc\xEF"].concat();
        assert!(read(4, &body).is_err());
        assert!(read(4, &4_u64.to_le_bytes()).is_err());
    }
}
