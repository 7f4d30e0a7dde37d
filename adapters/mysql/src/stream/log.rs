//! The log itself: its files, and what each event is.

use contract::SourceError;

use super::{LogStream, malformed};
use crate::binlog::event::{Event, Rotate, decode};
use crate::binlog::raw::Raw;
use crate::errors::lost;
use crate::gtid::Gtid;
use crate::heads;
use crate::place::{file_number, full_offset};

impl LogStream {
    /// Takes an event of the log itself.
    pub(super) fn arrived(&mut self, raw: &Raw) -> Result<(), SourceError> {
        let event = decode(raw, &self.format)?;
        let real = !raw.header.is_artificial() && !matches!(event, Event::Heartbeat { .. });
        if real {
            self.at.offset = full_offset(self.at.offset, raw.header.end);
        }
        self.event(event, raw)
    }

    pub(super) fn event(&mut self, event: Event, raw: &Raw) -> Result<(), SourceError> {
        if let Some(group) = &mut self.group
            && group.made.is_none()
            && matches!(group.gtid, Some(Gtid::Maria { .. }))
        {
            group.made = Some(raw.header.timestamp);
        }
        match event {
            Event::FormatDescription(description) => {
                if description.created != 0 && !raw.header.is_artificial() {
                    self.cut_off();
                }
                self.format.learn(&description);
                self.at.born = Some(heads::born(raw));
            }
            Event::Rotate(rotate) => self.rotate(rotate)?,
            Event::Heartbeat { file, position } => self.heartbeat(&file, position),
            Event::MariadbGtid(gtid) => self.maria(&gtid, raw)?,
            Event::MysqlGtid(gtid) => self.mysql(&gtid, raw)?,
            Event::Query(query) => self.query(&query, raw)?,
            Event::Commit { .. } => self.commit()?,
            Event::XaPrepare { xid, one_phase } => self.xa_prepared(xid, one_phase)?,
            Event::TableMap(map) => self.table(map, raw),
            Event::Rows(rows) => self.rows(&rows, raw)?,
            Event::Payload(payload) => self.payload = Some((payload.events()?, self.at.offset)),
            Event::Incident { number, text } => {
                return Err(lost(format!(
                    "read the binary log: the server says that events are missing in it (incident \
                     {number}: {text})"
                )));
            }
            // A domain that somebody takes out of the log (DELETE_DOMAIN_ID) is in no later list.
            Event::MariadbGtidList(list) if self.in_order && !raw.header.is_artificial() => {
                if let Some(set) = &mut self.set {
                    set.keep_domains(&list);
                }
            }
            Event::MariadbGtidList(_)
            | Event::PreviousGtids(_)
            | Event::Statement(_)
            | Event::StatementPart(_)
            | Event::Stop
            | Event::Ignored => {}
        }
        Ok(())
    }

    pub(super) fn rotate(&mut self, rotate: Rotate) -> Result<(), SourceError> {
        let Some((_, number)) = file_number(&rotate.file) else {
            let found = format!("\"{}\" is no name of a log file", rotate.file);
            return Err(malformed(&found));
        };
        // The newest border while this file is named: the next one's head is not read yet.
        if !rotate.artificial && self.group.is_none() {
            let border = self.border();
            self.gather.reach(&border);
        }
        let place = (number, rotate.position);
        if place < (self.at.file, self.at.offset) && self.at.file != 0 {
            // Files are numbered anew: what comes later must sort later.
            if !self.first {
                return Err(SourceError::Disconnected(
                    "read the binary log: the server begins its files anew".to_owned(),
                ));
            }
            // At the beginning of a file that the checkpoint lies in.
            if number != self.at.file {
                self.at.life = self.at.life.saturating_add(1);
                self.life.set(self.epoch, self.at.life);
            }
        }
        if number != self.at.file {
            self.at.born = None;
        }
        self.at.file = number;
        self.at.offset = rotate.position;
        self.file = rotate.file;
        Ok(())
    }

    pub(super) fn heartbeat(&mut self, file: &str, position: u64) {
        if self.group.is_some() || file != self.file || self.at.born.is_none() {
            return;
        }
        let low = u32::try_from(position & 0xffff_ffff).unwrap_or(0);
        self.at.offset = full_offset(self.at.offset, low);
        let border = self.border();
        self.gather.reach(&border);
    }
}
