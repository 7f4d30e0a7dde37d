//! What an event is made of: every table and column that influences it, how its rows are found
//! from each other, and what the agent must keep for that.

use contract::body::availability;
use contract::{CapturedTable, ColumnKind, EventKind, EventType, TableInfo};
use serde::Serialize;

use crate::rule::{Link, Missing, Origin, Role, Rule, Slot};
use crate::set::MappingSet;
use crate::sql::Expr;

/// Characters of a text, where nobody knows; keys and amounts are shorter.
const TEXT: u64 = 20;
/// Characters of a part of a key.
const KEY_PART: u64 = 10;
/// Bytes of a row in the state file beside its values.
const ROW: u64 = 8;

/// Pages of the state file are never quite full.
fn with_pages(bytes: u64) -> u64 {
    bytes * 5 / 4
}

/// Everything a mapping set is made of and keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Its events.
    pub events: Vec<ExplainedEvent>,
    /// The tables of which rows are kept, each once however many events use it.
    pub replicas: Vec<ExplainedReplica>,
}

/// What is kept of a table's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedReplica {
    /// The table.
    pub table: String,
    /// Its columns that are kept.
    pub columns: Vec<String>,
    /// The indexes by which its rows are found, each by what it is on.
    pub indexes: Vec<String>,
    /// Bytes per row in the state file, about, with its places in the indexes.
    pub bytes_per_row: u64,
    /// How many rows the database believes it has, where it was asked and has an estimate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}

/// One event of a mapping file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedEvent {
    /// The rule.
    pub rule: String,
    /// What it emits.
    pub emits: &'static str,
    /// The pack.
    pub pack: String,
    /// Works on one row alone and keeps nothing.
    pub one_row: bool,
    /// Several rows make one event.
    pub grouped: bool,
    /// It keeps the rows of its one table because two of them can have the same event key.
    pub shared_key: bool,
    /// The event's key.
    pub key: Vec<String>,
    /// Its fields.
    pub fields: Vec<&'static str>,
    /// The statement that gives its rows, where they are read by key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The tables that influence it, its own first.
    pub tables: Vec<ExplainedTable>,
    /// Bytes kept for each of its own rows, about: which event it told. Nothing for one row alone.
    pub bytes_per_row: u64,
    /// Bytes kept for each of its keys, about: what was last told of it.
    pub bytes_per_key: u64,
}

/// A table as an event uses it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExplainedTable {
    /// How the event calls it.
    pub alias: String,
    /// The table.
    pub table: String,
    /// What it is for, in words.
    pub role: &'static str,
    /// The columns whose change is felt.
    pub columns: Vec<String>,
    /// How its rows are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub found_by: Option<String>,
    /// What a missing row means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing: Option<&'static str>,
    /// The index by which its rows are found from the event's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Through which alias a change of it reaches the event; none for its own table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub felt_through: Option<String>,
    /// The index by which a change of it finds the rows it influences.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_index: Option<String>,
    /// What the source's database is asked when a row of it changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asks: Vec<String>,
    /// Where its rows go when their document is finished.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<String>,
}

impl MappingSet {
    /// What each event is made of, and what is kept for all of them; `tables` is what the database
    /// says about its tables, if it was asked.
    pub fn explain(&self, tables: &[TableInfo]) -> Explained {
        let rules = || self.rules.iter().filter(|rule| rule.relates());
        let mut replicas: Vec<Replica> = Vec::new();
        for rule in rules() {
            for table in rule.tables(true).into_iter().chain(rule.answers()) {
                add_replica(&mut replicas, &table);
            }
        }
        for rule in rules() {
            for index in indexes(rule) {
                let tables = rule.slots.get(index.slot);
                let tables = tables.map(|slot| [Some(&slot.table), slot.history.as_ref()]);
                for table in tables.into_iter().flatten().flatten() {
                    let same = |known: &&mut Replica| known.table.table == table.table;
                    let Some(replica) = replicas.iter_mut().find(same) else {
                        continue;
                    };
                    // Plain columns are shared between events; anything else is an event's own.
                    if !index.plain || !replica.indexes.iter().any(|(on, _)| *on == index.on) {
                        replica.indexes.push((index.on.clone(), index.parts));
                    }
                }
            }
        }
        Explained {
            events: self.rules.iter().map(|rule| explain(rule)).collect(),
            replicas: replicas
                .into_iter()
                .map(|replica| replica.explained(tables))
                .collect(),
        }
    }
}

