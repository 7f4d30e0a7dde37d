//! Where reading begins, and where it goes on.

use contract::SourceError;
use jiff::Timestamp;

use crate::errors::denied;
use crate::lsn::Lsn;
use crate::place::{Phase, Place};
use crate::session::{Parameter, Session};
use crate::settings::{Settings, StartAt};

use super::heads::Heads;
use super::table::From;

/// Tables are read whole at first: only history is missing.
const LATER: &str =
    "set start to a later place, or leave it out: tables are read whole in any case";

/// Where reading goes on.
pub(super) struct Start {
    pub(super) cycles: u64,
    /// What the cycles before came to, as the positions of this one have it.
    pub(super) border: Heads,
    pub(super) from: From,
    /// The transaction that was told in part.
    pub(super) resumed: Option<Lsn>,
}

impl Start {
    pub(super) fn first(heads: Heads) -> Self {
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

    pub(super) fn resume(place: Place, seq: u32, told: Heads) -> Self {
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

/// Behind which place in the log the first capture begins: the end of it, unless a person named another.
///
/// # Errors
/// [`SourceError::Denied`] when that is none that change data capture can tell from.
pub(super) async fn named(
    session: &mut Session,
    settings: &Settings,
    captures: bool,
    offset_minutes: i64,
    end: Lsn,
) -> Result<Lsn, SourceError> {
    let Some(start) = settings.start else {
        return Ok(end);
    };
    if !captures {
        tracing::warn!(
            code = "settings.start_without_effect",
            stage = "capture",
            hint = "leave it out",
            "start has no effect: no table is captured by change data capture"
        );
        return Ok(end);
    }
    match start {
        StartAt::Behind(lsn) if Lsn(lsn) > end => Err(denied(
            format!(
                "start is LSN {}, and the newest captured one is {end}",
                Lsn(lsn)
            ),
            "set start to a place that was captured, or leave it out to begin at the end of the log",
        )),
        StartAt::Behind(lsn) => Ok(Lsn(lsn)),
        StartAt::Time(time) => {
            let around = around(session, time, offset_minutes).await?;
            if around.before.is_none() {
                return Err(too_early(&format!(
                    "nothing is captured from before {time}: the server removed it, or its capture began later"
                )));
            }
            Ok(around.from.map_or(end, Lsn::before))
        }
    }
}

/// What a person named lies before what a table's instance has.
pub(super) fn too_early(why: &str) -> SourceError {
    denied(
        format!("start is earlier than change data capture reaches: {why}"),
        LATER,
    )
}

/// The captured transactions around a time.
struct Around {
    /// The last one before it.
    before: Option<Lsn>,
    /// The first one of then or later.
    from: Option<Lsn>,
}

async fn around(
    session: &mut Session,
    time: Timestamp,
    offset_minutes: i64,
) -> Result<Around, SourceError> {
    let doing = "find where to start";
    let ahead = jiff::SignedDuration::from_mins(offset_minutes);
    let local = time
        .checked_add(ahead)
        .map_err(|error| SourceError::Malformed(format!("{doing}: {error}")))?;
    let local = jiff::tz::TimeZone::UTC.to_datetime(local);
    let millis = local.strftime("%Y-%m-%dT%H:%M:%S%.3f").to_string();
    let sql = "SELECT sys.fn_cdc_map_time_to_lsn(N'smallest greater than or equal', CAST(@P1 AS datetime)), \
         sys.fn_cdc_map_time_to_lsn(N'largest less than', CAST(@P1 AS datetime))";
    let row = session.one(doing, sql, &[Parameter::Text(millis)]).await?;
    let lsn = |at| -> Result<Option<Lsn>, SourceError> {
        let lsn = row.array(doing, at)?.map(Lsn);
        Ok(lsn.filter(|lsn| !lsn.is_zero()))
    };
    Ok(Around {
        from: lsn(0)?,
        before: lsn(1)?,
    })
}
