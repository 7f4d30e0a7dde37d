//! Tables as the log describes them.
//!
//! The log is older than the catalogue: between a change and our reading it, columns may have been
//! renamed, dropped or given other types, and the table may be gone. So names and types are the
//! log's own, and the catalogue is asked only for what the log leaves open: in which order the
//! key's columns stand, and which they are where the replica identity is the whole row. What then
//! stays unclear is no key at all: rows that need one are held.

use std::sync::Arc;
use std::time::Duration;

use contract::{CapturedTable, Row, SourceError, TableShape, Value};
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::catalogue::Table;
use crate::connect::classify;
use crate::decode::{Cell, Old, Relation, Tuple};
use crate::kinds::Kinds;
use crate::values::{Kind, value_of_bytes};

/// A commit stands in the log before others see it. How long that may take where the catalogue
/// does not know yet what the log speaks of.
const VISIBLE_MAX: Duration = Duration::from_secs(10);
const VISIBLE_POLL: Duration = Duration::from_millis(50);

/// A table the log has described.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) shape: Arc<TableShape>,
    kinds: Vec<Kind>,
    /// Which columns an old key holds.
    identity: Vec<bool>,
    /// An old row that claims to be whole holds its key only: the identity is that of the
    /// partition, and the claim is that of the table.
    partial: bool,
    /// Two of its rows may have one key until their transaction ends.
    pub(crate) exchanges: bool,
}

/// What the log has just described, and where.
pub(crate) struct Described<'a> {
    pub(crate) relation: &'a Relation,
    pub(crate) captured: &'a CapturedTable,
    /// The transaction whose change follows.
    pub(crate) transaction: Option<u64>,
    /// The same table as it was described before.
    pub(crate) earlier: Option<&'a TableShape>,
}

impl Known {
    /// Gives the table its shape and its columns' kinds.
    pub(crate) async fn learn(
        client: &Client,
        kinds: &mut Kinds,
        described: &Described<'_>,
    ) -> Result<Self, SourceError> {
        let Described {
            relation, captured, ..
        } = described;
        let oids: Vec<u32> = relation.columns.iter().map(|c| c.type_oid).collect();
        kinds.learn(client, &oids).await?;
        let mut table = Table::read(client, &captured.table).await?;
        let mut key = key(described, table.as_ref());
        if (key.is_none() || !kinds.knows(&oids)) && visible(client, described.transaction).await? {
            kinds.learn(client, &oids).await?;
            table = Table::read(client, &captured.table).await?;
            key = self::key(described, table.as_ref());
        }
        if key.is_none() {
            tracing::warn!(
                code = "capture.key_unclear",
                table = %captured.table,
                "the log describes the table by columns of which nobody can say which are its key: \
                 its changes are held until it is changed again"
            );
        }
        let names: Vec<String> = relation.columns.iter().map(|c| c.name.clone()).collect();
        let partial = relation.identity == b'f'
            && table
                .as_ref()
                .is_some_and(|table| table.partitioned && table.partial);
        let in_key = |n: usize| key.as_ref().is_some_and(|key| key.contains(&n));
        let identity = relation.columns.iter().enumerate();
        let identity = identity.map(|(n, c)| if partial { in_key(n) } else { c.identity });
        let identity = identity.collect();
        let key_names = key.iter().flatten().filter_map(|n| names.get(*n).cloned());
        let key_names: Vec<String> = key_names.collect();
        let exchanges = table
            .as_ref()
            .is_some_and(|table| table.exchanges(&key_names));
        Ok(Self {
            identity,
            partial,
            exchanges,
            shape: Arc::new(TableShape {
                table: captured.table.clone(),
                columns: names,
                key: key.unwrap_or_default(),
            }),
            kinds: oids.iter().map(|oid| kinds.of(*oid)).collect(),
        })
    }

