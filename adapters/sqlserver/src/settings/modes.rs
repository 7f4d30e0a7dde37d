//! How the changes of tables are learned, where a person chose.

use std::collections::BTreeMap;

use contract::finding::nearest;
use contract::{NodeKind, Section, TableName};

/// How a table's changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Mode {
    /// Change data capture, read from its tables.
    Cdc,
    /// Change data capture, read through its functions.
    CdcFunction,
    /// Change tracking.
    Tracking,
    /// A column of type `rowversion`.
    Rowversion,
    /// The table is read again and compared.
    Compare,
}

impl Mode {
    pub(crate) const ALL: [Self; 5] = [
        Self::Cdc,
        Self::CdcFunction,
        Self::Tracking,
        Self::Rowversion,
        Self::Compare,
    ];

    /// Its name in the settings.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cdc => "cdc",
            Self::CdcFunction => "cdc-function",
            Self::Tracking => "tracking",
            Self::Rowversion => "rowversion",
            Self::Compare => "compare",
        }
    }
}

/// Modes by table; `Err` when one is none.
pub(super) fn modes(section: &mut Section<'_>) -> Result<BTreeMap<TableName, Mode>, ()> {
    let mut modes = BTreeMap::new();
    let Some(mut section) = section.section("modes") else {
        return Ok(modes);
    };
    let mut right = true;
    for (key, node) in section.free_entries() {
        let table = key
            .name
            .split_once('.')
            .filter(|(schema, table)| !schema.is_empty() && !table.is_empty());
        let Some((schema, table)) = table else {
            let found = format!("`{}` names no table with its schema", key.name);
            let fix = Some(format!("\"dbo.{}\"", key.name));
            section.wrong(&key.name, node, found, fix);
            right = false;
            continue;
        };
        let names = Mode::ALL.map(Mode::name);
        let text = if let NodeKind::Text(text) = &node.kind {
            text.as_str()
        } else {
            node.type_name()
        };
        if let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.name() == text) {
            modes.insert(TableName::new(schema, table), mode);
            continue;
        }
        let found = format!("`{text}` is not one of {}", names.join(", "));
        let fix = nearest(text, names).map(|name| format!("did you mean `{name}`?"));
        section.wrong(&key.name, node, found, fix);
        right = false;
    }
    if right { Ok(modes) } else { Err(()) }
}
