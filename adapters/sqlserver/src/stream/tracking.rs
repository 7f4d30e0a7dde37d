//! Pages of tracked changes: which rows changed, and what they are now.
//!
//! Each page is a transaction of its own. It sees one moment of the database, where that allows snapshots:
//! how far back the changes reach, which rows changed, and their values. A row that changes again later
//! leaves the page for a later version. Without snapshots a value may be newer than its version, and is told
//! again with the version that it belongs to.

use std::sync::Arc;

use contract::{CapturedTable, Op, SourceError, TableName, Value};

use crate::catalogue::Table;
use crate::column::Column;
use crate::errors::{PREPARE, denied};
use crate::layout::Layout;
use crate::order::Order;
use crate::row::Row as Answer;
use crate::session::{Isolation, Parameter, Session, Take};
use crate::sql;
use crate::values;

use super::life::{Life, anew};
use super::page::{At, Item, Page, Size, Trouble, row_bytes};

/// Reads the tracked changes of one table.
#[derive(Debug)]
pub(crate) struct Pager {
    captured: CapturedTable,
    pub(crate) layout: Layout,
    key: Order,
    first_sql: String,
    next_sql: String,
    versions_sql: String,
    isolation: Isolation,
    /// All up to this version is told.
    since: u64,
    /// The last row that was told behind it, by its version and key.
    last: Option<(u64, Vec<String>)>,
    /// Rows may have been told before: what is new to the server need not be new to us.
    told_before: bool,
    /// The life of the tracking that is read; `None` = our user may not see it.
    pub(crate) life: Option<Life>,
    size: Size,
}

/// What the columns before a row's own are.
const OWN: usize = 2;

impl Pager {
    pub(crate) fn open(
        table: &Table,
        captured: &CapturedTable,
        snapshots: bool,
        rows_max: usize,
        since: u64,
        told_before: bool,
    ) -> Result<Self, SourceError> {
        let primary = table.primary().map(|index| index.columns.as_slice());
        let key = Order::of(table, primary.unwrap_or_default()).map_err(|column| {
            denied(
                format!(
                    "table {}: its primary key has column {column}, which cannot be compared",
                    captured.table
                ),
                format!("set modes = {{ \"{}\" = \"compare\" }}", captured.table),
            )
        })?;
        let layout = Layout::new(table, captured, |_| true);
        let named = sql::table(&captured.table);
        let statement = |behind: &str| {
            let keys = key.columns.iter().enumerate();
            let keys: Vec<String> = keys.filter_map(|(n, column)| asked(n, column)).collect();
            let on = key.columns.iter().map(|column| {
                let column = sql::name(&column.name);
                format!("T.{column} = CT.{column}")
            });
            let first = key
                .columns
                .first()
                .map_or("", |column| column.name.as_str());
            let cells = layout.select("T");
            let cells = if cells.is_empty() {
                cells
            } else {
                format!(", {cells}")
            };
            format!(
                "SELECT TOP (@P1) CT.SYS_CHANGE_VERSION, CT.SYS_CHANGE_OPERATION, {}, CASE WHEN T.{} IS NULL \
                 THEN 0 ELSE 1 END AS [__live]{cells} FROM CHANGETABLE(CHANGES {named}, @P2) AS CT LEFT OUTER \
                 JOIN {named} AS T ON {} WHERE CT.SYS_CHANGE_VERSION <= @P3{behind} ORDER BY \
                 CT.SYS_CHANGE_VERSION, {}",
                keys.join(", "),
                sql::name(first),
                on.collect::<Vec<_>>().join(" AND "),
                key.by("CT"),
            )
        };
        let behind = format!(
            " AND CT.SYS_CHANGE_VERSION >= @P4 AND (CT.SYS_CHANGE_VERSION > @P4 OR (CT.SYS_CHANGE_VERSION = @P4 \
             AND {}))",
            key.behind("CT", 5)
        );
        Ok(Self {
            first_sql: statement(""),
            next_sql: statement(&behind),
            versions_sql: versions_sql(&captured.table),
            captured: captured.clone(),
            layout,
            key,
            isolation: if snapshots {
                Isolation::Snapshot
            } else {
                Isolation::ReadCommitted
            },
            since,
            last: None,
            told_before,
            life: None,
            size: Size::new(rows_max),
        })
    }