    /// A whole row; cells the log left out are taken from the row before where that has them.
    pub(crate) fn row(&self, tuple: &Tuple, before: Option<&Row>) -> Result<Row, &'static str> {
        if tuple.len() != self.kinds.len() {
            return Err("it has another number of cells than its table has columns");
        }
        let earlier = |n: usize| before.and_then(|row| row.get(n)).cloned();
        let cells = tuple.iter().zip(&self.kinds).enumerate();
        let cells = cells.map(|(n, (cell, kind))| match cell {
            Cell::Null => Value::Null,
            Cell::Unchanged => earlier(n).unwrap_or(Value::Unchanged),
            Cell::Text(text) => value_of_bytes(*kind, text),
        });
        Ok(cells.collect())
    }

    /// A row before.
    pub(crate) fn old(&self, old: &Old) -> Result<Row, &'static str> {
        match old {
            Old::Full(tuple) if !self.partial => self.row(tuple, None),
            Old::Full(tuple) | Old::Key(tuple) => {
                let mut row = self.row(tuple, None)?;
                for (cell, identity) in row.iter_mut().zip(&self.identity) {
                    if !identity {
                        *cell = Value::Unchanged;
                    }
                }
                Ok(row)
            }
        }
    }
}

/// Waits until the catalogue we see is one that a transaction of the log has already changed;
/// whether there was anything to wait for.
async fn visible(client: &Client, transaction: Option<u64>) -> Result<bool, SourceError> {
    let Some(transaction) = transaction else {
        return Ok(false);
    };
    let transaction = transaction.to_string();
    let deadline = Instant::now() + VISIBLE_MAX;
    let mut waited = false;
    loop {
        let row = client
            .query_one(
                "SELECT pg_catalog.pg_visible_in_snapshot(
                            $1::pg_catalog.text::pg_catalog.xid8, pg_catalog.pg_current_snapshot())",
                &[&transaction],
            )
            .await
            .map_err(|error| classify("read columns", &error))?;
        if row.get(0) || Instant::now() >= deadline {
            return Ok(waited);
        }
        waited = true;
        tokio::time::sleep(VISIBLE_POLL).await;
    }
}

/// The places of the key's columns in what the log describes. Empty where the table has no key;
/// `None` where it has one, and it cannot be said which columns it is.
fn key(described: &Described<'_>, today: Option<&Table>) -> Option<Vec<usize>> {
    let Described {
        relation,
        captured,
        earlier,
        ..
    } = described;
    let named = |name: &str| relation.columns.iter().position(|c| c.name == name);
    let places = |names: &[String]| {
        names
            .iter()
            .map(|name| named(name))
            .collect::<Option<Vec<_>>>()
    };
    // The mapping's own word. Where the log has no such column its rows cannot be told apart.
    if !captured.key.is_empty() {
        return places(&captured.key);
    }
    let marked: Vec<usize> = (0..relation.columns.len())
        .filter(|n| {
            relation
                .columns
                .get(*n)
                .is_some_and(|column| column.identity)
        })
        .collect();
    let key_now = today.map(|table| table.key(captured));
    let found = key_now.as_deref().and_then(places);
    // The default identity is the primary key, and what the log marks is the one of that moment.
    if relation.identity == b'd' && !marked.is_empty() {
        let same = |found: &Vec<usize>| {
            let mut sorted = found.clone();
            sorted.sort_unstable();
            sorted == marked
        };
        if let Some(found) = found.filter(same) {
            return Some(found);
        }
        // One column has no order. Several have that of the same key under other names, or that
        // of before.
        if marked.len() == 1 {
            return Some(marked);
        }
        return today
            .and_then(|table| renamed(relation, table, &table.key(captured), &marked))
            .or_else(|| {
                earlier.map(|shape| shape.key_names()).and_then(|names| {
                    let found: Option<Vec<usize>> = names.into_iter().map(named).collect();
                    found.filter(same)
                })
            });
    }
    if found.is_some() {
        return found;
    }
    match (today, key_now) {
        (Some(table), Some(names)) => names
            .iter()
            .map(|name| place_then(relation, table, name))
            .collect(),
        // Dropped since. The index that the log marks was its key, if it had no primary key.
        _ if relation.identity == b'i' && marked.len() == 1 => Some(marked),
        _ => {
            let names = earlier.map(|shape| shape.key_names())?;
            names.into_iter().map(named).collect()
        }
    }
}

