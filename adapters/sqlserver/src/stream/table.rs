//! How each captured table is read, as it was when the stream was opened.

use std::fmt::Write as _;

use contract::{CapturedTable, SourceError, TableName};

use crate::catalogue::{self, Table};
use crate::errors::denied;
use crate::has::Asked;
use crate::lsn::Lsn;
use crate::mode::{self, Unfit};
use crate::probe::Database;
use crate::session::Session;
use crate::settings::{Mode, Settings};

use super::cdc;
use super::heads::Heads;
use super::life::{Life, without_life};
use super::page::{Page, Trouble};
use super::{rowversion, tracking};

/// Reads pages of a table.
#[derive(Debug)]
pub(crate) enum Reader {
    Cdc(Box<cdc::Pager>),
    Tracking(Box<tracking::Pager>),
    Rowversion(Box<rowversion::Pager>),
    /// Nothing tells its changes.
    Nothing,
}

/// A captured table.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) captured: CapturedTable,
    /// `None` = it is not told.
    pub(crate) mode: Option<Mode>,
    pub(crate) reader: Reader,
}

impl Watched {
    pub(crate) fn table(&self) -> &TableName {
        &self.captured.table
    }

    pub(crate) async fn page(
        &mut self,
        session: &mut Session,
        upto: Heads,
    ) -> Result<Page, Trouble> {
        match &mut self.reader {
            Reader::Cdc(pager) => pager.page(session, upto.lsn).await,
            Reader::Tracking(pager) => pager.page(session, upto.version).await,
            Reader::Rowversion(pager) => pager.page(session, upto.rowversion).await,
            Reader::Nothing => Ok(Page::default()),
        }
    }

    /// What [`contract::ChangeStream::server`] says of it: how it is told, and by which capture instances, each
    /// with how far down it reaches, or in which life of its tracking.
    pub(crate) fn line(&self) -> String {
        let mut line = head(self.table());
        line.push_str(self.mode.map_or("none", Mode::name));
        match &self.reader {
            Reader::Cdc(pager) => {
                for (name, low) in &pager.known {
                    let _ = write!(line, " {name:?}={low}");
                }
            }
            Reader::Tracking(pager) => {
                if let Some(life) = pager.life {
                    let _ = write!(line, "{life}");
                }
            }
            Reader::Rowversion(_) | Reader::Nothing => {}
        }
        line
    }
}

/// How far down a capture instance of a table reached when a stream said this; `None` = it did not say.
pub(crate) fn low_before(server: &str, table: &TableName, instance: &str) -> Option<Lsn> {
    let (_, rest) = line_of(server, table)?.split_once(&format!(" {instance:?}="))?;
    Lsn::parse(rest.get(..20)?)
}

/// What a stream said that says which captured rows it told, and by what. Left out is how far down the
/// instances reach, which rises while the server cleans up, and what does not concern them: the lives of
/// tracked tables.
pub(crate) fn without_marks(server: &str) -> String {
    let lines: Vec<&str> = server.lines().map(without_life).collect();
    without_lows(&lines.join("\n"))
}

fn without_lows(server: &str) -> String {
    let mut parts = server.split("\"=");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let low = part.get(..20).and_then(Lsn::parse);
        all.push_str(if low.is_some() { "\"" } else { "\"=" });
        all.push_str(if low.is_some() {
            part.get(20..).unwrap_or_default()
        } else {
            part
        });
    }
    all
}

/// How the line of a table begins.
pub(crate) fn head(table: &TableName) -> String {
    format!("{:?} ", table.to_string())
}

/// What a stream said of a table, behind its name.
pub(crate) fn line_of<'a>(server: &'a str, table: &TableName) -> Option<&'a str> {
    let head = head(table);
    server.lines().find_map(|line| line.strip_prefix(&head))
}

/// How a table was told, by what a stream said of it before; `None` = it did not know the table.
pub(crate) fn mode_before<'a>(server: &'a str, table: &TableName) -> Option<&'a str> {
    line_of(server, table)?.split(' ').next()
}

/// What the database has for all tables.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) database: Database,
    asked: Asked,
    pub(crate) offset_minutes: i64,
}

impl Found {
    pub(crate) async fn read(session: &mut Session) -> Result<Self, SourceError> {
        let asked = Asked::read(session).await?;
        Ok(Self {
            database: asked.database.clone(),
            asked,
            offset_minutes: crate::probe::offset_minutes(session).await?,
        })
    }

