//! Opens the stream: which database this is, how each table is told, and from where.

use std::sync::Arc;

use contract::{CapturedTable, Resume, SourceError};
use tokio::time::Instant;

use crate::errors::lost;
use crate::lsn::Lsn;
use crate::mode;
use crate::place::{Phase, Place};
use crate::probe::{self, Known};
use crate::session::Line;
use crate::settings::{Mode, Settings, StartAt};
use crate::untold::Standing;

use super::heads::{Heads, Needed};
use super::page::Trouble;
use super::table::{self, Found, From, Reader, Watched, mode_before, without_lows};
use super::{Resumed, Shared, Stream, Tuning, Worker};

/// A table that failed is tried again after so long.
pub(super) const TRY_AGAIN: std::time::Duration = std::time::Duration::from_mins(1);

/// Which database this is, and which life of it, in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    name: String,
    /// `None` = our user may not know.
    fork: Option<String>,
}

impl Identity {
    fn line(&self) -> String {
        let fork = self.fork.as_deref().unwrap_or("unknown");
        format!(
            "SQL Server recovery fork {fork} of database {:?}",
            self.name
        )
    }

    /// Whether a stream that said this told of another database, or of another life of it.
    fn differs(&self, server: &str) -> bool {
        let Some(before) = server.lines().next() else {
            return false;
        };
        let rest = before.strip_prefix("SQL Server recovery fork ");
        let Some((fork, name)) = rest.and_then(|rest| rest.split_once(" of database ")) else {
            return false;
        };
        match &self.fork {
            Some(now) if fork != "unknown" => now != fork,
            _ => name != format!("{:?}", self.name),
        }
    }
}

/// Opens the stream behind what is stored.
pub(crate) async fn open(
    settings: &Settings,
    captured: &[CapturedTable],
    from: &Resume,
    shared: &Shared,
    tuning: Tuning,
) -> Result<Stream, SourceError> {
    let mut line = Line::new(settings);
    let (session, _) = line.session().await?;
    let found = Found::read(session).await?;
    let fork = probe::fork(session).await?;
    let identity = Identity {
        name: found.database.name.clone(),
        fork: fork.known().cloned().flatten(),
    };
    if let Known::Unknown(why) = &fork {
        tracing::debug!(
            stage = "capture",
            why,
            "whether the database was restored cannot be asked"
        );
    }
    let before = from.server.as_deref();
    if from.after.is_some()
        && let Some(before) = before
        && identity.differs(before)
    {
        let was = before.lines().next().unwrap_or_default();
        return Err(lost(format!(
            "this is another database, or it was restored: it is {}, and we have read {was}",
            identity.line()
        )));
    }
    let place = from.after.as_ref().map(Place::parse).transpose()?;
    let seq = from.after.as_ref().map_or(0, |after| after.seq);

    let mut captured = captured.to_vec();
    captured.sort_by(|a, b| a.table.cmp(&b.table));
    captured.dedup_by(|a, b| a.table == b.table);
    let mut standing = Standing::default();
    let mut chosen = Vec::with_capacity(captured.len());
    for captured in captured {
        let failed = shared.failed(&captured.table);
        let choice = match failed {
            Some(unfit) => Err(unfit),
            None => found.choose(session, settings, &captured).await?,
        };
        if let Err(unfit) = &choice {
            if place.is_none() {
                return Err(crate::errors::denied(
                    unfit.what.clone(),
                    unfit.hint.clone(),
                ));
            }
            standing.lasting(&captured.table, unfit.what.clone(), unfit.hint.clone());
        }
        chosen.push((captured, choice.ok()));
    }
    let uses = |mode: Mode| {
        let mut modes = chosen
            .iter()
            .filter_map(|(_, choice)| Some(choice.as_ref()?.1));
        modes.any(|one| one == mode)
    };
    let needed = Needed {
        cdc: uses(Mode::Cdc) || uses(Mode::CdcFunction),
        cdc_tables: uses(Mode::Cdc),
        tracking: uses(Mode::Tracking),
        rowversion: uses(Mode::Rowversion),
    };
    let told = place.map_or_else(Heads::default, |place| Heads {
        lsn: place.lsn,
        version: place.version,
        rowversion: place.rowversion,
    });
    let now = Heads::take(session, needed, told).await?;

    let start = if let Some(place) = place {
        Start::resume(place, seq, told)
    } else {
        let mut heads = now;
        match settings.start {
            Some(StartAt::Behind(lsn)) => heads.lsn = Lsn(lsn),
            Some(StartAt::Time(time)) => {
                let at = table::lsn_at(session, time, found.offset_minutes).await?;
                heads.lsn = at.unwrap_or(heads.lsn);
            }
            None => {}
        }
        Start::first(heads)
    };
    let mut tables = Vec::with_capacity(chosen.len());
    let mut all_kept = true;
    for (captured, choice) in chosen {
        let mut watched = Watched {
            captured,
            mode: None,
            reader: Reader::Nothing,
        };
        if let Some((described, mode)) = choice {
            let was = before.and_then(|before| mode_before(before, watched.table()));
            // One that we did not know is read from its first row anyway.
            let changed = place.is_some() && was.is_some_and(|was| was != mode.name());
            let is_new = place.is_some() && before.is_some() && was.is_none();
            let from = if changed || is_new {
                all_kept = false;
                From {
                    told: now,
                    told_before: false,
                }
            } else {
                start.from
            };
            if changed {
                let what = format!(
                    "table {} is told by {} now, and was by {}: it is read again",
                    watched.table(),
                    mode.name(),
                    was.unwrap_or_default()
                );
                let hint = "nothing, if that was meant".to_owned();
                standing.unclear(watched.table(), what, hint);
            }
            let opening = table::open(
                session,
                &found,
                &described,
                &watched.captured,
                mode,
                tuning.page_rows,
                from,
                before,
            );
            match opening.await {
                Ok((reader, gap)) => {
                    watched.mode = Some(mode);
                    watched.reader = reader;
                    if let Some(gap) = gap.filter(|_| place.is_some()) {
                        all_kept = false;
                        standing.unclear(watched.table(), gap, super::GAP_HINT.to_owned());
                    }
                }
                Err(Trouble::Table(error)) if place.is_some() => {
                    let hint = error.hint().unwrap_or_default().to_owned();
                    standing.lasting(watched.table(), error.to_string(), hint);
                }
                Err(trouble) => return Err(trouble.error()),
            }
            if mode::is_compared(mode) && shared.is_due(watched.table(), settings, place.is_some())
            {
                standing.routine(watched.table(), super::routine(watched.table(), mode));
            }
            if let Some(limits) = mode::limits(mode) {
                tracing::info!(stage = "capture", table = %watched.table(), mode = mode.name(), limits,
                    "how the table's changes are learned");
            }
        }
        tables.push(watched);
    }
    let lines = tables.iter().map(Watched::line);
    let server: Vec<String> = std::iter::once(identity.line()).chain(lines).collect();
    let server = server.join("\n");
    let resumed = start.resumed.map(|lsn| Resumed {
        lsn,
        seq,
        // What is captured does not change: the same rows come in the same order, from the same instances.
        // Where nobody said which they were, nothing speaks against it.
        drop: all_kept && before.is_none_or(|before| without_lows(before) == without_lows(&server)),
    });
    let border = Place {
        cycles: start.cycles,
        lsn: start.border.lsn,
        version: start.border.version,
        rowversion: start.border.rowversion,
        ..Place::default()
    };
    shared.cycles.open(border);
    let now = Instant::now();
    let worker = Worker {
        epoch: from.epoch,
        settings: settings.clone(),
        line,
        tables,
        needed,
        shared: shared.clone(),
        tuning,
        standing,
        cycles: start.cycles,
        told: start.border,
        handed: place.unwrap_or(border),
        inside: seq > 0,
        handed_at: now,
        is_first: place.is_none(),
        resumed,
        skip: 0,
        cycle: None,
        polled_at: None,
        looked_at: now,
    };
    Ok(Stream::new(worker, server, Arc::clone(&shared.reached)))
}

