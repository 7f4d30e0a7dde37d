//! Pages of rows by their rowversion: what a row is now, each time it changed. Removed rows are not told.

use std::sync::Arc;

use contract::{CapturedTable, Op, SourceError};

use crate::catalogue::Table;
use crate::layout::Layout;
use crate::row::Row as Answer;
use crate::session::{Isolation, Parameter, Session, Take};
use crate::sql;

use super::page::{At, Item, Page, Size, Trouble, row_bytes};

/// Reads the changed rows of one table.
#[derive(Debug)]
pub(crate) struct Pager {
    captured: CapturedTable,
    pub(crate) layout: Layout,
    sql: String,
    /// Without snapshots a locked row is waited for.
    snapshots: bool,
    /// Told up to here, this one with it.
    after: u64,
    size: Size,
}

impl Pager {
    pub(crate) fn open(
        table: &Table,
        captured: &CapturedTable,
        snapshots: bool,
        rows_max: usize,
        after: u64,
    ) -> Self {
        let layout = Layout::new(table, captured, |_| true);
        let column = table.rowversion().map_or("", |column| column.name.as_str());
        let version = sql::name(column);
        let cells = layout.select("T");
        let cells = if cells.is_empty() {
            cells
        } else {
            format!(", {cells}")
        };
        // Rows that share one, as after an import, are never cut apart.
        let sql = format!(
            "SELECT TOP (@P1) WITH TIES CAST(T.{version} AS binary(8)) AS [__rv]{cells} FROM {} AS T WHERE \
             T.{version} > @P2 AND T.{version} < @P3 ORDER BY T.{version}",
            sql::table(&captured.table)
        );
        Self {
            captured: captured.clone(),
            layout,
            sql,
            snapshots,
            after,
            size: Size::new(rows_max),
        }
    }

    /// The next page up to `upto`.
    pub(crate) async fn page(&mut self, session: &mut Session, upto: u64) -> Result<Page, Trouble> {
        if upto <= self.after {
            return Ok(Page::default());
        }
        let doing = format!("read the changed rows of {}", self.captured.table);
        let bytes = |version: u64| Parameter::Bytes(version.to_be_bytes().to_vec());
        let ask = self.size.ask();
        let parameters = [
            Parameter::Int(i64::try_from(ask).unwrap_or(i64::MAX)),
            bytes(self.after),
            bytes(upto.saturating_add(1)),
        ];
        if self.snapshots {
            session
                .begin_transaction(&doing, Isolation::Snapshot)
                .await?;
        }
        let mut items = Vec::new();
        let (mut rows, mut size, mut last) = (0, 0, self.after);
        let this = &*self;
        let reading = session.each(&doing, &self.sql, &parameters, |row| {
            let item = this.item(row, &doing)?;
            rows += 1;
            size += item.after.as_ref().map_or(0, row_bytes);
            if let At::Rowversion(version) = item.at {
                last = version;
            }
            items.push(item);
            Ok(Take::More)
        });
        reading.await?;
        if self.snapshots {
            session.commit(&doing).await?;
        }
        self.size.learn(rows, size);
        let full = rows >= ask;
        self.after = if full { last } else { upto };
        Ok(Page {
            items,
            more: full,
            ..Page::default()
        })
    }

    fn item(&self, row: Answer, doing: &str) -> Result<Item, SourceError> {
        let version = row.array(doing, 0)?.map(u64::from_be_bytes);
        let version = version
            .ok_or_else(|| SourceError::Malformed(format!("{doing}: a row has no rowversion")))?;
        let mut cells = row.into_cells().skip(1);
        Ok(Item {
            at: At::Rowversion(version),
            tuple: None,
            shape: Arc::clone(&self.layout.shape),
            // Whether it is new cannot be known.
            op: Op::Read,
            before: None,
            after: Some(self.layout.row(&mut cells)?),
            committed_at: None,
        })
    }
}