    /// The same, within a life of the table's tracking.
    pub(crate) fn within(self, life: Option<Life>) -> Self {
        Self { life, ..self }
    }

    fn table(&self) -> &TableName {
        &self.captured.table
    }

    /// The next page up to `upto`.
    pub(crate) async fn page(&mut self, session: &mut Session, upto: u64) -> Result<Page, Trouble> {
        if upto <= self.since {
            return Ok(Page::default());
        }
        let doing = format!("read the tracked changes of {}", self.table());
        session.begin_transaction(&doing, self.isolation).await?;
        // The same for all pages: what is new is so in relation to it.
        let since = self.since;
        if let Some(gap) = self.gap(session, since, upto, &doing).await? {
            session.commit(&doing).await?;
            return Ok(gap);
        }
        let (items, last, full) = self.read(session, since, upto, &doing).await?;
        // What a transaction sees without snapshots may be cleaned up between its statements.
        if self.isolation == Isolation::ReadCommitted
            && let Some(gap) = self.gap(session, since, upto, &doing).await?
        {
            session.commit(&doing).await?;
            return Ok(gap);
        }
        session.commit(&doing).await?;
        if full {
            self.last = last;
        } else {
            self.is_told(upto);
        }
        Ok(Page {
            items,
            more: full,
            ..Page::default()
        })
    }

    fn is_told(&mut self, upto: u64) {
        self.since = upto;
        self.last = None;
        self.told_before = false;
    }

    /// Whether changes behind `since` are lost; all up to `upto` count as told then.
    async fn gap(
        &mut self,
        session: &mut Session,
        since: u64,
        upto: u64,
        doing: &str,
    ) -> Result<Option<Page>, Trouble> {
        let row = session.one(doing, &self.versions_sql, &[]).await?;
        let (current, valid) = (row.int(doing, 0)?, row.int(doing, 1)?);
        let (Some(current), Some(valid)) = (current, valid) else {
            return Err(Trouble::Table(untracked(self.table())));
        };
        if let (Some(life), Some(object), Some(began)) =
            (self.life, row.int(doing, 2)?, row.int(doing, 3)?)
            && life
                != (Life {
                    object,
                    began,
                    kept_in: 0,
                })
        {
            return Err(Trouble::All(anew(self.table())));
        }
        let number = |version: i64| u64::try_from(version).unwrap_or(0);
        if current < valid {
            return Err(Trouble::All(incoherent(self.table())));
        }
        if number(valid) <= since {
            return Ok(None);
        }
        let what = format!(
            "tracked changes of table {} behind version {since} and up to {valid} are lost: the server removed \
             them before they were read, or the table was emptied (TRUNCATE)",
            self.table()
        );
        self.is_told(upto.max(self.since));
        Ok(Some(Page {
            gap: Some(what),
            ..Page::default()
        }))
    }

    async fn read(
        &mut self,
        session: &mut Session,
        since: u64,
        upto: u64,
        doing: &str,
    ) -> Result<(Vec<Item>, Option<(u64, Vec<String>)>, bool), Trouble> {
        let number = |version: u64| Parameter::Int(i64::try_from(version).unwrap_or(i64::MAX));
        let ask = self.size.ask();
        let mut parameters = vec![
            Parameter::Int(i64::try_from(ask).unwrap_or(i64::MAX)),
            number(since),
            number(upto),
        ];
        let sql = match &self.last {
            None => &self.first_sql,
            Some((version, key)) => {
                parameters.push(number(*version));
                let key = self.key.bind(key).ok_or_else(|| {
                    SourceError::Malformed(format!("{doing}: a key cannot be sent back"))
                })?;
                parameters.extend(key);
                &self.next_sql
            }
        };
        let (mut items, mut last) = (Vec::new(), None);
        let (mut rows, mut bytes) = (0, 0);
        let this = &*self;
        let reading = session.each(doing, sql, &parameters, |row| {
            let (item, key) = this.item(row, doing)?;
            rows += 1;
            if let At::Version(version) = item.at {
                last = Some((version, key));
            }
            bytes += item.after.as_ref().map_or(0, row_bytes);
            items.push(item);
            Ok(Take::More)
        });
        reading.await?;
        self.size.learn(rows, bytes);
        Ok((items, last, rows >= ask))
    }