/// A table of which rows are kept, with its indexes: what each is on, and of how many parts.
struct Replica {
    table: CapturedTable,
    indexes: Vec<(String, u64)>,
}

fn add_replica(replicas: &mut Vec<Replica>, table: &CapturedTable) {
    let at = replicas
        .iter()
        .position(|known| known.table.table == table.table);
    let at = at.unwrap_or_else(|| {
        let columns = Vec::new();
        let table = CapturedTable {
            columns,
            ..table.clone()
        };
        let indexes = Vec::new();
        replicas.push(Replica { table, indexes });
        replicas.len() - 1
    });
    if let Some(known) = replicas.get_mut(at) {
        for column in table.key.iter().chain(&table.columns) {
            if !known.table.columns.contains(column) {
                known.table.columns.push(column.clone());
            }
        }
    }
}

impl Replica {
    fn explained(self, tables: &[TableInfo]) -> ExplainedReplica {
        let info = tables.iter().find(|info| info.table == self.table.table);
        let kind = |column: &String| info.and_then(|info| info.column(column)).map(|c| c.kind);
        let cells = self.table.columns.iter().map(|column| cell(kind(column)));
        let key = count(&self.table.key).max(1) * KEY_PART;
        // A row knows its own places in the indexes, and each index knows the row.
        let value = |parts: u64| parts * (KEY_PART + 2);
        let places = self.indexes.iter();
        let places = places.map(|(_, parts)| {
            let known = value(*parts) + 6;
            known + with_pages(value(*parts) + key + ROW)
        });
        let row = key + cells.sum::<u64>() + ROW;
        ExplainedReplica {
            table: self.table.table.to_string(),
            bytes_per_row: with_pages(row) + places.sum::<u64>(),
            rows: info.and_then(|info| info.rows),
            columns: self.table.columns,
            indexes: self.indexes.into_iter().map(|(on, _)| on).collect(),
        }
    }
}

/// Bytes of a cell as it is stored: JSON that keeps what the value is.
fn cell(kind: Option<ColumnKind>) -> u64 {
    match kind {
        Some(ColumnKind::Bool) => 6,
        Some(ColumnKind::Int | ColumnKind::Decimal | ColumnKind::Float) => 16,
        Some(ColumnKind::Date | ColumnKind::Time) => 20,
        Some(ColumnKind::DateTime | ColumnKind::Timestamp) => 30,
        Some(ColumnKind::Uuid) => 46,
        Some(ColumnKind::Bytes | ColumnKind::Json) => 60,
        Some(ColumnKind::Text | ColumnKind::Other) | None => TEXT + 3,
    }
}

fn count<T>(items: &[T]) -> u64 {
    u64::try_from(items.len()).unwrap_or(u64::MAX)
}

/// An index that a match needs.
struct Index {
    slot: usize,
    on: String,
    parts: u64,
    plain: bool,
}

/// The two indexes of each match: one finds its rows, one finds those that it influences.
fn indexes(rule: &Rule) -> Vec<Index> {
    let mut found = Vec::new();
    for (n, slot) in rule.slots.iter().enumerate() {
        let Some(link) = &slot.link else { continue };
        let own: Vec<&Expr> = link.pairs.iter().map(|(own, _)| own).collect();
        let back = link.back.iter().filter_map(|pair| link.pairs.get(*pair));
        let other: Vec<&Expr> = back.map(|(_, other)| other).collect();
        for (slot, exprs) in [(n, own), (link.parent, other)] {
            let columns: Option<Vec<&str>> = exprs.iter().map(|expr| column(rule, expr)).collect();
            let words: Vec<&str> = link.text.split_whitespace().collect();
            found.push(Index {
                slot,
                parts: count(&exprs),
                plain: columns.is_some(),
                on: match columns {
                    Some(columns) => columns.join(", "),
                    None => format!("its side of {}", words.join(" ")),
                },
            });
        }
    }
    found
}

fn column<'r>(rule: &'r Rule, expr: &Expr) -> Option<&'r str> {
    match expr {
        Expr::Column(at) => match rule.columns.get(*at)? {
            Origin::Cell { column, .. } => Some(column),
            _ => None,
        },
        _ => None,
    }
}

