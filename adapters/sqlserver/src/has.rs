//! What a database has for its tables, asked in one way by whoever needs it: the stream, a check, a
//! preparation.

use contract::{CapturedTable, SourceError, TableName};

use crate::captured::{self, Instances};
use crate::catalogue::Table;
use crate::order::Order;
use crate::probe::{self, Database, Engine, Known, OwnRights, Tracking};
use crate::session::Session;
use crate::settings::Settings;
use crate::stream::min_valid;

/// Whether something is there for a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    No,
    Yes,
    /// It is, and our user may not read it; or it cannot be known whether it is. The server answers both
    /// with a zero or a NULL, which never means that all is valid.
    Unreadable,
}

/// What the database has for a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Has {
    pub(crate) cdc: There,
    /// `SELECT` on the tables of change data capture: without it, its functions are read.
    pub(crate) cdc_tables: bool,
    /// Those tables tell the order of commands.
    pub(crate) cdc_order: bool,
    /// A role whose members only may read what is captured, and we are none.
    pub(crate) gate: Option<String>,
    pub(crate) tracking: There,
    pub(crate) key: Key,
    pub(crate) rowversion: bool,
    pub(crate) whole: Whole,
}

/// The primary key, without which changes are not tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    Usable,
    /// By this column nothing can be compared.
    Incomparable(String),
}

/// What is so for the whole database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Change data capture is on.
    pub(crate) cdc: bool,
    /// Why it cannot be.
    pub(crate) without_cdc: Option<String>,
    /// Change tracking is on, as far as we may know.
    pub(crate) tracking: bool,
    /// Not a replica, nor set to be read only.
    pub(crate) writable: bool,
    /// The name that the database has for us.
    pub(crate) user: String,
}

/// What was asked once for all tables.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) engine: Engine,
    pub(crate) database: Database,
    pub(crate) own: OwnRights,
    pub(crate) instances: Instances,
    pub(crate) tracking: Known<Option<Tracking>>,
    pub(crate) tracked: Known<Vec<i64>>,
    /// Those tables that change data capture captures, also where it may not be seen how.
    captured: Vec<i64>,
}

impl Asked {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        let engine = Engine::read(session).await?;
        let database = Database::read(session).await?;
        let own = probe::own_rights(session).await?;
        let (instances, captured) = if database.cdc {
            let instances = Instances::read(session).await?;
            let captured = if instances.by_functions {
                probe::captured_tables(session).await?
            } else {
                Vec::new()
            };
            (instances, captured)
        } else {
            (Instances::default(), Vec::new())
        };
        let tracking = probe::tracking(session).await?;
        let tracked = match tracking {
            Known::Is(None) => Known::Is(Vec::new()),
            Known::Is(Some(_)) | Known::Unknown(_) => probe::tracked(session).await?,
        };
        Ok(Self {
            engine,
            database,
            own,
            instances,
            tracking,
            tracked,
            captured,
        })
    }

    /// What there is for a table.
    pub(crate) async fn has(
        &self,
        session: &mut Session,
        table: &Table,
    ) -> Result<Has, SourceError> {
        let (cdc, gate) = self.cdc(session, table).await?;
        let of_table = || self.instances.of_object(table.object_id);
        Ok(Has {
            cdc,
            cdc_tables: !self.instances.by_functions,
            cdc_order: of_table().all(|one| one.has_order),
            gate,
            tracking: self.tracking(session, table).await?,
            key: match table.primary() {
                None => Key::None,
                Some(index) => match Order::of(table, &index.columns) {
                    Ok(_) => Key::Usable,
                    Err(column) => Key::Incomparable(column),
                },
            },
            rowversion: table.rowversion().is_some(),
            whole: Whole {
                cdc: self.database.cdc,
                without_cdc: self.engine.without_cdc(),
                tracking: !matches!(self.tracking, Known::Is(None)),
                writable: self.database.writable,
                user: self.own.user.clone(),
            },
        })
    }

    /// Whether a table is captured, also where it may not be seen how.
    pub(crate) fn is_captured(&self, object_id: i64) -> bool {
        self.captured.contains(&object_id)
    }

    /// Whether what is captured of a table can be read; and the role that keeps us from it.
    async fn cdc(
        &self,
        session: &mut Session,
        table: &Table,
    ) -> Result<(There, Option<String>), SourceError> {
        let mut there = There::No;
        for one in self.instances.of_object(table.object_id) {
            // The server's own answer, whatever it is made of: rights on the table, roles, ownership. Each of
            // them is needed for what lies before the other.
            if captured::low(session, &one.instance.name).await?.is_some() {
                there = There::Yes;
                continue;
            }
            let mut gate = one.role.clone();
            if let Some(role) = &one.role
                && probe::is_member(session, role, None).await?
            {
                gate = None;
            }
            return Ok((There::Unreadable, gate));
        }
        // Of those that we may not read we are told nothing but that they are there.
        if there == There::No && self.is_captured(table.object_id) {
            there = There::Unreadable;
        }
        Ok((there, None))
    }

    async fn tracking(&self, session: &mut Session, table: &Table) -> Result<There, SourceError> {
        if matches!(self.tracking, Known::Is(None)) {
            return Ok(There::No);
        }
        let listed = self.tracked.known();
        let listed = listed.map(|all| all.contains(&table.object_id));
        if !self.database.writable {
            // It is not asked where it is not told.
            return Ok(match listed {
                Some(true) => There::Yes,
                Some(false) | None => There::No,
            });
        }
        let valid = min_valid(session, &table.name).await?;
        Ok(match (listed, valid) {
            (_, Some(_)) => There::Yes,
            (Some(false), None) => There::No,
            (Some(true) | None, None) => There::Unreadable,
        })
    }
}

