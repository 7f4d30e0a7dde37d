//! Captured tables that the log does not tell.
//!
//! A publication follows tables, not names: a table that was renamed is told under its new name, and
//! one that was made anew under the old name is not told at all. Nothing in the log says so; it is
//! merely silent. So the catalogue is asked now and then.

use std::collections::HashMap;

use contract::{CapturedTable, SourceError, TableName, Untold};
use tokio_postgres::Client;

use crate::connect::{self, PREPARE, classify};
use crate::settings::Settings;

/// What stands behind the captured tables' names.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// The number of each table that is told.
    oids: HashMap<TableName, u32>,
    untold: Vec<Untold>,
}

impl Standing {
    /// Those that are not told.
    pub(crate) fn untold(&self) -> &[Untold] {
        &self.untold
    }

    /// Whether a table is told.
    pub(crate) fn tells(&self, table: &TableName) -> bool {
        !self.untold.iter().any(|untold| untold.table == *table)
    }

    /// What was told of a table leaves open what its rows are. It is until the next look.
    pub(crate) fn unclear(&mut self, table: &TableName) {
        if self.tells(table) {
            self.untold.push(Untold {
                table: table.clone(),
                what: format!(
                    "rows of table {table} exchanged their keys within one transaction, so it is \
                     read again"
                ),
                hint: "nothing; it is rare where the key's index is not deferrable".to_owned(),
            });
        }
    }

    /// Whether the log calls a captured table by a name that it did not have when we looked.
    pub(crate) fn contradicts(&self, oid: u32, name: &TableName) -> bool {
        let known = self.oids.iter().find(|(_, known)| **known == oid);
        known.is_some_and(|(known, _)| known != name)
    }

    /// Looks again. The tables that were not told and now are; whether anything is not told that
    /// was.
    pub(crate) async fn look(
        &mut self,
        settings: &Settings,
        client: &Client,
        tables: &[CapturedTable],
    ) -> Result<(Vec<TableName>, bool), SourceError> {
        let failed = |error| classify("look at the captured tables", &error);
        let schemas: Vec<&str> = tables.iter().map(|c| c.table.schema.as_str()).collect();
        let names: Vec<&str> = tables.iter().map(|c| c.table.name.as_str()).collect();
        let rows = client
            .query(
                "SELECT w.s, w.t, c.oid, p.tablename IS NOT NULL
                   FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]),
                                   pg_catalog.unnest($2::pg_catalog.text[])) AS w(s, t)
                   LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.s
                   LEFT JOIN pg_catalog.pg_class c
                     ON c.relnamespace = n.oid AND c.relname = w.t AND c.relkind IN ('r', 'p')
                   LEFT JOIN pg_catalog.pg_publication_tables p
                     ON p.pubname = $3 AND p.schemaname = w.s AND p.tablename = w.t",
                &[&schemas, &names, &settings.publication],
            )
            .await
            .map_err(failed)?;
        // Whoever waits for us may give up at any point: all of it is noted at once, or nothing.
        let mut found: Vec<Untold> = Vec::new();
        let mut oids = self.oids.clone();
        for row in &rows {
            let table = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
            let (oid, published): (Option<u32>, bool) = (row.get(2), row.get(3));
            let known = self.oids.get(&table).copied();
            let other = known.filter(|known| oid != Some(*known));
            if !published || other.is_some() {
                let former = match other {
                    Some(other) => former(client, other).await?,
                    None => None,
                };
                // What was said of it first says more than what is to be seen later.
                let said = self.untold.iter().find(|said| said.table == table);
                let said = said.cloned();
                found.push(
                    said.unwrap_or_else(|| {
                        untold(settings, &table, oid.is_some(), published, former)
                    }),
                );
            }
            if let (true, Some(oid)) = (published, oid) {
                oids.insert(table, oid);
            }
        }
        let again: Vec<TableName> = self
            .untold
            .iter()
            .map(|said| &said.table)
            .filter(|table| !found.iter().any(|one| one.table == **table))
            .cloned()
            .collect();
        let more = found.iter().any(|one| self.tells(&one.table));
        (self.untold, self.oids) = (found, oids);
        Ok((again, more))
    }
}

/// What a table is called now.
async fn former(client: &Client, oid: u32) -> Result<Option<String>, SourceError> {
    let row = client
        .query_opt(
            "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
            &[&oid],
        )
        .await
        .map_err(|error| classify("look at the captured tables", &error))?;
    Ok(row.map(|row| format!("{}.{}", row.get::<_, &str>(0), row.get::<_, &str>(1))))
}

fn untold(
    settings: &Settings,
    table: &TableName,
    exists: bool,
    published: bool,
    former: Option<String>,
) -> Untold {
    let publication = &settings.publication;
    let add = format!(
        "ALTER PUBLICATION {} ADD TABLE {}, or {PREPARE}",
        connect::name(publication),
        connect::table(table)
    );
    let (what, hint) = match (exists, published, former) {
        (true, true, former) => (
            format!(
                "table {table} is another one than before{}: it is read again",
                called(former)
            ),
            "nothing, if that was meant".to_owned(),
        ),
        (true, false, Some(former)) => (
            format!(
                "table {table} is another one than before, and publication \"{publication}\" does \
                 not have it: the former one is called {former} now"
            ),
            add,
        ),
        (true, false, None) => (
            format!("publication \"{publication}\" does not have table {table}"),
            add,
        ),
        (false, _, former) => (
            format!("table {table} does not exist any more{}", called(former)),
            "make it again, or take it out of the mapping (lighterman map check)".to_owned(),
        ),
    };
    Untold {
        table: table.clone(),
        what,
        hint,
    }
}

fn called(former: Option<String>) -> String {
    former.map_or_else(String::new, |name| {
        format!(": the former one is called {name} now")
    })
}
