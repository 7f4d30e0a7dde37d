//! Reading what was published, in the order of its keys and a page at a time, beside the running agent.

use contract::{EventKey, EventType, Position};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::StoreError;
use crate::from_millis;
use crate::status::StateReader;

/// A place in what was published: behind this key of this source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPlace {
    /// The source's name.
    pub source: String,
    /// The key's text; it need not be there.
    pub key: String,
}

/// What was told last of a key.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedState {
    /// The source's name.
    pub source: String,
    /// The key.
    pub key: EventKey,
    /// The version that it was told as.
    pub version: Position,
    /// When that happened at the source; `None` where it was told by an agent that did not note it.
    pub occurred_at: Option<Timestamp>,
    /// The body's canonical JSON.
    pub body: String,
}

/// Some of what was published.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PublishedPage {
    /// What fits.
    pub states: Vec<PublishedState>,
    /// Where the next page begins; `None` = there is no more.
    pub next: Option<PublishedPlace>,
}

/// How much a page may cost.
#[derive(Debug, Clone, Copy)]
pub struct PageLimits {
    /// States in it.
    pub states: usize,
    /// Bytes of their bodies, about: the one that crosses it is the last.
    pub bytes: usize,
    /// Rows that are looked at for it, those that do not fit included. A page that comes to this end holds
    /// fewer states, or none, and says where to go on.
    pub rows: usize,
}

/// Looks at keys of one type and source from a text on, up to another; tombstones are among them.
const PAGE: &str = "SELECT key, version, occurred_at, body FROM published
     WHERE source = ?1 AND event_type = ?2 AND key >= ?3 AND key < ?4 ORDER BY key LIMIT ?5";

/// The first key at or behind a text.
const FIRST: &str = "SELECT key FROM published
     WHERE source = ?1 AND event_type = ?2 AND key >= ?3 ORDER BY key LIMIT 1";

impl StateReader {
    /// What was told last of the keys that are meant (part by part; `None` = any), ordered by source and
    /// key, from behind a place on. Keys
    /// that ended are not in it. Each look at the file is one statement over its index, of a page at most.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn published_page(
        &self,
        event_type: EventType,
        wanted: &[Option<String>],
        after: Option<&PublishedPlace>,
        limits: PageLimits,
    ) -> Result<PublishedPage, StoreError> {
        let mut page = PublishedPage::default();
        let Some(db) = self.newest()? else {
            return Ok(page);
        };
        let mut rows_left = limits.rows.max(1);
        let mut bytes = 0;
        for (id, name) in sources(db)? {
            let mut from = match after {
                Some(place) if place.source > name => continue,
                Some(place) if place.source == name => next_text(&place.key),
                _ => String::new(),
            };
            let walk = Walk {
                db,
                source: id,
                event_type,
                wanted,
            };
            while let Some(range) = walk.range(&from)? {
                let mut query = db.prepare_cached(PAGE)?;
                let most = i64::try_from(rows_left).unwrap_or(i64::MAX);
                let bounds = params![id, event_type.name(), range.from, range.until, most];
                let mut rows = query.query(bounds)?;
                // A range without any key has cost a lookup, too.
                rows_left -= 1;
                let mut last = range.until.clone();
                let mut first = true;
                while let Some(row) = rows.next()? {
                    rows_left -= usize::from(!std::mem::take(&mut first));
                    last = row.get(0)?;
                    if let Some(key) = fitting(event_type, &last, wanted)
                        && let Some(body) = row.get::<_, Option<String>>(3)?
                    {
                        bytes += body.len();
                        page.states.push(PublishedState {
                            source: name.clone(),
                            key,
                            version: crate::snapshot::parse(&row.get::<_, String>(1)?)?,
                            occurred_at: row.get::<_, Option<i64>>(2)?.map(from_millis),
                            body,
                        });
                    }
                    if page.states.len() >= limits.states || bytes >= limits.bytes {
                        break;
                    }
                }
                if page.states.len() >= limits.states || bytes >= limits.bytes || rows_left == 0 {
                    page.next = Some(PublishedPlace {
                        source: name,
                        key: last,
                    });
                    return Ok(page);
                }
                from = range.until;
            }
        }
        Ok(page)
    }
}

