//! TOML to the tree that settings are read from.

use contract::{Key, Node, NodeKind, Problems};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::toml_advice::advice;

/// Parses a TOML file; a syntax error goes to `problems`.
pub(crate) fn parse(text: &str, problems: &Problems) -> Option<Node> {
    let places = Places::new(text);
    match DeTable::parse(text) {
        Ok(table) => Some(Node {
            line: 1,
            column: 1,
            kind: map(table.get_ref(), &places),
        }),
        Err(error) => {
            let (line, column) = places.at(error.span().map_or(0, |span| span.start));
            let whole = text.lines().nth(line - 1).unwrap_or_default();
            let (found, fix) = advice(error.message(), whole, column - 1);
            problems.add(line, column, "toml", found, Some(fix));
            None
        }
    }
}

/// Where each line starts, in bytes.
struct Places<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self {
            text,
            starts: std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect(),
        }
    }

    fn at(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self
            .starts
            .get(line.saturating_sub(1))
            .copied()
            .unwrap_or(0);
        // As editors count: signs, and not bytes.
        let before = self.text.get(start..offset);
        (
            line,
            before.map_or(offset - start, |text| text.chars().count()) + 1,
        )
    }
}

fn map(table: &DeTable<'_>, places: &Places<'_>) -> NodeKind {
    let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
        let (line, column) = places.at(key.span().start);
        let name = key.get_ref().clone().into_owned();
        (Key { name, line, column }, node(value, places))
    };
    NodeKind::Map(table.iter().map(entry).collect())
}

fn node(value: &Spanned<DeValue<'_>>, places: &Places<'_>) -> Node {
    let (line, column) = places.at(value.span().start);
    let kind = match value.get_ref() {
        DeValue::String(text) => NodeKind::Text(text.clone().into_owned()),
        DeValue::Integer(number) => NodeKind::Number(number.to_string()),
        DeValue::Float(number) => NodeKind::Number(number.to_string()),
        DeValue::Boolean(value) => NodeKind::Bool(*value),
        DeValue::Datetime(moment) => NodeKind::Text(moment.to_string()),
        DeValue::Array(items) => {
            NodeKind::List(items.iter().map(|item| node(item, places)).collect())
        }
        DeValue::Table(table) => map(table, places),
    };
    Node { line, column, kind }
}
