//! Held items page by page, each through an index: what it costs goes by what is looked at, not by how much is held.

use contract::delivery::HeldCause;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::held::{
    self, CHANGES, DELIVERY, HeldEntry, HeldFilter, IS_HELD, MAPPING, change, delivery,
};

/// Items of a page.
const PAGE: usize = 200;

/// Goes through what fits and looks at no more than `most` items: whether that was all, or enough.
pub(crate) fn walk(
    db: &Connection,
    which: &HeldFilter,
    most: usize,
    mut take: impl FnMut(HeldEntry) -> bool,
) -> Result<bool, StoreError> {
    if !which.ids.is_empty() {
        for entry in named(db, &which.ids)? {
            if which.takes(&entry) && !take(entry) {
                break;
            }
        }
        return Ok(true);
    }
    let fits = |wanted: &Option<String>, name: &str| wanted.as_deref().is_none_or(|w| w == name);
    let mut left = most;
    if fits(&which.by, MAPPING) && fits(&which.cause, MAPPING) {
        let page = |after| changes(db, after, i64::MAX, PAGE);
        match through(page, which, &mut left, &mut take)? {
            Walked::All => {}
            Walked::Enough => return Ok(true),
            Walked::Cut => return Ok(false),
        }
    }
    if which.cause.as_deref() == Some(MAPPING) {
        return Ok(true);
    }
    for destination in held::destinations(db)? {
        let mut name = db.prepare_cached("SELECT name FROM destination WHERE id = ?1")?;
        let name: String = name.query_row([destination], |row| row.get(0))?;
        if !fits(&which.by, &name) {
            continue;
        }
        let page = |after| deliveries(db, destination, which, (after, i64::MAX), PAGE);
        match through(page, which, &mut left, &mut take)? {
            Walked::All => {}
            Walked::Enough => return Ok(true),
            Walked::Cut => return Ok(false),
        }
    }
    Ok(true)
}

enum Walked {
    All,
    Enough,
    Cut,
}

/// Items, each with its place in the order.
type Page = Vec<(i64, HeldEntry)>;

fn through(
    page: impl Fn(i64) -> Result<Page, StoreError>,
    which: &HeldFilter,
    left: &mut usize,
    take: &mut impl FnMut(HeldEntry) -> bool,
) -> Result<Walked, StoreError> {
    let mut after = -1;
    loop {
        let items = page(after)?;
        let is_last = items.len() < PAGE;
        for (place, entry) in items {
            let Some(rest) = left.checked_sub(1) else {
                return Ok(Walked::Cut);
            };
            (*left, after) = (rest, place);
            if which.takes(&entry) && !take(entry) {
                return Ok(Walked::Enough);
            }
        }
        if is_last {
            return Ok(Walked::All);
        }
    }
}

/// Held deliveries of a destination behind an offset and up to another, those of the filter's cause alone where it has
/// one. What else it says is not looked at.
pub(crate) fn deliveries(
    db: &Connection,
    destination: i64,
    which: &HeldFilter,
    (after, upto): (i64, i64),
    most: usize,
) -> Result<Page, StoreError> {
    // One that says no cause goes by this one.
    let cause = which.cause.as_deref();
    let cause = cause.filter(|cause| *cause != HeldCause::Ambiguous.name());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let one = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, delivery(row)?));
    let mut query = db.prepare_cached(&sql(cause.is_some()))?;
    let items = match cause {
        Some(cause) => query
            .query_map(params![destination, after, upto, most, cause], one)?
            .collect::<Result<_, _>>()?,
        None => query
            .query_map(params![destination, after, upto, most], one)?
            .collect::<Result<_, _>>()?,
    };
    Ok(items)
}

fn sql(of_a_cause: bool) -> String {
    let (index, and) = if of_a_cause {
        ("delivery_held_cause", "AND d.held_cause = ?5")
    } else {
        ("delivery_held", "")
    };
    format!(
        "{DELIVERY} {index} {IS_HELD} {and} AND d.offset > ?2 AND d.offset <= ?3
         ORDER BY d.offset LIMIT ?4"
    )
}

/// Changes that a mapping held, behind a number and up to another.
pub(crate) fn changes(
    db: &Connection,
    after: i64,
    upto: i64,
    most: usize,
) -> Result<Page, StoreError> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut query = db.prepare_cached(&format!(
        "{CHANGES} WHERE h.id > ?1 AND h.id <= ?2 ORDER BY h.id LIMIT ?3"
    ))?;
    let items = query.query_map([after, upto, most], |row| {
        Ok((row.get::<_, i64>(0)?, change(row)?))
    })?;
    Ok(items.collect::<Result<_, _>>()?)
}

/// The destination and the offset that an id names; nothing where it is a change's, or there is no such destination.
pub(crate) fn place(db: &Connection, id: &str) -> Result<Option<(i64, i64)>, StoreError> {
    let Some((name, offset)) = id.rsplit_once('/') else {
        return Ok(None);
    };
    let Ok(offset) = offset.parse() else {
        return Ok(None);
    };
    let destination: Option<i64> = db
        .prepare_cached("SELECT id FROM destination WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(destination.map(|destination| (destination, offset)))
}

/// A held delivery.
pub(crate) fn one(
    db: &Connection,
    destination: i64,
    offset: i64,
) -> Result<Option<HeldEntry>, StoreError> {
    Ok(db
        .prepare_cached(&format!(
            "{DELIVERY} delivery_held {IS_HELD} AND d.offset = ?2"
        ))?
        .query_row([destination, offset], delivery)
        .optional()?)
}

/// A change that a mapping held.
pub(crate) fn one_change(db: &Connection, id: i64) -> Result<Option<HeldEntry>, StoreError> {
    Ok(db
        .prepare_cached(&format!("{CHANGES} WHERE h.id = ?1"))?
        .query_row([id], change)
        .optional()?)
}

/// Those of these that are held, in the order of a list.
fn named(db: &Connection, ids: &[String]) -> Result<Vec<HeldEntry>, StoreError> {
    let (mut changes, mut deliveries) = (Vec::new(), Vec::new());
    for id in ids {
        match place(db, id)? {
            Some((destination, offset)) => {
                if let Some(entry) = one(db, destination, offset)? {
                    deliveries.push((entry.by.clone(), offset, entry));
                }
            }
            None => {
                if let Ok(number) = id.parse()
                    && let Some(entry) = one_change(db, number)?
                {
                    changes.push((number, entry));
                }
            }
        }
    }
    changes.sort_by_key(|(number, _)| *number);
    changes.dedup_by_key(|(number, _)| *number);
    deliveries.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    deliveries.dedup_by(|a, b| (&a.0, a.1) == (&b.0, b.1));
    let changes = changes.into_iter().map(|(_, entry)| entry);
    let deliveries = deliveries.into_iter().map(|(_, _, entry)| entry);
    Ok(changes.chain(deliveries).collect())
}

#[cfg(test)]
#[path = "held_pages_tests.rs"]
mod tests;
