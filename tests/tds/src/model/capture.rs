//! Change Data Capture: instances, the capture job, clean-up.

use super::lsn::Place;
use super::state::{Committed, State};
use super::table::Table;
use crate::wire::{ServerError, Type, Value};

/// What the database captures.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pub(crate) instances: Vec<Instance>,
    pub(crate) times: Vec<Time>,
    pub(crate) ddl: Vec<Ddl>,
    /// How many transactions of the log the job has read.
    pub(crate) scanned: usize,
    pub(crate) job: Job,
    pub(crate) sessions: Vec<ScanSession>,
    pub(crate) errors: Vec<(i64, i32, String)>,
}

/// The capture job, and the agent that runs it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) running: bool,
    pub(crate) poll_seconds: i64,
    pub(crate) retention_minutes: i64,
}

/// A row of `sys.dm_cdc_log_scan_sessions`.
#[derive(Clone, Debug)]
pub(crate) struct ScanSession {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) transactions: i32,
    pub(crate) empty: i32,
    pub(crate) last_commit: Place,
}

/// A row of `cdc.lsn_time_mapping`. Without a transaction it marks that nothing happened.
#[derive(Clone, Debug)]
pub(crate) struct Time {
    pub(crate) place: Place,
    pub(crate) begin: i64,
    pub(crate) end: i64,
    pub(crate) transaction: Option<u64>,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Ddl {
    pub(crate) source: i32,
    pub(crate) instance: i32,
    pub(crate) column_update: bool,
    pub(crate) command: String,
    pub(crate) place: Place,
    pub(crate) time: i64,
}

#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) name: String,
    /// The place of the column in its table.
    pub(crate) at: usize,
    pub(crate) kind: Type,
    pub(crate) computed: bool,
}

/// A capture instance.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    pub(crate) id: i32,
    pub(crate) source: i32,
    pub(crate) name: String,
    /// Where it begins; clean-up moves it on.
    pub(crate) start: Place,
    pub(crate) role: Option<String>,
    pub(crate) net: bool,
    pub(crate) index: Option<String>,
    pub(crate) key: Vec<usize>,
    pub(crate) columns: Vec<Captured>,
    pub(crate) rows: Vec<CapturedRow>,
    pub(crate) created: i64,
}

/// A row of a change table.
#[derive(Clone, Debug)]
pub(crate) struct CapturedRow {
    pub(crate) place: Place,
    pub(crate) seqval: Place,
    pub(crate) command: i32,
    pub(crate) operation: i32,
    pub(crate) mask: Vec<u8>,
    pub(crate) values: Vec<Value>,
    pub(crate) from: u64,
    pub(crate) until: u64,
}

/// A job at work leaves a mark at least this often, whatever happens.
const MARKED_EVERY: i64 = 5 * 60 * 10_000_000;

/// What of a transaction becomes visible when the job is stopped in the midst of it. Whether a server can
/// show such a state is unknown [§5 of the notes]: its own text says that both come with one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// The rows of the change tables, not yet `cdc.lsn_time_mapping`.
    Rows,
    /// `cdc.lsn_time_mapping`, not yet the rows of the change tables.
    Times,
}

impl State {
    pub(crate) fn capture_mut(&mut self) -> Result<&mut Capture, ServerError> {
        let name = self.name.clone();
        self.capture.as_mut().ok_or_else(|| {
            ServerError::new(
                22_901,
                16,
                format!(
                    "The database '{name}' is not enabled for Change Data Capture. Ensure that the \
                     correct database context is set and retry the operation."
                ),
            )
        })
    }

    pub(crate) fn enable_capture(&mut self) {
        let scanned = self.log.len();
        self.capture.get_or_insert_with(|| Capture {
            instances: Vec::new(),
            times: Vec::new(),
            ddl: Vec::new(),
            scanned,
            job: Job {
                running: true,
                poll_seconds: 5,
                retention_minutes: 4320,
            },
            sessions: Vec::new(),
            errors: Vec::new(),
        });
    }

    /// A new instance of a table: all columns, or those named.
    pub(crate) fn enable_instance(
        &mut self,
        source: i32,
        name: Option<&str>,
        columns: Option<&[String]>,
        role: Option<&str>,
        net: Option<bool>,
    ) -> Result<String, ServerError> {
        let place = self.next_place();
        let id = self.next_object();
        let created = self.now;
        let table = self
            .tables
            .get(&source)
            .ok_or_else(|| ServerError::invalid_object("?"))?;
        let name = name.map_or_else(|| format!("{}_{}", table.schema, table.name), str::to_owned);
        let wanted = |column: &str| {
            columns.is_none_or(|all| all.iter().any(|c| super::same_name(c, column)))
        };
        if let Some(columns) = columns {
            for column in columns {
                if table.column(column).is_none() {
                    let text = format!("Column '{column}' does not exist in the source table.");
                    return Err(ServerError::new(22_911, 16, text));
                }
            }
        }
        let instance = Instance {
            id,
            source,
            name: name.clone(),
            start: place,
            role: role.map(str::to_owned),
            net: net.unwrap_or(table.primary().is_some()),
            index: table.primary().map(|index| index.name.clone()),
            key: table.key().to_vec(),
            columns: captured(table, wanted),
            rows: Vec::new(),
            created,
        };
        let key = instance.key.clone();
        if !key
            .iter()
            .all(|at| instance.columns.iter().any(|column| column.at == *at))
        {
            let text = "The columns of the key must be captured for net changes.";
            return Err(ServerError::new(22_939, 16, text));
        }
        let capture = self.capture_mut()?;
        if capture
            .instances
            .iter()
            .any(|other| super::same_name(&other.name, &name))
        {
            let text = format!(
                "Could not create a capture instance because the capture instance name '{name}' already exists in the current database."
            );
            return Err(ServerError::new(22_926, 16, text));
        }
        if capture
            .instances
            .iter()
            .filter(|other| other.source == source)
            .count()
            >= 2
        {
            let text = "Could not create a capture instance because two capture instances already exist for source table.";
            return Err(ServerError::new(22_962, 16, text));
        }
        capture.instances.push(instance);
        Ok(name)
    }

