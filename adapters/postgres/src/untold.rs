//! Captured tables that the log does not tell.
//!
//! A publication follows tables, not names: a table that was renamed is told under its new name, and
//! one that was made anew under the old name is not told at all; and one that was taken out and put
//! back has changed unseen. Nothing in the log says so; it is merely silent. So the catalogue is asked
//! now and then, and compared with what is remembered beside the checkpoint.

use std::collections::{BTreeMap, HashMap};

use contract::{CapturedTable, SourceError, TableName, Untold};
use tokio_postgres::Client;

use crate::connect::{self, PREPARE, classify};
use crate::settings::Settings;
use crate::told::{self, Found, Member, Told};

/// What stands behind the captured tables' names.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    /// As of the last look; `None` where there was no publication.
    told: Option<Told>,
    /// The publication that the log was told by first.
    publication: Option<u32>,
    /// Each table as it was told last.
    known: HashMap<TableName, Member>,
    untold: Vec<Untold>,
    /// What the log contradicts, until the next look says more.
    doubts: Vec<Untold>,
}

impl Standing {
    /// As it was when the checkpoint was stored, where that is known.
    pub(crate) fn new(before: Option<Told>) -> Self {
        let Some(before) = before else {
            return Self::default();
        };
        Self {
            publication: Some(before.publication),
            known: before.tables.into_iter().collect(),
            ..Self::default()
        }
    }

    /// What the log told of at the last look; `None` where there was no publication.
    pub(crate) fn told(&self) -> Option<&Told> {
        self.told.as_ref()
    }

    /// Those that are not told.
    pub(crate) fn untold(&self) -> &[Untold] {
        &self.untold
    }

    /// Whether a table is told.
    pub(crate) fn tells(&self, table: &TableName) -> bool {
        !self.untold.iter().any(|untold| untold.table == *table)
    }

    /// Rows of a table exchanged their keys: what was told leaves open what they are. It is untold
    /// until the next look; whether it was told until now.
    pub(crate) fn exchanged(&mut self, table: &TableName) -> bool {
        let told = self.tells(table);
        if told {
            self.untold.push(Untold {
                table: table.clone(),
                what: format!(
                    "rows of table {table} exchanged their keys within one transaction, so it is \
                     read again"
                ),
                hint: "nothing; it is rare where the key's index is not deferrable".to_owned(),
                routine: false,
            });
        }
        told
    }

    /// Compares what the log has just described with what stood behind its name when we looked: the
    /// catalogue may be in order again by now, and what the log tells here is of before. Of a
    /// captured table that bore another name nothing was told in between, and it is in doubt; so is
    /// one whose name another table bore, of which nothing may be told. Whether all is well.
    pub(crate) fn agrees(&mut self, oid: u32, name: &TableName) -> bool {
        let (table, what) = if let Some(known) = self.known.get(name) {
            if known.oid == oid {
                return true;
            }
            let what = format!(
                "another table (number {oid} in place of {}) was called {name} for a while: table \
                 {name} is read again",
                known.oid
            );
            (name.clone(), what)
        } else {
            let Some((table, _)) = self.known.iter().find(|(_, known)| known.oid == oid) else {
                return true;
            };
            let what = format!("table {table} was called {name} for a while: it is read again");
            (table.clone(), what)
        };
        if !self.doubts.iter().any(|doubt| doubt.table == table) {
            let hint = "nothing, if that was meant".to_owned();
            self.doubts.push(Untold {
                table,
                what,
                hint,
                routine: false,
            });
        }
        false
    }

