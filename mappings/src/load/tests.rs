//! Loading `tests`.

use std::collections::BTreeMap;

use contract::section::Problems;
use contract::{CapturedTable, Node, NodeKind, Section, Value};

use super::blocks::scalar;
use super::settings::Settings;
use super::words::did_you_mean;
use crate::given::{Expected, Given, GivenAnswers, GivenRow, Step};

type Tables = BTreeMap<String, CapturedTable>;

/// Reads the tests of a file; `tables` are those of a company.
pub(super) fn load(
    top: &mut Section<'_>,
    problems: &Problems,
    settings: &Settings,
    tables: &dyn Fn(Option<&str>) -> Tables,
) -> Vec<Given> {
    let mut found = Vec::new();
    for mut test in top.sections("tests") {
        let place = test.place();
        let place = problems.place(place.0, place.1);
        let name = test.required_text("name", "`name: \"what it shows\"`");
        let answers = test.section("settings");
        let answers = answers.map_or(&[][..], |mut answers| answers.free_entries());
        settings.check(answers, &format!("{}.settings", test.path()), problems);
        let mut steps = Vec::new();
        let given = test.get("given");
        let mut company = given.and_then(company_of);
        let tables = &tables(company.as_deref());
        if given.is_none() {
            test.missing("given", "`given: {alias: [{column: value, ..}]}`");
        }
        steps.push(step(&mut test, given, &mut company, problems, tables));
        for mut then in test.sections("then") {
            let change = then.get("change");
            let mut none = None;
            let at_once = then.flag("at_once").unwrap_or(false);
            steps.push(Step {
                at_once,
                ..step(&mut then, change, &mut none, problems, tables)
            });
            then.finish();
        }
        test.finish();
        found.push(Given {
            name: name.unwrap_or_default().to_owned(),
            place,
            company,
            settings: answers.to_vec(),
            steps,
        });
    }
    found
}

/// The company that a test's rows belong to.
fn company_of(given: &Node) -> Option<String> {
    let NodeKind::Map(entries) = &given.kind else {
        return None;
    };
    let (_, node) = entries.iter().find(|(key, _)| key.name == "company")?;
    match &node.kind {
        NodeKind::Text(code) => Some(code.clone()),
        _ => None,
    }
}

fn step(
    section: &mut Section<'_>,
    rows: Option<&Node>,
    company: &mut Option<String>,
    problems: &Problems,
    tables: &Tables,
) -> Step {
    let path = section.path().to_owned();
    let place = section.place();
    let answers = rows.map(|node| answers(node, &path, problems));
    let rows = rows.map(|node| given(node, &path, company, problems, tables));
    let deleted = section.get("delete");
    let deleted = deleted.map(|node| given(node, &path, &mut None, problems, tables));
    let expect = section.get("expect");
    if expect.is_none() {
        section.missing(
            "expect",
            "`expect: [{sku: .., on_hand: \"1\"}]`, or `expect: []`",
        );
    }
    let items = match expect.map(|node| &node.kind) {
        Some(NodeKind::List(items)) => items.as_slice(),
        Some(_) => {
            section.sections("expect");
            &[]
        }
        None => &[],
    };
    let expect = items.iter().filter_map(|item| {
        let NodeKind::Map(entries) = &item.kind else {
            let found = format!("expected fields of an event, found {}", item.type_name());
            problems.add(
                item.line,
                item.column,
                &format!("{path}.expect"),
                found,
                None,
            );
            return None;
        };
        let fields = entries.iter();
        Some(Expected {
            place: problems.place(item.line, item.column),
            fields: fields
                .map(|(key, node)| (key.name.clone(), node.clone()))
                .collect(),
        })
    });
    let held = section.texts("held").unwrap_or_default();
    Step {
        place: problems.place(place.0, place.1),
        rows: rows.unwrap_or_default(),
        deleted: deleted.unwrap_or_default(),
        at_once: false,
        answers: answers.unwrap_or_default(),
        expect: expect.collect(),
        held: held.into_iter().map(str::to_owned).collect(),
    }
}

/// Beside the tables: what `read` answers, by event.
const ANSWERS: &str = "read";

/// `read: {event: [{parameter: value, column: value}]}`
fn answers(node: &Node, path: &str, problems: &Problems) -> Vec<GivenAnswers> {
    let mut top = Section::new(node, path, problems);
    let entries = top
        .section(ANSWERS)
        .map(|mut answers| answers.free_entries());
    let mut found = Vec::new();
    for (event, node) in entries.unwrap_or_default() {
        let path = format!("{path}.{ANSWERS}.{}", event.name);
        let mut rows = Vec::new();
        if let NodeKind::List(items) = &node.kind {
            rows.extend(items.iter().filter_map(|row| cells(row, &path, problems)));
        } else {
            let said = format!("expected a list of rows, found {}", node.type_name());
            problems.add(node.line, node.column, &path, said, None);
        }
        found.push(GivenAnswers {
            event: event.name.clone(),
            rows,
        });
    }
    found
}

/// The columns and values of a row.
fn cells(row: &Node, path: &str, problems: &Problems) -> Option<Vec<(String, Value)>> {
    let NodeKind::Map(cells) = &row.kind else {
        let found = format!("expected a row, found {}", row.type_name());
        problems.add(row.line, row.column, path, found, None);
        return None;
    };
    let mut values = Vec::with_capacity(cells.len());
    for (column, cell) in cells {
        if let Some(value) = scalar(&cell.kind) {
            values.push((column.name.clone(), value));
        } else {
            let found = format!("expected a value, found {}", cell.type_name());
            problems.add(cell.line, cell.column, path, found, None);
        }
    }
    Some(values)
}

fn given(
    node: &Node,
    path: &str,
    company: &mut Option<String>,
    problems: &Problems,
    tables: &Tables,
) -> Vec<GivenRow> {
    let problem = |node: &Node, found: String, fix: Option<String>| {
        problems.add(node.line, node.column, path, found, fix);
    };
    let NodeKind::Map(entries) = &node.kind else {
        problem(
            node,
            format!("expected a table, found {}", node.type_name()),
            None,
        );
        return Vec::new();
    };
    let mut found = Vec::new();
    for (alias, node) in entries {
        if alias.name == "company" && !tables.contains_key("company") {
            match &node.kind {
                NodeKind::Text(code) => *company = Some(code.clone()),
                _ => problem(
                    node,
                    format!("expected text, found {}", node.type_name()),
                    None,
                ),
            }
            continue;
        }
        if alias.name == ANSWERS && !tables.contains_key(ANSWERS) {
            continue;
        }
        let Some(table) = tables.get(&alias.name) else {
            let fix = did_you_mean(&alias.name, tables.keys().map(String::as_str));
            let found = format!("`{}` is not one of tables", alias.name);
            problems.add(alias.line, alias.column, path, found, fix);
            continue;
        };
        let NodeKind::List(rows) = &node.kind else {
            problem(
                node,
                format!("expected a list of rows, found {}", node.type_name()),
                None,
            );
            continue;
        };
        for row in rows {
            let cells = cells(row, path, problems);
            found.extend(cells.map(|cells| GivenRow {
                table: table.table.clone(),
                key: table.key.clone(),
                cells,
            }));
        }
    }
    found
}