/// Where reading goes on.
struct Start {
    cycles: u64,
    /// What the cycles before came to, as the positions of this one have it.
    border: Heads,
    from: From,
    /// The transaction that was told in part.
    resumed: Option<Lsn>,
}

impl Start {
    fn first(heads: Heads) -> Self {
        Self {
            cycles: 0,
            border: heads,
            from: From {
                told: heads,
                told_before: false,
            },
            resumed: None,
        }
    }

    fn resume(place: Place, seq: u32, told: Heads) -> Self {
        let mut from = From {
            told,
            told_before: false,
        };
        let inside = seq > 0;
        let mut resumed = None;
        let mut cycles = place.cycles;
        match place.phase {
            Phase::Border => {}
            Phase::Cdc => {
                if inside {
                    from.told.lsn = place.lsn.before();
                    resumed = Some(place.lsn);
                }
            }
            // Rows may have left what was told in part: it is told again, in a cycle of its own. So is what
            // was captured meanwhile, which would stand before what is told of this one.
            Phase::Tracking | Phase::Rowversion => {
                cycles += 1;
                if inside && place.phase == Phase::Tracking {
                    from.told.version = place.version.saturating_sub(1);
                    from.told_before = true;
                }
                if inside && place.phase == Phase::Rowversion {
                    from.told.rowversion = place.rowversion.saturating_sub(1);
                }
            }
        }
        Self {
            cycles,
            border: told,
            from,
            resumed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_life_of_the_database_is_another_database() {
        let identity = |name: &str, fork: Option<&str>| Identity {
            name: name.to_owned(),
            fork: fork.map(str::to_owned),
        };
        let one = identity("ERP", Some("a"));
        assert!(!one.differs(&one.line()));
        assert!(!identity("renamed", Some("a")).differs(&one.line()));
        assert!(identity("ERP", Some("b")).differs(&one.line()));
        // Where one of the two is not known, the name is what there is.
        assert!(!identity("ERP", None).differs(&one.line()));
        assert!(identity("other", Some("a")).differs(&identity("ERP", None).line()));
        assert!(!one.differs("something else"));
    }
}
