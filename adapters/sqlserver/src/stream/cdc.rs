//! Pages of captured changes.
//!
//! The change tables are read in the one order of [`Tuple`], which also says where the next page begins.
//! They give no error where the server has cleaned up what we have not read, only fewer rows: how far down
//! they reach is asked before the first page and again after each.

use std::collections::VecDeque;
use std::sync::Arc;

use contract::{CapturedTable, SourceError, TableName};

use crate::captured::{Instances, low};
use crate::catalogue::Table;
use crate::errors::OUT_OF_RANGE;
use crate::instance::{Instance, plan};
use crate::lsn::Lsn;
use crate::session::{Parameter, Session, Take};
use crate::tuple::{Pairing, Tuple};

use super::page::{At, Item, Page, Size, Trouble, row_bytes};
use super::table::low_before;
use super::told::{Told, captured};

/// A gap is looked behind so many times in a row.
const GAPS_MAX: u32 = 5;

/// Reads the captured changes of one table.
#[derive(Debug)]
pub(crate) struct Pager {
    table: Table,
    captured: CapturedTable,
    by_function: bool,
    offset_minutes: i64,
    /// The instances still to be read, the first of which is read now, each strictly below its end.
    parts: VecDeque<(Arc<Told>, Option<Lsn>)>,
    /// Those that there were when the parts were planned, and how far down each reached.
    pub(crate) known: Vec<(String, Lsn)>,
    /// Told up to here.
    after: Tuple,
    pairing: Pairing,
    size: Size,
    gaps: u32,
}

impl Pager {
    /// Reads on behind what was told, where `before` is what the stream said that told it; also why changes before that are lost, where they are.
    #[expect(clippy::too_many_arguments, reason = "each is another thing to know")]
    pub(crate) async fn open(
        session: &mut Session,
        table: &Table,
        captured: &CapturedTable,
        by_function: bool,
        offset_minutes: i64,
        rows_max: usize,
        told: Lsn,
        before: Option<&str>,
        instances: &Instances,
    ) -> Result<(Self, Option<String>), Trouble> {
        let mut pager = Self {
            table: table.clone(),
            captured: captured.clone(),
            by_function,
            offset_minutes,
            parts: VecDeque::new(),
            known: Vec::new(),
            after: Tuple::behind(told),
            pairing: Pairing::new(!by_function),
            size: Size::new(rows_max),
            gaps: 0,
        };
        let gap = pager.plan(session, told, instances).await?;
        // An instance that reaches no further down than it did is the whole of what there was: it is younger
        // than what was told.
        let whole = pager.parts.front().is_some_and(|(part, _)| {
            let Instance { name, low, .. } = &part.instance;
            let low_before = before.and_then(|before| low_before(before, pager.table(), name));
            low_before == Some(*low)
        });
        Ok((pager, gap.filter(|_| !whole)))
    }

    fn table(&self) -> &TableName {
        &self.captured.table
    }

    /// Plans how to go on behind `told`, by the capture instances that there are.
    async fn plan(
        &mut self,
        session: &mut Session,
        told: Lsn,
        all: &Instances,
    ) -> Result<Option<String>, Trouble> {
        let mut instances = all.of(self.table());
        for instance in &mut instances {
            let Some(low) = low(session, &instance.name).await? else {
                return Err(Trouble::Table(unreadable(self.table(), &instance.name)));
            };
            instance.low = low;
        }
        let known = instances.iter().map(|one| (one.name.clone(), one.low));
        self.known = known.collect();
        let Some(plan) = plan(&instances, told) else {
            return Err(Trouble::Table(gone(self.table())));
        };
        self.parts.clear();
        for part in plan.parts {
            let Some(instance) = instances.get(part.instance) else {
                continue;
            };
            let (table, captured) = (&self.table, &self.captured);
            let told = Told::of(session, table, captured, instance.clone(), self.by_function);
            self.parts.push_back((Arc::new(told.await?), part.below));
        }
        self.after = Tuple::behind(plan.behind);
        self.pairing = Pairing::new(!self.by_function);
        Ok(plan.is_gap.then(|| gap(self.table(), told, plan.behind)))
    }

    /// There are other instances than when the parts were planned: the rest is planned anew. Why changes
    /// are lost, where they are.
    pub(crate) async fn plan_again(
        &mut self,
        session: &mut Session,
    ) -> Result<Option<String>, Trouble> {
        let told = self.told_whole();
        let all = Instances::of_table(session, self.table()).await?;
        self.plan(session, told, &all).await
    }

    /// Up to where whole transactions are told.
    fn told_whole(&self) -> Lsn {
        if self.after == Tuple::behind(self.after.lsn) {
            self.after.lsn
        } else {
            self.after.lsn.before()
        }
    }