fn sources(db: &Connection) -> Result<Vec<(i64, String)>, StoreError> {
    let mut query = db.prepare_cached("SELECT id, name FROM source ORDER BY name")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Keys from a text on, up to another.
struct Range {
    from: String,
    until: String,
}

/// Going through the keys of one type and source.
struct Walk<'a> {
    db: &'a Connection,
    source: i64,
    event_type: EventType,
    wanted: &'a [Option<String>],
}

impl Walk<'_> {
    /// The next range, at or behind a text, in which keys that are meant may stand. Keys begin with their
    /// company: where that is not said and later parts are, one lookup finds each company that there is.
    fn range(&self, from: &str) -> Result<Option<Range>, StoreError> {
        if self.wanted.iter().all(Option::is_none) {
            return Ok(within(from, String::new(), LAST.to_owned()));
        }
        let said = |at: usize| self.wanted.get(at).and_then(Option::as_deref);
        let below = |company: &str| {
            let mut parts = vec![company.to_owned()];
            parts.extend((1..).map_while(|at| Some(said(at)?.to_owned())));
            let whole = parts.len() == self.event_type.schema().key.len();
            of(parts, whole)
        };
        if let Some(company) = said(0) {
            let (begin, end) = below(company);
            return Ok(within(from, begin, end));
        }
        let mut from = from.to_owned();
        while let Some(company) = self.company(&from)? {
            let (begin, end) = below(&company);
            if let Some(range) = within(&from, begin, end) {
                return Ok(Some(range));
            }
            // Behind what fits of this company: the rest of it is passed over.
            (_, from) = of(vec![company], false);
        }
        Ok(None)
    }

    /// The company of the first key at or behind a text.
    fn company(&self, from: &str) -> Result<Option<String>, StoreError> {
        let first: Option<String> = self
            .db
            .prepare_cached(FIRST)?
            .query_row(params![self.source, self.event_type.name(), from], |row| {
                row.get(0)
            })
            .optional()?;
        let Some(first) = first else {
            return Ok(None);
        };
        let key = EventKey::parse(self.event_type.schema(), &first);
        let company = key.and_then(|key| Some(key.fields().first()?.1.clone()));
        company.map(Some).ok_or_else(|| {
            StoreError::Invariant("a published key does not fit its event type".to_owned())
        })
    }
}

/// What of a range stands at or behind a text.
fn within(from: &str, begin: String, until: String) -> Option<Range> {
    (from < until.as_str()).then(|| Range {
        from: if from <= begin.as_str() {
            begin
        } else {
            from.to_owned()
        },
        until,
    })
}

/// Behind every key: the last of all characters.
const LAST: &str = "\u{10FFFF}";

/// The bounds of all keys that begin with these parts; of one key, where they are `whole`.
fn of(parts: Vec<String>, whole: bool) -> (String, String) {
    let text = EventKey::new(parts.into_iter().map(|part| ("", part)).collect()).text();
    if whole {
        let until = next_text(&text);
        return (text, until);
    }
    // Parts end with `|`, and `}` is the character behind it.
    (format!("{text}|"), format!("{text}}}"))
}

/// The first text behind one.
fn next_text(text: &str) -> String {
    format!("{text}\0")
}

/// The key, where it is meant.
fn fitting(event_type: EventType, text: &str, wanted: &[Option<String>]) -> Option<EventKey> {
    let key = EventKey::parse(event_type.schema(), text)?;
    let fits = key
        .fields()
        .iter()
        .zip(wanted)
        .all(|((_, part), wanted)| wanted.as_ref().is_none_or(|wanted| wanted == part));
    fits.then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    const INDEX: &str = "SEARCH published USING INDEX sqlite_autoindex_published_1";

    /// However much is published, a page costs what stands in it.
    #[test]
    fn pages_and_companies_are_found_by_the_index_and_nothing_is_sorted() {
        let folder = tempfile::tempdir().unwrap();
        drop(Store::open(folder.path()).unwrap());
        let db = crate::folder::open_reader(folder.path()).unwrap().unwrap();
        for (sql, wanted) in [
            (PAGE, "(source=? AND event_type=? AND key>? AND key<?)"),
            (FIRST, "(source=? AND event_type=? AND key>?)"),
        ] {
            let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            for at in 1..=query.parameter_count() {
                query.raw_bind_parameter(at, 1).unwrap();
            }
            let mut rows = query.raw_query();
            let mut plan = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push(row.get::<_, String>(3).unwrap());
            }
            let found = plan.join("; ").replace("COVERING INDEX", "INDEX");
            assert_eq!(found, format!("{INDEX} {wanted}"));
        }
    }
}
