//! Foreign keys by which the server changes rows without telling.
//!
//! InnoDB deletes and changes the rows that refer to a row itself, below the log: what `ON DELETE
//! CASCADE`, `ON UPDATE CASCADE` and `SET NULL` do is not in it
//! (<https://mariadb.com/docs/server/ha-and-performance/standard-replication/replication-and-foreign-keys>).
//! What is in it is the row that was referred to: when that one goes, the tables behind it are read
//! again. MySQL does it above the log since 9.6, unless it is told not to
//! (<https://dev.mysql.com/doc/refman/9.7/en/replication-features-foreign-keys.html>).

use std::collections::HashMap;
use std::time::Duration;

use contract::{SourceError, TableName};
use tokio::time::{Instant, sleep};

use crate::catalogue;
use crate::connect::{self, Connection};

/// Tables that refer to each other are followed no deeper than the server itself goes.
const DEPTH_MAX: usize = 15;
/// A change of a table is in the log a moment before the table is open again: it is waited for so long,
/// of all tables together.
const OPENS_IN: Duration = Duration::from_secs(2);
const ASKED_EVERY: Duration = Duration::from_millis(50);

/// A foreign key with such a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whose rows are changed.
    pub(crate) table: TableName,
    /// When rows of this one are deleted, or these columns of it changed.
    pub(crate) parent: TableName,
    pub(crate) columns: Vec<String>,
    pub(crate) on_delete: bool,
    pub(crate) on_update: bool,
    /// Its name, and its rules in SQL.
    pub(crate) name: String,
    pub(crate) words: String,
}

/// What a change of a table's rows does to captured tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Effect {
    /// These are changed when rows are deleted.
    pub(crate) of_delete: Vec<TableName>,
    /// And these when one of the columns is changed.
    pub(crate) of_update: Vec<TableName>,
    pub(crate) columns: Vec<String>,
}

/// The foreign keys that matter to the captured tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cascades {
    rules: Vec<Rule>,
    effects: HashMap<TableName, Effect>,
    /// These were locked, and may have some that are not known.
    locked: Vec<TableName>,
}

impl Cascades {
    /// Reads them, as far as our user may see the tables between. Of one that is locked the server shows
    /// no keys, without an error: what was known of it still counts.
    pub(crate) async fn read(
        sql: &mut Connection,
        captured: &[TableName],
        former: &Self,
    ) -> Result<Self, SourceError> {
        let mut all: Vec<Rule> = Vec::new();
        let mut next: Vec<TableName> = captured.to_vec();
        let mut locked = Vec::new();
        let until = Instant::now() + OPENS_IN;
        for _ in 0..DEPTH_MAX {
            let mut found = Vec::new();
            for table in next {
                let mut open = opens(sql, &table, until).await?;
                if open {
                    found.extend(rules(sql, std::slice::from_ref(&table)).await?);
                    // Its keys may have been hidden meanwhile.
                    open = !catalogue::is_locked(sql, &table).await?;
                }
                if !open {
                    let known = former.rules.iter().filter(|rule| rule.table == table);
                    let known = known.filter(|rule| !found.contains(rule)).cloned();
                    let known: Vec<Rule> = known.collect();
                    found.extend(known);
                    locked.push(table);
                }
            }
            next = found.iter().map(|rule| rule.parent.clone()).collect();
            next.retain(|parent| !captured.contains(parent));
            next.retain(|parent| !all.iter().any(|rule| rule.table == *parent));
            next.sort_by_key(ToString::to_string);
            next.dedup();
            all.extend(found);
            if next.is_empty() {
                break;
            }
        }
        Ok(Self {
            locked,
            ..Self::of(all, captured)
        })
    }

    /// Whether some may not be known, because a table is locked.
    pub(crate) fn is_locked(&self) -> bool {
        !self.locked.is_empty()
    }