    /// Runs the capture job over at most so many transactions. Gives back how many it read. Where it found nothing
    /// to tell for long, it says so.
    pub(crate) fn run_capture(&mut self, most: usize, half: Option<Half>) -> usize {
        let Some(mut capture) = self.capture.take() else {
            return 0;
        };
        let log = std::mem::take(&mut self.log);
        let mut read = 0;
        let mut last = 0;
        if capture.job.running {
            while read < most
                && let Some(committed) = log.get(capture.scanned)
            {
                self.seq += 1;
                capture.take(self, committed, half);
                last = committed.place;
                read += 1;
                if half.is_some() {
                    // The other half comes with the next run.
                    break;
                }
                capture.scanned += 1;
            }
            capture.sessions.push(ScanSession {
                start: self.now,
                end: self.now,
                transactions: i32::try_from(read).unwrap_or(i32::MAX),
                empty: i32::from(read == 0),
                last_commit: last,
            });
        }
        let newest = capture.times.iter().map(|time| time.end).max();
        let is_quiet = newest.is_some_and(|end| self.now - end >= MARKED_EVERY);
        let is_through = half.is_none() && capture.scanned == log.len();
        let marks = capture.job.running && is_quiet && is_through;
        self.log = log;
        self.capture = Some(capture);
        if marks {
            // Only where nothing is captured there is nowhere to leave it.
            let _ = self.idle_marker();
        }
        read
    }

    /// The job writes that it found nothing, as it does from time to time.
    pub(crate) fn idle_marker(&mut self) -> Result<Place, ServerError> {
        let place = self.next_place();
        self.seq += 1;
        let (seq, now) = (self.seq, self.now);
        let capture = self.capture_mut()?;
        let time = Time {
            place,
            begin: now,
            end: now,
            transaction: None,
            from: seq,
            until: u64::MAX,
        };
        capture.times.push(time);
        Ok(place)
    }

    /// Forgets the rows of an instance below a place and moves its beginning there, then the times that no
    /// instance needs.
    pub(crate) fn capture_cleanup(&mut self, name: &str, below: Place) -> Result<(), ServerError> {
        self.seq += 1;
        let seq = self.seq;
        let capture = self.capture_mut()?;
        let instance = capture
            .instances
            .iter_mut()
            .find(|instance| super::same_name(&instance.name, name))
            .ok_or_else(|| {
                ServerError::new(
                    22_964,
                    16,
                    format!("Capture instance '{name}' was not found."),
                )
            })?;
        for row in &mut instance.rows {
            if row.place < below && row.until == u64::MAX {
                row.until = seq;
            }
        }
        instance.start = instance.start.max(below);
        let lowest = capture
            .instances
            .iter()
            .map(|instance| instance.start)
            .min()
            .unwrap_or(0);
        for time in &mut capture.times {
            if time.place < lowest && time.until == u64::MAX {
                time.until = seq;
            }
        }
        Ok(())
    }

    pub(crate) fn instance(&self, name: &str) -> Option<&Instance> {
        self.capture
            .as_ref()?
            .instances
            .iter()
            .find(|i| super::same_name(&i.name, name))
    }

    /// The newest place of the times that was not cleaned away.
    pub(crate) fn max_lsn(&self, seen: impl Fn(&Time) -> bool) -> Option<Place> {
        self.capture
            .as_ref()?
            .times
            .iter()
            .filter(|time| seen(time))
            .map(|time| time.place)
            .max()
    }
}

fn captured(table: &Table, wanted: impl Fn(&str) -> bool) -> Vec<Captured> {
    let of = table.columns.iter().enumerate();
    of.filter(|(_, column)| !column.dropped && wanted(&column.name))
        .map(|(at, column)| Captured {
            name: column.name.clone(),
            at,
            kind: column.kind.clone(),
            computed: column.computed.is_some(),
        })
        .collect()
}

impl Capture {
    fn take(&mut self, state: &State, committed: &Committed, half: Option<Half>) {
        let told = |instance: &Instance| committed.place >= instance.start;
        let touches = committed.changes.iter().any(|(_, change)| {
            self.instances
                .iter()
                .any(|instance| instance.source == change.table && told(instance))
        });
        if !touches {
            return;
        }
        let has_time = self
            .times
            .iter()
            .rev()
            .take(32)
            .any(|time| time.place == committed.place);
        if half != Some(Half::Rows) && !has_time {
            self.times.push(Time {
                place: committed.place,
                begin: committed.begin,
                end: committed.end,
                transaction: Some(committed.transaction),
                from: state.seq,
                until: u64::MAX,
            });
        }
        if half == Some(Half::Times) {
            return;
        }
        for instance in &mut self.instances {
            if committed.place < instance.start
                || instance
                    .rows
                    .last()
                    .is_some_and(|row| row.place == committed.place)
            {
                continue;
            }
            let mut rows = Vec::new();
            for (seqval, change) in &committed.changes {
                if change.table != instance.source {
                    continue;
                }
                for (operation, mask, values) in instance.rows_of(state, &change.what) {
                    rows.push(CapturedRow {
                        place: committed.place,
                        seqval: *seqval,
                        command: change.command,
                        operation,
                        mask,
                        values,
                        from: state.seq,
                        until: u64::MAX,
                    });
                }
            }
            instance.rows.extend(rows);
        }
    }
}
