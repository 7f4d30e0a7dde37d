//! Rows of deliveries and of the outbox as the contract's values.

use bytes::Bytes;
use contract::delivery::{DeliveryState, HeldCause, StateName};
use contract::event::digest;
use contract::{EventOp, Outgoing, Taken};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::StoreError;
use crate::from_millis;

/// The columns that [`state_of`] reads.
pub(super) fn state_of(row: &Row<'_>) -> rusqlite::Result<Option<DeliveryState>> {
    let name: String = row.get("state")?;
    let due: Option<i64> = row.get("due_at")?;
    let moment = due.map_or(Timestamp::MIN, from_millis);
    let until: Option<i64> = row.get("until_at")?;
    let ticket: Option<String> = row.get("ticket")?;
    let cause: Option<String> = row.get("held_cause")?;
    let Some(name) = StateName::ALL
        .into_iter()
        .find(|state| state.name() == name)
    else {
        return Ok(None);
    };
    Ok(Some(match name {
        StateName::Queued => DeliveryState::Queued,
        StateName::Sending => DeliveryState::Sending { deadline: moment },
        StateName::Unknown => DeliveryState::Unknown { deadline: moment },
        StateName::Accepted => DeliveryState::Accepted {
            ticket: ticket.unwrap_or_default(),
            due: moment,
            until: until.map_or(Timestamp::MAX, from_millis),
        },
        StateName::Backoff => DeliveryState::Backoff { due: moment },
        StateName::Held => {
            let known = HeldCause::ALL
                .into_iter()
                .find(|c| Some(c.name()) == cause.as_deref());
            DeliveryState::Held {
                cause: known.unwrap_or(HeldCause::Ambiguous),
            }
        }
        StateName::Delivered => DeliveryState::Delivered,
        StateName::Superseded => DeliveryState::Superseded,
        StateName::Discarded => DeliveryState::Discarded,
    }))
}

/// The columns of an event on its way out: of `delivery d`, `outbox o` and `source s`.
pub(super) const OUTGOING: &str = "d.offset, d.attempt, o.event_id, o.event_type, o.key, o.op,
  o.idempotency_key, o.tenant, o.occurred_at, o.digest, o.json, s.name AS source";

/// An event on its way out, checked against what was written.
pub(super) fn outgoing(row: &Row<'_>) -> Result<Outgoing, StoreError> {
    let json: String = row.get("json")?;
    let written: String = row.get("digest")?;
    if digest(&[&json]) != written {
        return Err(StoreError::Invariant(
            "an outbox event changed on disk".to_owned(),
        ));
    }
    let event_type: String = row.get("event_type")?;
    let op: String = row.get("op")?;
    let unknown = || StoreError::Invariant("an outbox event has an unknown type".to_owned());
    let tenant: String = row.get("tenant")?;
    let source: String = row.get("source")?;
    Ok(Outgoing {
        offset: row.get("offset")?,
        id: row.get("event_id")?,
        event_type: event_type.parse().map_err(|()| unknown())?,
        key: row.get("key")?,
        op: match op.as_str() {
            "upsert" => EventOp::Upsert,
            "delete" => EventOp::Delete,
            "fact" => EventOp::Fact,
            "correction" => EventOp::Correction,
            _ => return Err(unknown()),
        },
        idempotency_key: row.get("idempotency_key")?,
        origin: format!("{tenant}/{source}"),
        occurred_at: from_millis(row.get("occurred_at")?),
        attempt: row.get::<_, u32>("attempt")? + 1,
        json: Bytes::from(json),
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
            let ticket: Option<String> = row.get("ticket")?;
            Ok(Taken {
                outgoing,
                ticket: ticket.unwrap_or_default(),
            })
        }))
    })
    .optional()?
    .transpose()
}