    fn item(&self, row: Answer, doing: &str) -> Result<(Item, Vec<String>), SourceError> {
        let malformed = |what: &str| SourceError::Malformed(format!("{doing}: {what}"));
        let version = row.int_there(doing, 0)?;
        let version = u64::try_from(version).map_err(|_| malformed("a version is negative"))?;
        let operation = row.text_there(doing, 1)?;
        let live = row.flag(doing, OWN + self.key.columns.len())?;
        let mut cells = row.into_cells().skip(OWN);
        let mut key = Vec::with_capacity(self.key.columns.len());
        for column in &self.key.columns {
            let value = cells
                .next()
                .and_then(|cell| values::value(&column.kind, cell));
            key.push(value.ok_or_else(|| malformed("a key's cell is of another type"))?);
        }
        drop(cells.next());
        let packed = self.key.pack(&key)?;
        let (op, before, after) = match (operation.trim_end(), live) {
            // Gone by now, though not yet at this version: a removal will come.
            ("I" | "U" | "D", false) => {
                let names = self.key.columns.iter().map(|column| column.name.as_str());
                let known: Vec<(&str, Value)> = names.zip(key).collect();
                (Op::Delete, Some(self.layout.known(&known)), None)
            }
            ("I", true) if !self.told_before => {
                (Op::Insert, None, Some(self.layout.row(&mut cells)?))
            }
            ("I", true) => (Op::Read, None, Some(self.layout.row(&mut cells)?)),
            // There again by now: a later version will say so.
            ("U" | "D", true) => (Op::Update, None, Some(self.layout.row(&mut cells)?)),
            (other, _) => return Err(malformed(&format!("operation {other} is unknown"))),
        };
        let item = Item {
            at: At::Version(version),
            tuple: None,
            shape: Arc::clone(&self.layout.shape),
            op,
            before,
            after,
            committed_at: None,
        };
        Ok((item, packed))
    }
}

fn asked(n: usize, column: &Column) -> Option<String> {
    let place = format!("CT.{}", sql::name(&column.name));
    Some(format!("{} AS [__k{n}]", column.kind.select(&place)?))
}

fn versions_sql(table: &TableName) -> String {
    let id = format!("OBJECT_ID({})", sql::literal(&sql::table(table)));
    format!(
        "SELECT CHANGE_TRACKING_CURRENT_VERSION() AS v, CHANGE_TRACKING_MIN_VALID_VERSION({id}) AS min_valid, \
         {id} AS object_id, (SELECT ctt.begin_version FROM sys.change_tracking_tables AS ctt WHERE \
         ctt.object_id = {id}) AS began"
    )
}

/// The lowest version from which changes of a table can be told; `None` = it is not tracked, or our user may
/// not read it: the server does not tell one from the other, and neither is a version.
pub(crate) async fn min_valid(
    session: &mut Session,
    table: &TableName,
) -> Result<Option<u64>, SourceError> {
    let doing = format!("read from which version changes of {table} are tracked");
    let row = session.one(&doing, &versions_sql(table), &[]).await?;
    let (current, valid) = (row.int(&doing, 0)?, row.int(&doing, 1)?);
    if let (Some(current), Some(valid)) = (current, valid)
        && current < valid
    {
        return Err(incoherent(table));
    }
    Ok(valid.and_then(|valid| u64::try_from(valid).ok()))
}

fn untracked(table: &TableName) -> SourceError {
    denied(
        format!("the changes of table {table} are not tracked, or our user may not read them"),
        format!(
            "GRANT VIEW CHANGE TRACKING ON {} TO <user>, or {PREPARE}",
            sql::table(table)
        ),
    )
}

/// Versions on a readable secondary do not fit each other.
fn incoherent(table: &TableName) -> SourceError {
    denied(
        format!(
            "the database's change tracking version is lower than what table {table} asks for: this is a \
             replica, whose versions do not fit each other"
        ),
        "set host to the primary, and leave read_only_intent out",
    )
}
