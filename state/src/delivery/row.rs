//! Rows of deliveries and of the outbox as the contract's values.

use bytes::Bytes;
use contract::delivery::{DeliveryState, HeldCause, StateName};
use contract::event::digest;
use contract::{EventOp, Outgoing, Taken};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::DeliveredNow;
use crate::error::StoreError;
use crate::from_millis;

/// A delivery as it stands.
pub(super) struct Standing {
    pub(super) state: DeliveryState,
    pub(super) kind: i64,
    pub(super) lane: i64,
    pub(super) tombstone: bool,
    pub(super) attempt: i64,
    pub(super) failing_since: Option<i64>,
    pub(super) measure: Option<String>,
    pub(super) updated_at: i64,
    pub(super) priority: i64,
}

/// A delivery as it stands: [`standing_in`] reads the columns by their places.
pub(super) const STANDING: &str = "SELECT state, due_at, until_at, ticket, held_cause, kind, lane,
    tombstone, attempt, failing_since, measure, updated_at, priority
  FROM delivery WHERE destination = ?1 AND offset = ?2";

pub(super) fn standing_in(row: &Row<'_>) -> rusqlite::Result<Option<Standing>> {
    let Some(state) = state_of(row)? else {
        return Ok(None);
    };
    Ok(Some(Standing {
        state,
        kind: row.get(5)?,
        lane: row.get(6)?,
        tombstone: row.get(7)?,
        attempt: row.get(8)?,
        failing_since: row.get(9)?,
        measure: row.get(10)?,
        updated_at: row.get(11)?,
        priority: row.get(12)?,
    }))
}

/// What a destination is told by a delivery; none where the event is gone.
pub(super) fn delivered(db: &Connection, offset: i64) -> Result<Option<DeliveredNow>, StoreError> {
    let found = db
        .prepare_cached("SELECT event_type, occurred_at FROM outbox WHERE offset = ?1")?
        .query_row([offset], |row| {
            let event_type = row.get_ref(0)?.as_str()?.parse();
            Ok(event_type.ok().map(|event_type| (event_type, row.get(1))))
        })
        .optional()?;
    let Some((event_type, occurred_at)) = found.flatten() else {
        return Ok(None);
    };
    Ok(Some(DeliveredNow {
        event_type,
        occurred_at: from_millis(occurred_at?),
    }))
}

fn state_of(row: &Row<'_>) -> rusqlite::Result<Option<DeliveryState>> {
    let state = row.get_ref(0)?.as_str()?;
    let due: Option<i64> = row.get(1)?;
    let moment = due.map_or(Timestamp::MIN, from_millis);
    let Some(name) = StateName::ALL
        .into_iter()
        .find(|known| known.name() == state)
    else {
        return Ok(None);
    };
    Ok(Some(match name {
        StateName::Queued => DeliveryState::Queued,
        StateName::Sending => DeliveryState::Sending { deadline: moment },
        StateName::Unknown => DeliveryState::Unknown { deadline: moment },
        StateName::Accepted => {
            let until: Option<i64> = row.get(2)?;
            let ticket: Option<String> = row.get(3)?;
            DeliveryState::Accepted {
                ticket: ticket.unwrap_or_default(),
                due: moment,
                until: until.map_or(Timestamp::MAX, from_millis),
            }
        }
        StateName::Backoff => DeliveryState::Backoff { due: moment },
        StateName::Held => {
            let cause = row.get_ref(4)?.as_str_or_null()?;
            let known = HeldCause::ALL.into_iter().find(|c| Some(c.name()) == cause);
            DeliveryState::Held {
                cause: known.unwrap_or(HeldCause::Ambiguous),
            }
        }
        StateName::Delivered => DeliveryState::Delivered,
        StateName::Superseded => DeliveryState::Superseded,
        StateName::Discarded => DeliveryState::Discarded,
    }))
}

/// The columns of an event on its way out, in the places where [`outgoing`] looks for them: of `delivery d`,
/// `outbox o` and `source s`.
pub(super) const OUTGOING: &str = "d.offset, d.attempt, o.event_id, o.event_type, o.key, o.op,
  o.idempotency_key, o.tenant, o.occurred_at, o.digest, o.json, s.name";
/// So many columns those are.
pub(super) const OUTGOING_COLUMNS: usize = 12;

/// An event on its way out, checked against what was written.
pub(super) fn outgoing(row: &Row<'_>) -> Result<Outgoing, StoreError> {
    let text = |column| -> Result<&str, StoreError> {
        Ok(row
            .get_ref(column)?
            .as_str()
            .map_err(rusqlite::Error::from)?)
    };
    let json = text(10)?;
    if digest(&[json]) != text(9)? {
        return Err(StoreError::Invariant(
            "an outbox event changed on disk".to_owned(),
        ));
    }
    let unknown = || StoreError::Invariant("an outbox event has an unknown type".to_owned());
    Ok(Outgoing {
        offset: row.get(0)?,
        attempt: row.get::<_, u32>(1)? + 1,
        id: row.get(2)?,
        event_type: text(3)?.parse().map_err(|()| unknown())?,
        key: row.get(4)?,
        op: match text(5)? {
            "upsert" => EventOp::Upsert,
            "delete" => EventOp::Delete,
            "fact" => EventOp::Fact,
            "correction" => EventOp::Correction,
            _ => return Err(unknown()),
        },
        idempotency_key: row.get(6)?,
        origin: format!("{}/{}", text(7)?, text(11)?),
        occurred_at: from_millis(row.get(8)?),
        json: Bytes::copy_from_slice(json.as_bytes()),
    })
}

/// A delivery's event, and its ticket where the API gave one.
pub(super) fn taken(
    db: &Connection,
    destination: i64,
    offset: i64,
) -> Result<Option<Taken>, StoreError> {
    db.prepare_cached(&format!(
        "SELECT {OUTGOING}, d.ticket FROM delivery d JOIN outbox o ON o.offset = d.offset
           JOIN source s ON s.id = o.source WHERE d.destination = ?1 AND d.offset = ?2"
    ))?
    .query_row(params![destination, offset], |row| {
        Ok(outgoing(row).and_then(|mut outgoing| {
            // It is asked about, not sent again.
            outgoing.attempt = outgoing.attempt.saturating_sub(1).max(1);
            let ticket: Option<String> = row.get(OUTGOING_COLUMNS)?;
            Ok(Taken {
                outgoing,
                ticket: ticket.unwrap_or_default(),
            })
        }))
    })
    .optional()?
    .transpose()
}