/// The marked columns in the order of today's key, where some of them have other names today.
/// Columns keep their order in a table, whatever they are called.
fn renamed(
    relation: &Relation,
    table: &Table,
    names: &[String],
    marked: &[usize],
) -> Option<Vec<usize>> {
    if names.len() != marked.len() {
        return None;
    }
    let place = |name: &String| table.columns.iter().position(|column| column.name == *name);
    let mut ordered: Vec<(usize, &String)> = names
        .iter()
        .map(|name| Some((place(name)?, name)))
        .collect::<Option<_>>()?;
    ordered.sort_unstable();
    let pairs: Vec<(&String, usize)> = ordered
        .into_iter()
        .map(|(_, name)| name)
        .zip(marked.iter().copied())
        .collect();
    // A column that kept its name must be met under it.
    let told = |name: &str| {
        relation
            .columns
            .iter()
            .position(|column| column.name == name)
    };
    let fits = |(name, at): &(&String, usize)| told(name).is_none_or(|told| told == *at);
    if !pairs.iter().all(fits) {
        return None;
    }
    let place = |name: &String| pairs.iter().find(|(other, _)| *other == name);
    names
        .iter()
        .map(|name| place(name).map(|(_, at)| *at))
        .collect()
}

/// Where a column of today stood in the log's description, whatever it was called then: only in a
/// table that never lost a column before it, and if nothing else of the description contradicts.
fn place_then(relation: &Relation, table: &Table, name: &str) -> Option<usize> {
    let told = table.columns.iter().filter(|column| !column.generated);
    let told: Vec<_> = told.collect();
    let at = told.iter().position(|column| column.name == name)?;
    let whole = |n: usize| {
        let place = told.get(n).map(|column| usize::from(column.place));
        place == Some(n + 1)
    };
    let fits = relation.columns.iter().enumerate().all(|(n, column)| {
        let now = told.iter().position(|now| now.name == column.name);
        now.is_none_or(|now| now == n)
    });
    let same_type = relation.columns.get(at)?.type_oid == told.get(at)?.type_oid;
    (fits && same_type && (0..=at).all(whole)).then_some(at)
}

#[cfg(test)]
mod tests {
    use contract::TableName;

    use super::*;
    use crate::catalogue::{Column, Unique};
    use crate::decode;

    /// Columns by name; `*` marks those of the identity.
    fn relation(identity: u8, columns: &[&str]) -> Relation {
        Relation {
            id: 1,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            identity,
            columns: columns
                .iter()
                .map(|name| decode::Column {
                    identity: name.ends_with('*'),
                    name: name.trim_end_matches('*').to_owned(),
                    type_oid: 23,
                })
                .collect(),
        }
    }

    /// Today's columns, each with its place from 1; `-` is a column that was dropped.
    fn today(identity: u8, columns: &[&str], primary: &[&str]) -> Table {
        let columns = (1..).zip(columns).filter(|(_, name)| **name != "-");
        Table {
            name: TableName::new("s", "t"),
            partitioned: false,
            unidentified: None,
            partial: false,
            child: None,
            identity,
            columns: columns
                .map(|(place, name)| Column {
                    name: (*name).to_owned(),
                    place,
                    type_oid: 23,
                    type_sql: String::new(),
                    not_null: true,
                    generated: false,
                })
                .collect(),
            uniques: vec![Unique {
                name: "t_pkey".to_owned(),
                primary: true,
                identity: false,
                immediate: true,
                columns: primary.iter().map(|name| (*name).to_owned()).collect(),
            }],
        }
    }

    fn found(
        relation: &Relation,
        today: Option<&Table>,
        key: &[&str],
        earlier: Option<&TableShape>,
    ) -> Option<Vec<usize>> {
        let captured = CapturedTable {
            table: TableName::new("s", "t"),
            key: key.iter().map(|name| (*name).to_owned()).collect(),
            columns: Vec::new(),
        };
        let described = Described {
            relation,
            captured: &captured,
            transaction: None,
            earlier,
        };
        super::key(&described, today)
    }

