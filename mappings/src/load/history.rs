//! Loading `also_in`: where finished documents go.

use contract::{ColumnInfo, Node, NodeKind, Section};

use super::scope::Scope;
use super::words::did_you_mean;
use crate::catalogue::seen;
use crate::rule::{Origin, Role};

/// `also_in: {head: history_head, line: history_line}`: where finished documents go.
pub(super) fn history<'a>(
    scope: &mut Scope<'_>,
    mut section: Section<'a>,
) -> (Option<()>, Vec<Moved<'a>>) {
    let path = section.path().to_owned();
    let mut found = None;
    let mut moves = Vec::new();
    for (alias, node) in section.free_entries() {
        let path = format!("{path}.{}", alias.name);
        let problem = |found: String, fix: Option<String>| {
            scope
                .shared
                .problems
                .add(node.line, node.column, &path, found, fix);
        };
        let NodeKind::Text(table) = &node.kind else {
            problem(
                format!("expected an alias of tables, found {}", node.type_name()),
                None,
            );
            continue;
        };
        let Some(captured) = scope.shared.tables.get(table) else {
            let names = scope.shared.tables.keys().map(String::as_str);
            problem(
                format!("`{table}` is not one of tables"),
                did_you_mean(table, names),
            );
            continue;
        };
        let slots = scope.slots.iter();
        let at = slots.into_iter().position(|slot| {
            slot.alias == alias.name && matches!(slot.role, Role::From | Role::List)
        });
        let Some(at) = at else {
            let found = format!(
                "`{}` is neither the event's table nor that of its lines",
                alias.name
            );
            let own = scope.slots.iter();
            let own = own.filter(|slot| matches!(slot.role, Role::From | Role::List));
            let own: Vec<&str> = own.map(|slot| slot.alias.as_str()).collect();
            let fix = did_you_mean(&alias.name, own.iter().copied());
            problem(
                found,
                fix.or_else(|| Some(format!("one of {}", own.join(", ")))),
            );
            continue;
        };
        scope.used_tables.push(table.clone());
        if let Some(slot) = scope.slots.get_mut(at) {
            if captured.key.len() == slot.table.key.len() {
                slot.history = Some(captured.clone());
                moves.push(Moved {
                    slot: at,
                    node,
                    path,
                });
            } else {
                let found = format!("its key has not as many columns as that of {}", alias.name);
                scope
                    .shared
                    .problems
                    .add(node.line, node.column, &path, found, None);
            }
        }
        if at == 0 {
            found = Some(());
        }
    }
    (found, moves)
}

/// An entry of `also_in`: where finished rows of a slot go.
pub(super) struct Moved<'a> {
    slot: usize,
    node: &'a Node,
    path: String,
}

/// A finished row must be readable where it went: the same columns, of types that mean the same.
pub(super) fn same_columns(scope: &Scope<'_>, moved: &Moved<'_>) {
    let catalogue = scope.shared.catalogue;
    let Some(slot) = scope.slots.get(moved.slot) else {
        return;
    };
    let Some(history) = slot.history.as_ref().map(|history| &history.table) else {
        return;
    };
    let Some(there) = catalogue.columns(history) else {
        return;
    };
    let here = catalogue.columns(&slot.table.table).unwrap_or_default();
    let problem = |found: String, fix: Option<String>| {
        let (line, column) = (moved.node.line, moved.node.column);
        let problems = scope.shared.problems;
        problems.add(line, column, &moved.path, found, fix);
    };
    for origin in &scope.columns {
        let Origin::Cell {
            slot,
            column,
            optional,
        } = origin
        else {
            continue;
        };
        if *slot != moved.slot {
            continue;
        }
        let named = |columns: &[ColumnInfo]| {
            let found = columns.iter().find(|known| known.name == *column);
            found.map(|known| seen(known.kind))
        };
        match (named(here), named(there)) {
            (Some(here), Some(there)) if !here.fits(there) && !there.fits(here) => {
                let found = format!(
                    "column \"{column}\" is {} in {history}, and {} where it came from",
                    there.name(),
                    here.name()
                );
                problem(
                    found,
                    Some("the table that holds the same rows later".to_owned()),
                );
            }
            (_, None) if !optional => {
                let found = format!("table {history} has no column \"{column}\"");
                let names = there.iter().map(|known| known.name.as_str());
                let fix = did_you_mean(column, names);
                problem(found, fix);
            }
            _ => {}
        }
    }
}