    /// Captured tables whose rows keys may have changed in silence that `former` did not know, because
    /// a table was locked.
    pub(crate) fn missed(&self, former: &Self) -> Vec<TableName> {
        let mut missed: Vec<TableName> = Vec::new();
        if !former.is_locked() {
            return missed;
        }
        for (parent, effect) in &self.effects {
            let known = former.effects.get(parent).cloned().unwrap_or_default();
            let mut columns = effect.columns.iter();
            let new_column = columns.any(|name| !known.columns.contains(name));
            let deleted = effect.of_delete.iter();
            missed.extend(
                deleted
                    .filter(|one| !known.of_delete.contains(one))
                    .cloned(),
            );
            let updated = effect.of_update.iter();
            let updated = updated.filter(|one| new_column || !known.of_update.contains(one));
            missed.extend(updated.cloned());
        }
        missed.sort_by_key(ToString::to_string);
        missed.dedup();
        missed
    }

    fn of(rules: Vec<Rule>, captured: &[TableName]) -> Self {
        let mut effects: HashMap<TableName, Effect> = HashMap::new();
        for rule in &rules {
            let mut below = below(&rules, &rule.table);
            below.retain(|table| captured.contains(table));
            let effect = effects.entry(rule.parent.clone()).or_default();
            let add = |to: &mut Vec<TableName>| {
                let new = below.iter().filter(|table| !to.contains(table)).cloned();
                let new: Vec<TableName> = new.collect();
                to.extend(new);
            };
            if rule.on_delete {
                add(&mut effect.of_delete);
            }
            if rule.on_update {
                add(&mut effect.of_update);
                effect.columns.extend(rule.columns.iter().cloned());
            }
        }
        effects.retain(|_, effect| !effect.of_delete.is_empty() || !effect.of_update.is_empty());
        Self {
            rules,
            effects,
            locked: Vec::new(),
        }
    }

    /// What changes of a table's rows do.
    pub(crate) fn effect(&self, schema: &str, table: &str) -> Option<&Effect> {
        if self.effects.is_empty() {
            return None;
        }
        self.effects.get(&TableName::new(schema, table))
    }
}

/// A table, and all that what happens to its rows goes on to, because they refer to them.
fn below(rules: &[Rule], table: &TableName) -> Vec<TableName> {
    let mut below = vec![table.clone()];
    let mut seen = 0;
    while let Some(table) = below.get(seen) {
        let more = rules.iter().filter(|rule| rule.parent == *table);
        let more: Vec<TableName> = more.map(|rule| rule.table.clone()).collect();
        for table in more {
            if !below.contains(&table) {
                below.push(table);
            }
        }
        seen += 1;
    }
    below
}

/// Waits until nobody changes a table; false where that takes longer.
async fn opens(
    sql: &mut Connection,
    table: &TableName,
    until: Instant,
) -> Result<bool, SourceError> {
    while catalogue::is_locked(sql, table).await? {
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(ASKED_EVERY).await;
    }
    Ok(true)
}