    /// The next page up to `upto`.
    pub(crate) async fn page(&mut self, session: &mut Session, upto: Lsn) -> Result<Page, Trouble> {
        let mut lost = None;
        loop {
            let Some((told, below)) = self.parts.front().cloned() else {
                return Err(Trouble::Table(gone(self.table())));
            };
            let last = below.map_or(upto, |below| below.before().min(upto));
            if self.told_whole() >= last {
                if below.is_some_and(|below| below <= upto) {
                    self.parts.pop_front();
                    continue;
                }
                return Ok(Page {
                    gap: lost,
                    ..Page::default()
                });
            }
            let mut pairing = self.pairing.clone();
            let read = self.read(session, &told, last, &mut pairing).await;
            let read = match read {
                Err(Read::Gone) => {
                    lost = self.plan_again(session).await?.or(lost);
                    self.count_gap()?;
                    continue;
                }
                Err(Read::Trouble(trouble)) => return Err(trouble),
                other => other.ok(),
            };
            // Looked after the page: the server may have cleaned up between the two.
            let Some(low) = low(session, &told.instance.name).await? else {
                lost = self.plan_again(session).await?.or(lost);
                self.count_gap()?;
                continue;
            };
            let whole = self.told_whole();
            if low > whole.next() {
                lost = Some(gap(self.table(), whole, low.before()));
                self.after = Tuple::behind(low.before());
                self.pairing = Pairing::new(!self.by_function);
                self.count_gap()?;
                continue;
            }
            let Some((items, full)) = read else {
                // The function says that it does not reach, and the instance says that it does.
                self.count_gap()?;
                continue;
            };
            self.gaps = 0;
            self.pairing = pairing;
            let unclear = self.pairing.take_unclear();
            let unclear = unclear.map(|lsn| (lsn, unclear_rows(self.table(), self.by_function)));
            let more = match items.1 {
                Some(after) if full => {
                    self.after = after;
                    true
                }
                _ => {
                    if self.pairing.is_waiting() {
                        let what = format!(
                            "read the changes of {}: an update at LSN {} has a row before it and none after",
                            self.table(),
                            self.after.lsn
                        );
                        return Err(Trouble::All(SourceError::Malformed(what)));
                    }
                    self.after = Tuple::behind(last);
                    below.is_some_and(|below| below <= upto)
                }
            };
            return Ok(Page {
                items: items.0,
                more,
                gap: lost,
                unclear,
            });
        }
    }

    fn count_gap(&mut self) -> Result<(), Trouble> {
        self.gaps += 1;
        if self.gaps > GAPS_MAX {
            self.gaps = 0;
            return Err(Trouble::All(SourceError::Disconnected(format!(
                "read the changes of {}: the server cleans up faster than they are read",
                self.table()
            ))));
        }
        Ok(())
    }

    /// Reads one page; how far it goes, and whether it is full.
    async fn read(
        &mut self,
        session: &mut Session,
        told: &Told,
        last: Lsn,
        pairing: &mut Pairing,
    ) -> Result<((Vec<Item>, Option<Tuple>), bool), Read> {
        let doing = format!("read the changes of {}", self.table());
        let ask = self.size.ask();
        let parameters = self.parameters(told, last, ask);
        let (mut items, mut after) = (Vec::new(), None);
        let (mut rows, mut bytes) = (0, 0);
        let offset = self.offset_minutes;
        let reading = session.each(&doing, &told.sql, &parameters, |row| {
            let captured = captured(told, row, offset, &doing)?;
            rows += 1;
            bytes += row_bytes(&captured.row);
            after = Some(captured.tuple);
            let change = pairing.take(captured, &told.layout.shape);
            let change =
                change.map_err(|what| SourceError::Malformed(format!("{doing}: {what}")))?;
            items.extend(change.map(|change| Item {
                at: At::Lsn(change.tuple.lsn),
                tuple: Some(change.tuple),
                shape: Arc::clone(&told.layout.shape),
                op: change.op,
                before: change.before,
                after: change.after,
                committed_at: change.committed_at,
            }));
            Ok(Take::More)
        });
        match reading.await {
            Ok(_) => {}
            Err(failed) if failed.is(OUT_OF_RANGE) => return Err(Read::OutOfRange),
            Err(failed) if failed.is(&[208]) => return Err(Read::Gone),
            Err(failed) => return Err(Read::Trouble(failed.into())),
        }
        self.size.learn(rows, bytes);
        Ok(((items, after), rows >= ask))
    }

    fn parameters(&self, told: &Told, last: Lsn, ask: usize) -> Vec<Parameter> {
        let bytes = |lsn: Lsn| Parameter::Bytes(lsn.0.to_vec());
        let ask = Parameter::Int(i64::try_from(ask).unwrap_or(i64::MAX));
        let Tuple {
            lsn,
            command,
            seqval,
            operation,
        } = self.after;
        let operation = Parameter::Int(operation as i64);
        if told.by_function {
            let from = self.told_whole().next();
            return vec![
                ask,
                bytes(from),
                bytes(last),
                bytes(lsn),
                bytes(seqval),
                operation,
            ];
        }
        let command = Parameter::Int(command.into());
        vec![
            ask,
            bytes(last),
            bytes(lsn),
            command,
            bytes(seqval),
            operation,
        ]
    }
}

/// Why a page was not read.
enum Read {
    /// The instance is not there any more.
    Gone,
    /// Its function does not reach so far.
    OutOfRange,
    Trouble(Trouble),
}

pub(crate) fn gone(table: &TableName) -> SourceError {
    SourceError::SchemaChanged {
        what: format!("table {table} has no capture instance any more"),
        hint: crate::errors::PREPARE.to_owned(),
    }
}

pub(crate) fn unreadable(table: &TableName, instance: &str) -> SourceError {
    SourceError::Denied {
        what: format!("our user may not read capture instance {instance} of table {table}"),
        hint: format!(
            "add our user to the instance's gating role, and GRANT SELECT ON {}",
            crate::sql::table(table)
        ),
    }
}

fn unclear_rows(table: &TableName, by_function: bool) -> String {
    if by_function {
        return format!(
            "one transaction made rows of table {table} and removed rows with their keys, and the functions of \
             change data capture do not tell which of the two came last"
        );
    }
    format!(
        "one statement gave rows of table {table} keys that other rows of it had, and was captured in an order \
         that does not say for sure which of them are left"
    )
}

fn gap(table: &TableName, told: Lsn, low: Lsn) -> String {
    format!(
        "changes of table {table} behind LSN {told} and up to {low} are lost: the server removed them before \
         they were read, or the capture instance that had them"
    )
}