    /// Chooses how a table is told.
    pub(crate) async fn choose(
        &self,
        session: &mut Session,
        settings: &Settings,
        captured: &CapturedTable,
    ) -> Result<Result<(Table, Mode), Unfit>, SourceError> {
        let name = &captured.table;
        let unfit = |what: String, hint: String| {
            Ok(Err(Unfit {
                what: format!("table {name}: {what}"),
                hint,
            }))
        };
        let Some(table) = catalogue::find(session, name).await? else {
            return unfit(
                "there is none, or our user may not know of it".to_owned(),
                format!(
                    "make it again, take it out of the mapping (lighterman map check), or GRANT SELECT ON {}",
                    crate::sql::table(name)
                ),
            );
        };
        if table.name != *name {
            return unfit(
                format!("it is called {} in the database", table.name),
                format!("write it as {} in the mapping", table.name),
            );
        }
        let has = self.asked.has(session, &table).await?;
        let wanted = settings.modes.get(name).copied();
        match mode::choose(name, wanted, &has) {
            Ok(mode) => Ok(Ok((table, mode))),
            // Not of this table alone: this is the wrong server to be at.
            Err(found) if found == mode::of_replica() => {
                Err(denied(format!("table {name}: {}", found.what), found.hint))
            }
            Err(found) => unfit(found.what, found.hint),
        }
    }
}

/// From where a table is read on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct From {
    /// Told up to here.
    pub(crate) told: Heads,
    /// Some of what comes may have been told.
    pub(crate) told_before: bool,
}

/// Opens a table's reader, where `before` is what the stream said that told of the checkpoint; also why changes of it are lost, where they are.
#[expect(clippy::too_many_arguments, reason = "each is another thing to know")]
pub(crate) async fn open(
    session: &mut Session,
    found: &Found,
    table: &Table,
    captured: &CapturedTable,
    mode: Mode,
    rows_max: usize,
    from: From,
    before: Option<&str>,
    life: Option<Life>,
) -> Result<(Reader, Option<String>), Trouble> {
    let snapshots = found.database.snapshots();
    let told = from.told;
    Ok(match mode {
        Mode::Cdc | Mode::CdcFunction => {
            let by_function = mode == Mode::CdcFunction;
            let offset = found.offset_minutes;
            let opening = cdc::Pager::open(
                session,
                table,
                captured,
                by_function,
                offset,
                rows_max,
                told.lsn,
                before,
                &found.asked.instances,
            );
            let (pager, gap) = opening.await?;
            (Reader::Cdc(Box::new(pager)), gap)
        }
        Mode::Tracking => {
            let (since, before) = (told.version, from.told_before);
            let pager = tracking::Pager::open(table, captured, snapshots, rows_max, since, before)?;
            let pager = pager.within(life);
            (Reader::Tracking(Box::new(pager)), None)
        }
        Mode::Rowversion => {
            let after = told.rowversion;
            let pager = rowversion::Pager::open(table, captured, snapshots, rows_max, after);
            (Reader::Rowversion(Box::new(pager)), None)
        }
        Mode::Compare => (Reader::Nothing, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_said_of_a_table_is_found_again() {
        let captured = |name: &str| CapturedTable {
            table: TableName::new("dbo", name),
            key: Vec::new(),
            columns: Vec::new(),
        };
        let watched = |name: &str, mode| Watched {
            captured: captured(name),
            mode,
            reader: Reader::Nothing,
        };
        let (one, other) = (watched("a b", Some(Mode::Tracking)), watched("a", None));
        let server = format!("SQL Server\n{}\n{}", one.line(), other.line());
        assert_eq!(mode_before(&server, one.table()), Some("tracking"));
        assert_eq!(mode_before(&server, other.table()), Some("none"));
        assert_eq!(mode_before(&server, &TableName::new("dbo", "c")), None);
    }

    #[test]
    fn how_far_down_instances_reach_is_found_again_and_can_be_left_out() {
        let low = Lsn([7; 10]);
        let server = format!(
            "SQL Server\n\"dbo.a\" cdc \"a\\\"=b\"={low} \"a\"={}",
            Lsn([8; 10])
        );
        let table = TableName::new("dbo", "a");
        assert_eq!(low_before(&server, &table, "a\"=b"), Some(low));
        assert_eq!(low_before(&server, &table, "a"), Some(Lsn([8; 10])));
        assert_eq!(low_before(&server, &table, "b"), None);
        assert_eq!(
            without_marks(&format!("{server}\n\"dbo.t\" tracking life=1.2.3")),
            "SQL Server\n\"dbo.a\" cdc \"a\\\"=b\" \"a\"\n\"dbo.t\" tracking"
        );
    }
}