/// Tables that the settings name and no mapping reads: how each is written, and the one that may be meant.
pub(crate) fn misnamed<'a>(
    names: impl Iterator<Item = &'a TableName>,
    tables: &[TableName],
) -> Vec<(&'a TableName, Option<TableName>)> {
    let unread = names.filter(|name| !tables.contains(name));
    unread.map(|name| (name, nearest(name, tables))).collect()
}

/// Says it in the log, where nobody has run a check.
pub(crate) fn warn_of_misnamed(settings: &Settings, tables: &[CapturedTable]) {
    let read: Vec<TableName> = tables.iter().map(|one| one.table.clone()).collect();
    for (name, meant) in misnamed(settings.modes.keys(), &read) {
        let meant = meant.map(|meant| meant.to_string()).unwrap_or_default();
        tracing::warn!(
            code = "settings.mode_without_table",
            stage = "capture",
            table = %name,
            meant,
            "modes in the settings names a table that no mapping reads: it has no effect"
        );
    }
}

/// The table that is meant by a name that none has.
pub(crate) fn nearest(name: &TableName, tables: &[TableName]) -> Option<TableName> {
    let lower = |name: &TableName| name.to_string().to_lowercase();
    let same = |other: &&TableName| lower(other) == lower(name);
    if let Some(same) = tables.iter().find(same) {
        return Some(same.clone());
    }
    let texts: Vec<String> = tables.iter().map(lower).collect();
    let wanted = lower(name);
    let found = contract::finding::nearest(&wanted, texts.iter().map(String::as_str))?;
    let at = texts.iter().position(|text| text == found)?;
    tables.get(at).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_written_otherwise_is_found() {
        let tables: Vec<TableName> = ["orders", "order_lines", "item"]
            .map(|name| TableName::new("dbo", name))
            .to_vec();
        let found = |schema: &str, name: &str| nearest(&TableName::new(schema, name), &tables);
        assert_eq!(found("DBO", "Orders"), Some(tables[0].clone()));
        assert_eq!(found("dbo", "ordres"), Some(tables[0].clone()));
        assert_eq!(found("dbo", "warehouse"), None);
        let given = [TableName::new("dbo", "item"), TableName::new("dbo", "itme")];
        let wrong = misnamed(given.iter(), &tables);
        assert_eq!(wrong, [(&given[1], Some(tables[2].clone()))]);
    }
}
