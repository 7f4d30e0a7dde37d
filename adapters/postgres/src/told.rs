//! What the log tells of, as it is remembered beside the checkpoint.
//!
//! Names do not say it: a publication that was dropped and made anew has the name of the former, and
//! what changed in between is in no log. The same goes for a table that was out of its publication
//! for a while, and for one that was made anew. What tells them apart are the numbers that the
//! catalogue gives them.

use std::collections::BTreeMap;
use std::fmt;

use contract::{SourceError, TableName};
use tokio_postgres::Client;

use crate::connect::classify;
use crate::identity::Identity;
use crate::published;

/// Where a checkpoint came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) server: Identity,
    /// `None` where it was not remembered yet.
    pub(crate) told: Option<Told>,
}

/// What a log tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The publication's number.
    pub(crate) publication: u32,
    /// The captured tables that are told.
    pub(crate) tables: BTreeMap<TableName, Member>,
}

/// A table that is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) oid: u32,
    /// The numbers of the publication's entries by which it is told: its own, its partitioned
    /// tables', its schema's. None where the publication is of all tables.
    pub(crate) entries: Vec<u32>,
}

impl Member {
    /// Whether it was taken out for a while since it was `before`: no entry of then is left.
    pub(crate) fn was_out(&self, before: &Self) -> bool {
        !before.entries.is_empty() && !before.entries.iter().any(|one| self.entries.contains(one))
    }
}

/// `7412345678901234567/2 [16400,[["public","item",16385,[16401]]]]`, as it stands in the state
/// file.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.server)?;
        let Some(told) = &self.told else {
            return Ok(());
        };
        let tables = told.tables.iter();
        let tables: Vec<_> = tables
            .map(|(table, member)| (&table.schema, &table.name, member.oid, &member.entries))
            .collect();
        write!(f, " {}", serde_json::json!([told.publication, tables]))
    }
}

/// Schema, name, number and entries.
type Tables = Vec<(String, String, u32, Vec<u32>)>;

impl Origin {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let Some((server, told)) = text.split_once(' ') else {
            return Some(Self {
                server: Identity::parse(text)?,
                told: None,
            });
        };
        let (publication, tables): (u32, Tables) = serde_json::from_str(told).ok()?;
        let tables = tables.into_iter().map(|(schema, name, oid, entries)| {
            (TableName::new(schema, name), Member { oid, entries })
        });
        Some(Self {
            server: Identity::parse(server)?,
            told: Some(Told {
                publication,
                tables: tables.collect(),
            }),
        })
    }
}

/// A captured table as the catalogue has it.
pub(crate) struct Found {
    pub(crate) table: TableName,
    /// `None` where there is none of that name.
    pub(crate) oid: Option<u32>,
    pub(crate) published: bool,
    pub(crate) entries: Vec<u32>,
}

/// The publication's number, and how each of these tables stands in it; `None` where there is no
/// publication of that name.
pub(crate) async fn read<'a>(
    client: &Client,
    publication: &str,
    tables: impl Iterator<Item = &'a TableName>,
) -> Result<Option<(u32, Vec<Found>)>, SourceError> {
    let failed = |error| classify("look at the captured tables", &error);
    let row = client
        .query_opt(
            "SELECT p.oid FROM pg_catalog.pg_publication p WHERE p.pubname = $1",
            &[&publication],
        )
        .await
        .map_err(failed)?;
    let Some(row) = row else {
        return Ok(None);
    };
    let number: u32 = row.get(0);
    let parts = published::has_parts(client).await.map_err(failed)?;
    let of_schemas = if parts {
        "UNION ALL
         SELECT e.oid FROM pg_catalog.pg_publication_namespace e
           JOIN pg_catalog.pg_class m ON m.relnamespace = e.pnnspid
          WHERE e.pnpubid = $4 AND m.oid IN (SELECT a.oid FROM above a)"
    } else {
        ""
    };
    let sql = format!(
        "WITH {}
         SELECT w.s, w.t, c.oid, c.oid IN (SELECT t.relid FROM told t),
                ARRAY(WITH above(oid) AS (
                          SELECT c.oid
                          UNION
                          SELECT a.relid::pg_catalog.oid
                            FROM pg_catalog.pg_partition_ancestors(c.oid) a(relid))
                      SELECT e.oid FROM pg_catalog.pg_publication_rel e
                       WHERE e.prpubid = $4 AND e.prrelid IN (SELECT a.oid FROM above a)
                      {of_schemas}
                      ORDER BY 1)
           FROM ROWS FROM (pg_catalog.unnest($2::pg_catalog.text[]),
                           pg_catalog.unnest($3::pg_catalog.text[])) AS w(s, t)
           LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = w.s
           LEFT JOIN pg_catalog.pg_class c
             ON c.relnamespace = n.oid AND c.relname = w.t AND c.relkind IN ('r', 'p')",
        published::told_sql(parts)
    );
    let (schemas, names): (Vec<&str>, Vec<&str>) = tables
        .map(|table| (table.schema.as_str(), table.name.as_str()))
        .unzip();
    let rows = client
        .query(&sql, &[&publication, &schemas, &names, &number])
        .await
        .map_err(failed)?;
    let found = rows.iter().map(|row| Found {
        table: TableName::new(row.get::<_, String>(0), row.get::<_, String>(1)),
        oid: row.get(2),
        published: row.get::<_, Option<bool>>(3).unwrap_or(false),
        entries: row.get(4),
    });
    Ok(Some((number, found.collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(entries: &[u32]) -> Member {
        Member {
            oid: 7,
            entries: entries.to_vec(),
        }
    }

    #[test]
    fn an_origin_round_trips() {
        let older = Origin::parse("7412345678901234567/12").unwrap();
        assert_eq!(older.told, None);
        assert_eq!(older.to_string(), "7412345678901234567/12");
        let table = |name: &str| TableName::new("public.a", name);
        let origin = Origin {
            told: Some(Told {
                publication: 5,
                tables: [
                    (table("b \"c\" ]"), member(&[1, 4_294_967_295])),
                    (table("d"), member(&[])),
                ]
                .into(),
            }),
            ..older
        };
        assert_eq!(Origin::parse(&origin.to_string()).unwrap(), origin);
        for text in ["x", "7/x", "7/1 ", "7/1 5", "7/1 [5]", "7/1 [5,[[1]]]"] {
            assert_eq!(Origin::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_table_was_out_when_nothing_that_told_it_is_left() {
        for (before, now, was_out) in [
            (&[1][..], &[1][..], false),
            (&[1], &[1, 2], false),
            (&[1, 2], &[2], false),
            (&[1], &[2], true),
            (&[1], &[], true),
            (&[], &[], false),
        ] {
            let found = member(now).was_out(&member(before));
            assert_eq!(found, was_out, "{before:?} {now:?}");
        }
    }
}