/// Bytes kept for each own row of an event, and for each of its keys.
fn kept(rule: &Rule) -> (u64, u64) {
    let fact = rule.event_type.kind() == EventKind::Fact;
    let row_key = count(&rule.from().table.key).max(1) * KEY_PART;
    let key = count(&rule.key) * KEY_PART;
    let sums = rule.fields.iter();
    let sums = sums.filter(|field| field.combine == crate::rule::Combine::Sum);
    let sums = u64::try_from(sums.count()).unwrap_or(0) * 16;
    let part = match (rule.grouped, fact) {
        (true, _) => sums + TEXT,
        (false, true) => 32,
        (false, false) => 0,
    };
    // Found by the row, and by the key.
    let told = with_pages(row_key + key + part + ROW) + with_pages(row_key + key + ROW);
    let told = if rule.relates() { told } else { 0 };
    if fact {
        return (told, 0);
    }
    let mut names: Vec<&str> = rule.fields.iter().map(|field| field.name).collect();
    if rule.event_type == EventType::InventoryAvailability {
        names.extend(availability::DERIVED);
    }
    let names = names.iter().map(|name| count(name.as_bytes()) + TEXT);
    // Its version and digests, and two indexes.
    let published = with_pages(names.sum::<u64>() + key + 110) + 2 * with_pages(key + ROW);
    let group = if rule.grouped {
        with_pages(key + TEXT + sums + ROW)
    } else {
        0
    };
    (told, published + group)
}

fn explain(rule: &Rule) -> ExplainedEvent {
    let slots = rule.slots.iter().enumerate();
    let tables = slots.map(|(n, slot)| table(rule, n, slot));
    let (bytes_per_row, bytes_per_key) = kept(rule);
    ExplainedEvent {
        rule: rule.reference.rule.clone(),
        emits: rule.event_type.name(),
        pack: rule.reference.pack.clone(),
        one_row: !rule.relates(),
        bytes_per_row,
        bytes_per_key,
        grouped: rule.grouped,
        shared_key: rule.shares_key(),
        key: rule.key.iter().map(|field| field.name.to_owned()).collect(),
        fields: {
            let mut fields: Vec<_> = rule.fields.iter().collect();
            fields.sort_by_key(|field| field.index);
            fields.iter().map(|field| field.name).collect()
        },
        statement: rule.read.as_ref().map(|read| read.sql.clone()),
        tables: tables.collect(),
    }
}

fn table(rule: &Rule, n: usize, slot: &Slot) -> ExplainedTable {
    let columns: Vec<String> = rule
        .columns
        .iter()
        .filter_map(|origin| match origin {
            Origin::Cell { slot, column, .. } if *slot == n => Some(column.clone()),
            _ => None,
        })
        .collect();
    let (role, missing) = match &slot.role {
        Role::From if rule.read.is_some() => ("what the statement gives", None),
        Role::From => ("the event's own rows", None),
        Role::Join(missing) => (
            "one more row",
            Some(match missing {
                Missing::Hold => "hold",
                Missing::Null => "null",
                Missing::LeaveOut => "leave_out",
            }),
        ),
        Role::Add(_) => ("rows added up", None),
        Role::List => ("rows listed", None),
        Role::Touch => ("rows that make it ask", None),
    };
    let alias = |n: usize| rule.slots.get(n).map_or("", |slot| &slot.alias).to_owned();
    // One index for each side of its match.
    let all = indexes(rule);
    let at = rule.slots.iter().take(n).filter(|slot| slot.link.is_some());
    let at = at.count() * 2;
    let on = |at: usize, link: usize| {
        let index = all.get(at)?;
        Some(format!("{} [{}]", alias(link), index.on))
    };
    let asks = rule.read.iter().flat_map(|read| {
        let touches = read.touches.iter().filter(|touch| touch.slot == n);
        touches.map(|touch| {
            let given = read.names.iter().zip(&touch.give);
            let given: Vec<String> = given
                .map(|(name, give)| format!("{name} = {}", give.shown()))
                .collect();
            given.join(", ")
        })
    });
    ExplainedTable {
        asks: asks.collect(),
        alias: slot.alias.clone(),
        table: slot.table.table.to_string(),
        role,
        columns,
        found_by: slot.link.as_ref().map(|link: &Link| link.text.clone()),
        missing,
        index: slot.link.as_ref().and_then(|_| on(at, n)),
        reverse_index: slot.link.as_ref().and_then(|link| on(at + 1, link.parent)),
        felt_through: slot.link.as_ref().map(|link| alias(link.parent)),
        history: slot
            .history
            .as_ref()
            .map(|history| history.table.to_string()),
    }
}