/// The foreign keys of these tables that change their rows.
pub(crate) async fn rules(
    sql: &mut Connection,
    tables: &[TableName],
) -> Result<Vec<Rule>, SourceError> {
    type Row = (
        String,
        String,
        String,
        String,
        String,
        String,
        String,
        String,
    );
    let asked = "SHOW GLOBAL VARIABLES LIKE 'innodb_native_foreign_keys'";
    let native: Option<(String, String)> = sql.row("read server settings", asked).await?;
    if native.is_some_and(|(_, value)| value.eq_ignore_ascii_case("OFF")) {
        return Ok(Vec::new());
    }
    let mut all: Vec<Rule> = Vec::new();
    for table in tables {
        let (schema, name) = (
            connect::literal(&table.schema),
            connect::literal(&table.name),
        );
        // Named by literals, the server opens this table only.
        let rows: Vec<Row> = sql
            .rows(
                "read foreign keys",
                &format!(
                    "SELECT k.TABLE_SCHEMA, k.TABLE_NAME, k.CONSTRAINT_NAME,
                            k.REFERENCED_TABLE_SCHEMA, k.REFERENCED_TABLE_NAME,
                            k.REFERENCED_COLUMN_NAME, r.DELETE_RULE, r.UPDATE_RULE
                       FROM information_schema.REFERENTIAL_CONSTRAINTS r
                       JOIN information_schema.KEY_COLUMN_USAGE k
                         ON k.CONSTRAINT_SCHEMA = r.CONSTRAINT_SCHEMA
                        AND k.TABLE_NAME = r.TABLE_NAME
                        AND k.CONSTRAINT_NAME = r.CONSTRAINT_NAME
                      WHERE r.CONSTRAINT_SCHEMA = {schema} AND r.TABLE_NAME = {name}
                        AND k.TABLE_SCHEMA = {schema} AND k.TABLE_NAME = {name}
                        AND k.REFERENCED_TABLE_NAME IS NOT NULL
                      ORDER BY k.CONSTRAINT_NAME, k.ORDINAL_POSITION"
                ),
            )
            .await?;
        let mut last = String::new();
        for (schema, name, constraint, parent_schema, parent, column, delete, update) in rows {
            let changes = |rule: &str| ["CASCADE", "SET NULL", "SET DEFAULT"].contains(&rule);
            if !changes(&delete) && !changes(&update) {
                continue;
            }
            if last == constraint
                && let Some(rule) = all.last_mut()
            {
                rule.columns.push(column);
                continue;
            }
            last.clone_from(&constraint);
            let words = [("DELETE", &delete), ("UPDATE", &update)].into_iter();
            let words = words.filter(|(_, rule)| changes(rule));
            let words: Vec<String> = words.map(|(on, rule)| format!("ON {on} {rule}")).collect();
            all.push(Rule {
                table: TableName::new(schema, name),
                parent: TableName::new(parent_schema, parent),
                columns: vec![column],
                on_delete: changes(&delete),
                on_update: changes(&update),
                name: constraint,
                words: words.join(" "),
            });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(table: &str, parent: &str, on_delete: bool, on_update: bool) -> Rule {
        Rule {
            table: TableName::new("s", table),
            parent: TableName::new("s", parent),
            columns: vec!["id".to_owned()],
            on_delete,
            on_update,
            name: String::new(),
            words: String::new(),
        }
    }

    #[test]
    fn what_happens_to_a_row_goes_on_to_those_that_refer_to_it() {
        let names = |all: &[&str]| -> Vec<TableName> {
            all.iter().map(|name| TableName::new("s", *name)).collect()
        };
        let rules = [
            rule("line", "head", true, false),
            rule("head", "customer", true, true),
            rule("tree", "tree", true, false),
        ];
        let cascades = Cascades::of(rules.to_vec(), &names(&["line", "tree"]));
        let of = |table: &str| cascades.effect("s", table).cloned().unwrap_or_default();
        assert_eq!(of("head").of_delete, names(&["line"]));
        assert!(of("head").of_update.is_empty());
        assert_eq!(of("customer").of_delete, names(&["line"]));
        assert_eq!(of("customer").of_update, names(&["line"]));
        assert_eq!(of("tree").of_delete, names(&["tree"]));
        assert_eq!(cascades.effect("s", "line"), None);
        assert_eq!(cascades.effect("t", "head"), None);
    }

    #[test]
    fn what_a_locked_table_may_have_hidden_is_missed() {
        let table = |name: &str| TableName::new("s", name);
        let captured = [table("line"), table("note")];
        let known = [
            rule("line", "head", true, false),
            rule("head", "customer", true, false),
        ];
        let of = |rules: &[Rule], locked: &[&str]| Cascades {
            locked: locked.iter().map(|name| table(name)).collect(),
            ..Cascades::of(rules.to_vec(), &captured)
        };
        let open = of(&known, &[]);
        assert!(open.missed(&of(&known, &["head"])).is_empty());
        // A level that was hidden, of a table that another key changes as well.
        let hidden = of(&known[..1], &["head"]);
        assert_eq!(open.missed(&hidden), [table("line")]);
        assert!(open.missed(&of(&known[..1], &[])).is_empty());
        // Another column of the same parent.
        let mut by_name = [rule("note", "head", false, true)];
        let before = of(&by_name, &["note"]);
        by_name[0].columns.push("number".to_owned());
        assert_eq!(of(&by_name, &[]).missed(&before), [table("note")]);
    }
}
