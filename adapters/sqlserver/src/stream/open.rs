//! Opens the stream: which database this is, how each table is told, and from where.

use std::sync::Arc;

use contract::{CapturedTable, Resume, SourceError, TableName};
use tokio::time::Instant;

use crate::errors::lost;
use crate::mode;
use crate::place::Place;
use crate::probe::{self, Known};
use crate::session::Line;
use crate::settings::{Mode, Settings};
use crate::untold::Standing;

use super::heads::{Heads, Needed};
use super::life::{Life, Lives, reborn};
use super::page::Trouble;
use super::shared::{Shared, lock};
use super::start::{self, Start};
use super::table::{self, Found, From, Reader, Watched, mode_before, without_marks};
use super::watch::routine;
use super::worker::{Resumed, Worker};
use super::{Stream, Tuning};

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

    /// What there is to say of a stream that said this.
    fn against(&self, server: &str) -> Compared {
        let before = server.lines().next().unwrap_or_default();
        let rest = before.strip_prefix("SQL Server recovery fork ");
        let Some((fork, name)) = rest.and_then(|rest| rest.split_once(" of database ")) else {
            return Compared::Same;
        };
        let is_named = name == format!("{:?}", self.name);
        match &self.fork {
            Some(now) if fork != "unknown" && now == fork => Compared::Same,
            Some(_) if fork != "unknown" => Compared::Other,
            _ if !is_named => Compared::Other,
            None if fork != "unknown" => Compared::Unsure,
            _ => Compared::Same,
        }
    }
}

/// Whether this is the database that a stream told of, in the same life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compared {
    Same,
    Other,
    /// Its life could be seen then and cannot be now: it may have been restored.
    Unsure,
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
    line.silence_max(tuning.silence);
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
    let compared = match before.filter(|_| from.after.is_some()) {
        Some(before) => identity.against(before),
        None => Compared::Same,
    };
    if let Some(before) = before
        && compared == Compared::Other
    {
        let was = before.lines().next().unwrap_or_default();
        return Err(lost(format!(
            "this is another database, or it was restored, or a failover began another recovery fork: it is {}, \
             and we have read {was}",
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
    let lives = if needed.tracking {
        Lives::read(session).await?
    } else {
        Known::Is(Lives::default())
    };
    shared.open(needed);
    let told = place.map_or_else(Heads::default, |place| Heads {
        lsn: place.lsn,
        version: place.version,
        rowversion: place.rowversion,
    });
    let now = Heads::take(session, needed, told).await?;

    let start = if let Some(place) = place {
        Start::resume(place, seq, told)
    } else {
        let named = start::named(session, settings, needed.cdc, found.offset_minutes, now.lsn);
        Start::first(Heads {
            lsn: named.await?,
            ..now
        })
    };
    // What is stored already: a look need not wait for the first batch.
    *lock(&shared.reached) = place;
    let mut tables = Vec::with_capacity(chosen.len());
    let mut all_kept = true;
    for (captured, choice) in chosen {
        let mut watched = Watched {
            captured,
            mode: None,
            reader: Reader::Nothing,
        };
        if compared == Compared::Unsure {
            let what = format!(
                "our user cannot see the database's recovery fork any more: table {} is read again, for nobody \
                 knows whether the database was restored",
                watched.table()
            );
            let hint =
                "GRANT VIEW ANY DATABASE TO <login>, on each server that may have the database";
            standing.unclear(watched.table(), what, hint.to_owned());
        }
        if let Some((described, mode)) = choice {
            let was = before.and_then(|before| mode_before(before, watched.table()));
            // One that we did not know is read from its first row anyway.
            let changed = place.is_some() && was.is_some_and(|was| was != mode.name());
            let is_new = place.is_some() && before.is_some() && was.is_none();
            let lives = lives.known().filter(|_| mode == Mode::Tracking);
            let life = lives.and_then(|lives| lives.of(described.object_id));
            let lived = before.and_then(|before| Life::before(before, watched.table()));
            // Where it cannot be seen any more, nobody knows; said once, for what is said now has none.
            let is_reborn = place.is_some()
                && mode == Mode::Tracking
                && !changed
                && lived.is_some()
                && lived != life;
            let from = if changed || is_new || is_reborn {
                all_kept &= is_reborn;
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
            if mode == Mode::Tracking && life.is_none() {
                unseen(watched.table());
            }
            if is_reborn {
                let hint = "nothing, if that was meant".to_owned();
                standing.unclear(watched.table(), reborn(watched.table()), hint);
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
                life,
            );
            match opening.await {
                Ok((reader, gap)) => {
                    watched.mode = Some(mode);
                    watched.reader = reader;
                    match gap {
                        Some(gap) if place.is_some() => {
                            all_kept = false;
                            standing.unclear(watched.table(), gap, super::GAP_HINT.to_owned());
                        }
                        // A place that a person named.
                        Some(gap) if settings.start.is_some() => {
                            return Err(start::too_early(&gap));
                        }
                        // An instance that was made a moment ago begins behind the end of the log.
                        Some(_) | None => {}
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
                standing.routine(watched.table(), routine(watched.table(), mode));
            }
            if let Some(limits) = mode::limits(mode) {
                tracing::info!(code = "capture.mode",
                    stage = "capture", table = %watched.table(), mode = mode.name(), limits,
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
        drop: all_kept
            && before.is_none_or(|before| without_marks(before) == without_marks(&server)),
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

/// A right on the table shows it, says Microsoft: this is not to be expected.
fn unseen(table: &TableName) {
    tracing::warn!(code = "capture.table_hidden", stage = "capture", table = %table,
        hint = "GRANT VIEW DEFINITION ON the table; after a TRUNCATE, or tracking off and on: lighterman source \
                resync --table ..",
        "sys.change_tracking_tables does not show the table to our user: whether it was emptied is only seen by \
         its lowest valid version");
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
        assert_eq!(one.against(&one.line()), Compared::Same);
        assert_eq!(
            identity("renamed", Some("a")).against(&one.line()),
            Compared::Same
        );
        assert_eq!(
            identity("ERP", Some("b")).against(&one.line()),
            Compared::Other
        );
        // Where one of the two is not known, the name is what there is.
        let hidden = identity("ERP", None);
        assert_eq!(hidden.against(&one.line()), Compared::Unsure);
        assert_eq!(hidden.against(&hidden.line()), Compared::Same);
        assert_eq!(one.against(&hidden.line()), Compared::Same);
        assert_eq!(
            identity("other", Some("a")).against(&hidden.line()),
            Compared::Other
        );
        assert_eq!(
            identity("other", None).against(&one.line()),
            Compared::Other
        );
        assert_eq!(one.against("something else"), Compared::Same);
    }
}
