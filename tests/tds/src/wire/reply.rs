//! An answer on its way to the client.

use std::collections::VecDeque;

use super::answer::{Answer, Part, ServerError, Transacted};
use super::encode::{self, RowShape};
use super::fault::{FaultKind, Point};
use super::gate::Gate;
use super::link::{Ended, HEADER_BYTES, Link, packet};
use super::token;
use super::types::Column;

/// What of the connection an answer can change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) database: String,
    /// The descriptor of the open transaction, 0 without one.
    pub(super) transaction: u64,
    /// How many transactions there have been.
    pub(super) transaction_count: u64,
    pub(super) packet_bytes: usize,
    pub(super) row_shape: RowShape,
    pub(super) server_name: String,
}

impl State {
    /// Writes what happened to the transaction.
    pub(super) fn transact(&mut self, out: &mut Vec<u8>, what: Transacted) -> Result<(), Ended> {
        let old = self.transaction;
        match what {
            Transacted::Begun => {
                self.transaction_count += 1;
                // Like those of a server: large, never the same twice.
                self.transaction = 0x0000_0001_0000_0000 * u64::from(std::process::id() % 251 + 1)
                    + self.transaction_count;
                token::changed(out, 8, &self.transaction.to_le_bytes(), &[])?;
            }
            Transacted::Committed | Transacted::RolledBack if old == 0 => {
                let unfit = "a transaction ends that was not begun".to_owned();
                return Err(Ended::Unfit(encode::Unfit(unfit)));
            }
            Transacted::Committed => {
                self.transaction = 0;
                token::changed(out, 9, &[], &old.to_le_bytes())?;
            }
            Transacted::RolledBack => {
                self.transaction = 0;
                token::changed(out, 10, &[], &old.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

/// A token that ends a statement, kept until it is known whether something follows.
#[derive(Clone, Copy, Debug)]
struct Ending {
    token: u8,
    status: u16,
    command: u16,
    rows: u64,
}

/// How an answer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// To its end. The number is that of the last error, or 0.
    Whole { error: i32, returned: Option<i32> },
    /// The client asked for a stop and was told so.
    Stopped,
}

/// A message of the server in the making.
pub(super) struct Reply<'a> {
    link: &'a mut Link,
    state: &'a mut State,
    body: Vec<u8>,
    next_packet: u8,
    sent: u64,
    packets: u64,
    rows_told: u64,
    faults: VecDeque<FaultKind>,
    open: Option<(Vec<Column>, u64)>,
    error: Option<i32>,
    ending: Option<Ending>,
    returned: Option<i32>,
}

impl<'a> Reply<'a> {
    pub(super) fn new(link: &'a mut Link, state: &'a mut State, faults: Vec<FaultKind>) -> Self {
        Self {
            link,
            state,
            body: Vec::new(),
            next_packet: 1,
            sent: 0,
            packets: 0,
            rows_told: 0,
            faults: faults.into(),
            open: None,
            error: None,
            ending: None,
            returned: None,
        }
    }

    /// The fault that stands at a place, taken out.
    fn fault(&mut self, fits: impl Fn(&FaultKind) -> bool) -> Option<FaultKind> {
        let at = self.faults.iter().position(fits)?;
        self.faults.remove(at)
    }

    /// Lets what stands at this place happen: an end or a stall.
    pub(super) async fn at(&mut self, point: Point) -> Result<(), Ended> {
        let fits = |fault: &FaultKind| matches!(fault, FaultKind::Cut(at) | FaultKind::Stall(at, _) if *at == point);
        while let Some(fault) = self.fault(fits) {
            self.flush().await?;
            match fault {
                FaultKind::Stall(_, gate) => self.wait(&gate).await?,
                _ => return Err(Ended::Wanted),
            }
        }
        Ok(())
    }

    async fn wait(&mut self, gate: &Gate) -> Result<(), Ended> {
        let passed = gate.pass();
        tokio::pin!(passed);
        loop {
            if self.link.starts_with_attention() && !self.ignores_attention() {
                return Ok(());
            }
            tokio::select! {
                () = &mut passed => return Ok(()),
                came = self.link.incoming() => came?,
            }
        }
    }

    fn ignores_attention(&self) -> bool {
        self.faults
            .iter()
            .any(|fault| matches!(fault, FaultKind::IgnoreAttention))
    }

    /// Whether the client asks for a stop and is heard.
    fn stops(&mut self) -> Result<bool, Ended> {
        if self.link.takes_attention()? {
            return Ok(!self.ignores_attention());
        }
        Ok(false)
    }

    fn body_max(&self) -> usize {
        let most = self.state.packet_bytes - HEADER_BYTES;
        let split = self.faults.iter().find_map(|fault| match fault {
            FaultKind::Split(bytes) => Some((*bytes).clamp(1, most)),
            _ => None,
        });
        match split {
            Some(first) if self.packets == 0 => first,
            _ => most,
        }
    }

    async fn send(&mut self, last: bool) -> Result<(), Ended> {
        let body = std::mem::take(&mut self.body);
        let packet = packet(&body, last, self.link.spid, self.next_packet)?;
        self.next_packet = self.next_packet.wrapping_add(1);
        self.packets += 1;
        let mut from = 0;
        let end = self.sent + count(packet.len());
        while let Some(bytes) = self.faults.iter().find_map(|fault| match fault {
            FaultKind::Cut(Point::Bytes(bytes)) | FaultKind::Stall(Point::Bytes(bytes), _)
                if *bytes < end =>
            {
                Some(*bytes)
            }
            _ => None,
        }) {
            let upto = usize::try_from(bytes.saturating_sub(self.sent)).unwrap_or(packet.len());
            self.link.write(&packet[from..upto.max(from)]).await?;
            from = upto.max(from);
            let fits = |fault: &FaultKind| {
                matches!(fault, FaultKind::Cut(Point::Bytes(at))
                    | FaultKind::Stall(Point::Bytes(at), _) if *at == bytes)
            };
            match self.fault(fits) {
                Some(FaultKind::Stall(_, gate)) => self.wait(&gate).await?,
                _ => return Err(Ended::Wanted),
            }
        }
        self.sent = end;
        self.link.write(&packet[from..]).await
    }

    /// Sends what is there, as a packet that is not the last.
    async fn flush(&mut self) -> Result<(), Ended> {
        if self.body.is_empty() {
            Ok(())
        } else {
            self.send(false).await
        }
    }

    /// Puts bytes of tokens into packets, and sends those that are full.
    pub(super) async fn put(&mut self, mut bytes: &[u8]) -> Result<(), Ended> {
        while !bytes.is_empty() {
            // A full packet goes only when more comes, for the last one is marked.
            if self.body.len() >= self.body_max() {
                self.send(false).await?;
            }
            let room = self.body_max().saturating_sub(self.body.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.body.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// Sends the end of the message.
    pub(super) async fn finish(mut self) -> Result<(), Ended> {
        self.send(true).await
    }

    /// Writes the token that was kept.
    async fn release(&mut self, more: bool) -> Result<(), Ended> {
        if let Some(Ending {
            token,
            status,
            command,
            rows,
        }) = self.ending.take()
        {
            let mut out = Vec::new();
            let more = if more { token::MORE } else { 0 };
            token::done(&mut out, token, status | more, command, rows);
            self.put(&out).await?;
        }
        Ok(())
    }

    /// Ends a statement: the open result set, or one that gave a count or failed.
    async fn end(&mut self, token: u8, changed: Option<u64>) -> Result<(), Ended> {
        self.release(true).await?;
        let (mut status, command, rows) = match (self.open.take(), changed) {
            (Some((_, rows)), _) => (token::COUNT, token::SELECT, rows),
            (None, Some(rows)) => (token::COUNT, token::UPDATE, rows),
            (None, None) => (0, 0, 0),
        };
        if self.error.take().is_some() {
            status |= token::ERROR;
        }
        self.ending = Some(Ending {
            token,
            status,
            command,
            rows,
        });
        Ok(())
    }

    /// Tells an answer, but for the token that ends it, which is kept.
    pub(super) async fn tell(&mut self, answer: Answer, in_procedure: bool) -> Result<Told, Ended> {
        let end_token = if in_procedure {
            token::DONE_IN_PROC
        } else {
            token::DONE
        };
        let mut last_error = 0;
        for part in answer {
            if self.stops()? {
                return self.stop().await;
            }
            let (part, fatal) = match (self.row_fault(&part), part) {
                (Some(error), _) => (Part::Error(error), true),
                (None, part) => (part, false),
            };
            let mut out = Vec::new();
            match part {
                Part::Row(values) => {
                    let Some((columns, rows)) = &mut self.open else {
                        return Err(unfit("a row without columns"));
                    };
                    encode::row(&mut out, columns, &values, self.state.row_shape)?;
                    *rows += 1;
                    self.row(&out).await?;
                    continue;
                }
                Part::Columns(columns) => {
                    if self.open.is_some() || self.error.is_some() {
                        self.end(end_token, None).await?;
                    }
                    encode::columns(&mut out, &columns)?;
                    self.open = Some((columns, 0));
                }
                Part::Done(changed) => {
                    self.end(end_token, changed).await?;
                    continue;
                }
                Part::Info(message) => {
                    token::message(&mut out, false, &message, &self.state.server_name)?;
                }
                Part::Error(error) => {
                    if self.error.is_some() {
                        self.end(end_token, None).await?;
                    }
                    last_error = error.number;
                    self.error = Some(error.number);
                    token::message(&mut out, true, &error, &self.state.server_name)?;
                    if error.class >= 20 {
                        self.release(true).await?;
                        self.put(&out).await?;
                        out.clear();
                        let status = token::ERROR | token::SERVER_ERROR;
                        token::done(&mut out, token::DONE, status, 0, 0);
                        self.put(&out).await?;
                        self.send(true).await?;
                        return Err(Ended::Wanted);
                    }
                }
                Part::Database(name) => {
                    let old = std::mem::replace(&mut self.state.database, name);
                    token::changed_text(&mut out, 1, &self.state.database, &old)?;
                }
                Part::Transaction(what) => self.state.transact(&mut out, what)?,
                Part::Return(status) => {
                    if in_procedure {
                        self.returned = Some(status);
                    } else {
                        token::returned(&mut out, status);
                        self.release(true).await?;
                        self.put(&out).await?;
                        self.end(token::DONE_PROC, None).await?;
                    }
                    continue;
                }
                Part::Wait(gate) => {
                    self.flush().await?;
                    self.wait(&gate).await?;
                    continue;
                }
                Part::HangUp => {
                    self.flush().await?;
                    return Err(Ended::Wanted);
                }
            }
            self.release(true).await?;
            self.put(&out).await?;
            if fatal {
                break;
            }
        }
        if self.open.is_some() || self.error.is_some() {
            self.end(end_token, None).await?;
        }
        if self.stops()? {
            return self.stop().await;
        }
        Ok(Told::Whole {
            error: last_error,
            returned: self.returned.take(),
        })
    }

    /// The error that stands in the place of this part.
    fn row_fault(&mut self, part: &Part) -> Option<ServerError> {
        if !matches!(part, Part::Row(_) | Part::Done(_)) {
            return None;
        }
        let told = self.rows_told;
        let fault =
            self.fault(|fault| matches!(fault, FaultKind::Error { rows, .. } if *rows == told));
        match fault {
            Some(FaultKind::Error { error, .. }) => Some(error),
            _ => None,
        }
    }

    /// Puts a row, with the faults that stand before it and in it.
    async fn row(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        self.at(Point::Rows(self.rows_told)).await?;
        let told = self.rows_told;
        let mut from = 0;
        while let Some(at) = self.faults.iter().find_map(|fault| match fault {
            FaultKind::Cut(Point::InRow { rows, bytes })
            | FaultKind::Stall(Point::InRow { rows, bytes }, _)
                if *rows == told =>
            {
                Some(*bytes)
            }
            _ => None,
        }) {
            let upto = at.clamp(from, bytes.len());
            self.put(&bytes[from..upto]).await?;
            from = upto;
            self.at(Point::InRow {
                rows: told,
                bytes: at,
            })
            .await?;
        }
        self.put(&bytes[from..]).await?;
        self.rows_told += 1;
        Ok(())
    }

    /// Ends an answer to SQL text.
    pub(super) async fn end_batch(&mut self) -> Result<(), Ended> {
        if self.ending.is_none() {
            self.end(token::DONE, None).await?;
        }
        self.at(Point::End).await?;
        self.release(false).await
    }

    /// Ends the call of a procedure.
    pub(super) async fn end_call(
        &mut self,
        returned: i32,
        outputs: &[u8],
        more: bool,
    ) -> Result<(), Ended> {
        self.release(true).await?;
        let mut out = Vec::new();
        token::returned(&mut out, returned);
        out.extend(outputs);
        self.put(&out).await?;
        self.at(Point::End).await?;
        self.ending = Some(Ending {
            token: token::DONE_PROC,
            status: 0,
            command: 0,
            rows: 0,
        });
        self.release(more).await
    }

    /// Tells the client that its request was stopped.
    async fn stop(&mut self) -> Result<Told, Ended> {
        self.ending = None;
        self.open = None;
        self.error = None;
        let mut out = Vec::new();
        token::done(&mut out, token::DONE, token::ATTENTION, 0, 0);
        self.put(&out).await?;
        Ok(Told::Stopped)
    }
}

fn count(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

pub(super) fn unfit(what: &str) -> Ended {
    Ended::Unfit(encode::Unfit(what.to_owned()))
}