    #[test]
    fn the_mappings_key_is_what_the_log_calls_so() {
        let then = relation(b'd', &["id*", "a", "b"]);
        assert_eq!(found(&then, None, &["b", "a"], None), Some(vec![2, 1]));
        assert_eq!(found(&then, None, &["b", "new"], None), None);
    }

    #[test]
    fn the_primary_key_is_what_the_log_marks() {
        let then = relation(b'd', &["a*", "b*", "c"]);
        // As today, in the key's own order.
        let now = today(b'd', &["a", "b", "c"], &["b", "a"]);
        assert_eq!(found(&then, Some(&now), &[], None), Some(vec![1, 0]));
        // Renamed since, one or all.
        let now = today(b'd', &["x", "b", "c"], &["b", "x"]);
        assert_eq!(found(&then, Some(&now), &[], None), Some(vec![1, 0]));
        let now = today(b'd', &["x", "y", "c"], &["y", "x"]);
        assert_eq!(found(&then, Some(&now), &[], None), Some(vec![1, 0]));
        // Names that changed places: of one column the log's marks say which it was, of several
        // it could as well be another key since.
        let now = today(b'd', &["c", "b", "a"], &["b", "c"]);
        assert_eq!(found(&then, Some(&now), &[], None), None);
        let one = relation(b'd', &["a*", "b"]);
        let now = today(b'd', &["b", "a"], &["b"]);
        assert_eq!(found(&one, Some(&now), &[], None), Some(vec![0]));
        // Another key since: nobody knows in which order the old one stood.
        let now = today(b'd', &["a", "b", "c"], &["c"]);
        assert_eq!(found(&then, Some(&now), &[], None), None);
        let now = today(b'd', &["a", "b", "c"], &["c", "a"]);
        assert_eq!(found(&then, Some(&now), &[], None), None);
    }

    #[test]
    fn a_dropped_tables_key_has_one_column_or_its_former_order() {
        let one = relation(b'd', &["a*", "b"]);
        assert_eq!(found(&one, None, &[], None), Some(vec![0]));
        let two = relation(b'd', &["a*", "b*"]);
        assert_eq!(found(&two, None, &[], None), None);
        let earlier = TableShape {
            table: TableName::new("s", "t"),
            columns: vec!["b".to_owned(), "a".to_owned()],
            key: vec![0, 1],
        };
        assert_eq!(found(&two, None, &[], Some(&earlier)), Some(vec![1, 0]));
        let full = relation(b'f', &["a*", "b*", "c*"]);
        assert_eq!(found(&full, None, &[], None), None);
        assert_eq!(found(&full, None, &[], Some(&earlier)), Some(vec![1, 0]));
    }

    #[test]
    fn under_a_full_identity_a_renamed_key_is_found_by_its_place_or_not_at_all() {
        let then = relation(b'f', &["id*", "sku*", "qty*"]);
        let now = today(b'f', &["number", "sku", "qty"], &["number"]);
        assert_eq!(found(&then, Some(&now), &[], None), Some(vec![0]));
        // A column was dropped before it, now or then.
        let now = today(b'f', &["-", "number", "sku"], &["number"]);
        assert_eq!(found(&then, Some(&now), &[], None), None);
        // What kept its name does not stand where it stood.
        let now = today(b'f', &["number", "qty", "sku"], &["number"]);
        assert_eq!(found(&then, Some(&now), &[], None), None);
        let mut other = today(b'f', &["number", "sku", "qty"], &["number"]);
        other.columns[0].type_oid = 25;
        assert_eq!(found(&then, Some(&other), &[], None), None);
    }

    #[test]
    fn a_table_without_a_key_has_none() {
        let then = relation(b'f', &["a*", "b*"]);
        let mut now = today(b'f', &["a", "b"], &[]);
        now.uniques.clear();
        assert_eq!(found(&then, Some(&now), &[], None), Some(Vec::new()));
    }
}
