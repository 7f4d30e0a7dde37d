//! Facts that were told. A state that is read again is known by its key; a fact only by having been
//! told, so that is remembered for as long as the source is known.

use contract::event::digest;
use contract::{Event, EventOp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::enqueue::Enqueue;
use crate::error::StoreError;

/// What of a fact was told before.
pub(crate) enum Told {
    /// Nothing, or this is a correction of it.
    New,
    /// The same, or what nobody can compare any more.
    Same,
    /// Its row says something else now: it was changed while nobody looked.
    Other,
}

/// Remembers that a fact is told, and says what of it was before.
pub(crate) fn told(desk: &Enqueue<'_>, event: &Event) -> Result<Told, StoreError> {
    let Some(id) = event.fact_id().and_then(|id| id.bytes()) else {
        return Ok(Told::New);
    };
    let (db, source) = (desk.db, desk.source);
    let generation = desk.generation(&event.envelope.mapping.rule)?;
    let says = digest_of(event);
    let known: Option<(Option<Vec<u8>>, i64)> = db
        .prepare_cached("SELECT digest, generation FROM fact WHERE source = ?1 AND id = ?2")?
        .query_row(params![source, id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let told = match known {
        None => Told::New,
        // Also a correction that corrects nothing: a row rewritten while its table is read.
        Some((digest, _)) if digest.as_deref() == Some(says.as_slice()) => Told::Same,
        Some(_) if event.envelope.op == EventOp::Correction => Told::New,
        // Another form of the rule may say other things of the same row: that is no correction.
        Some((digest, told_by)) if told_by != generation || digest.is_none() => Told::Same,
        Some(_) => Told::Other,
    };
    remember(db, source, id, says, generation)?;
    Ok(told)
}

fn remember(
    db: &Connection,
    source: i64,
    id: [u8; 16],
    says: [u8; 8],
    generation: i64,
) -> Result<(), StoreError> {
    db.prepare_cached(
        "INSERT INTO fact (source, id, digest, generation) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET digest = excluded.digest, generation = excluded.generation",
    )?
    .execute(params![source, id, says, generation])?;
    Ok(())
}

/// Eight bytes of what a fact says: enough to see that it says something else.
fn digest_of(event: &Event) -> [u8; 8] {
    let text = digest(&[&event.body_digest]);
    let head = u64::from_str_radix(text.get(..16).unwrap_or("0"), 16).unwrap_or(0);
    head.to_be_bytes()
}