    /// Whether the log has contradicted the last look.
    pub(crate) fn doubts(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// No look says more. Whether anything is not told that was.
    pub(crate) fn believe(&mut self) -> bool {
        let mut more = false;
        for doubt in std::mem::take(&mut self.doubts) {
            if self.tells(&doubt.table) {
                self.untold.push(doubt);
                more = true;
            }
        }
        more
    }

    /// Looks again. The tables that were not told and now are; whether anything is not told that
    /// was.
    pub(crate) async fn look(
        &mut self,
        settings: &Settings,
        client: &Client,
        tables: &[CapturedTable],
    ) -> Result<(Vec<TableName>, bool), SourceError> {
        let seen = self.looking(tables).see(client, &settings.publication);
        self.note(settings, seen.await?, false)
    }

    /// What a look asks for, apart from us: it may go on while the log is read.
    pub(crate) fn looking(&self, tables: &[CapturedTable]) -> Looking {
        let known = self.known.iter();
        Looking {
            tables: tables.iter().map(|one| one.table.clone()).collect(),
            oids: known
                .map(|(table, member)| (table.clone(), member.oid))
                .collect(),
        }
    }

    /// Notes what a look saw, all of it at once. What is `unsaid` yet stays untold: the engine has not
    /// heard of it.
    pub(crate) fn note(
        &mut self,
        settings: &Settings,
        seen: Option<Seen>,
        unsaid: bool,
    ) -> Result<(Vec<TableName>, bool), SourceError> {
        let Some(Seen {
            publication,
            rows,
            former,
        }) = seen
        else {
            self.told = None;
            return Ok((Vec::new(), false));
        };
        if self.publication.is_some_and(|known| known != publication) {
            return Err(made_anew(settings));
        }
        let mut found: Vec<Untold> = Vec::new();
        let mut now = BTreeMap::new();
        for Found {
            table,
            oid,
            published,
            entries,
        } in rows
        {
            let member = oid.filter(|_| published);
            let member = member.map(|oid| Member { oid, entries });
            let known = self.known.get(&table);
            let other = known.filter(|known| oid != Some(known.oid));
            let was_out = known
                .zip(member.as_ref())
                .is_some_and(|(known, now)| now.was_out(known));
            if !published || other.is_some() || was_out {
                // What was said of it first says more than what is to be seen later.
                let said = self.untold.iter().find(|said| said.table == table);
                let said = said.cloned();
                found.push(said.unwrap_or_else(|| {
                    if other.is_none() && was_out {
                        out_for_a_while(settings, &table)
                    } else {
                        let former = former.get(&table).cloned();
                        untold(settings, &table, oid.is_some(), published, former)
                    }
                }));
            }
            if let Some(member) = member {
                now.insert(table, member);
            }
        }
        let unsaid = self.untold.iter().filter(|_| unsaid).cloned();
        let more: Vec<Untold> = unsaid.chain(std::mem::take(&mut self.doubts)).collect();
        for one in more {
            if !found.iter().any(|other| other.table == one.table) {
                found.push(one);
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
        self.untold = found;
        self.publication = Some(publication);
        let members = now.iter();
        self.known
            .extend(members.map(|(table, member)| (table.clone(), member.clone())));
        self.told = Some(Told {
            publication,
            tables: now,
        });
        Ok((again, more))
    }
}

/// A look that is under way.
pub(crate) struct Looking {
    tables: Vec<TableName>,
    /// Each table's number as it was told last.
    oids: HashMap<TableName, u32>,
}

/// What a look saw.
pub(crate) struct Seen {
    publication: u32,
    rows: Vec<Found>,
    /// What tables that are others now, or gone, are called.
    former: HashMap<TableName, String>,
}

impl Looking {
    /// Asks the catalogue; `None` where there is no publication.
    pub(crate) async fn see(
        self,
        client: &Client,
        publication: &str,
    ) -> Result<Option<Seen>, SourceError> {
        let read = told::read(client, publication, self.tables.iter()).await?;
        let Some((publication, rows)) = read else {
            return Ok(None);
        };
        let mut former = HashMap::new();
        for Found { table, oid, .. } in &rows {
            let known = self.oids.get(table);
            if let Some(known) = known.filter(|known| *oid != Some(**known))
                && let Some(name) = self::former(client, *known).await?
            {
                former.insert(table.clone(), name);
            }
        }
        Ok(Some(Seen {
            publication,
            rows,
            former,
        }))
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

/// What changed while there was no publication, or another one, is in no log, and where the server
/// tells of it at all (before 18), it is by refusing to read on.
fn made_anew(settings: &Settings) -> SourceError {
    SourceError::PositionLost {
        what: format!(
            "look at publication \"{}\": it was dropped and made anew: changes before that are not \
             told",
            settings.publication
        ),
        hint: format!(
            "SELECT pg_drop_replication_slot({}), which is older than the publication; then \
             {PREPARE}, and lighterman source resync: every table is read again and compared",
            connect::literal(&settings.slot)
        ),
    }
}

fn out_for_a_while(settings: &Settings, table: &TableName) -> Untold {
    Untold {
        table: table.clone(),
        what: format!(
            "table {table} was taken out of publication \"{}\" for a while: it is read again",
            settings.publication
        ),
        hint: "nothing, if that was meant".to_owned(),
        routine: false,
    }
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
        routine: false,
    }
}

fn called(former: Option<String>) -> String {
    former.map_or_else(String::new, |name| {
        format!(": the former one is called {name} now")
    })
}
