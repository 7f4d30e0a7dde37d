//! Which kind of value a column's type is: what is built in is known, all else is looked up in the catalogue.

use std::collections::HashMap;

use contract::SourceError;
use tokio_postgres::Client;

use crate::connect::{classify, rows};
use crate::values::{Kind, built_in};

/// The type `money`.
const MONEY: u32 = 790;

/// The kinds of the types met so far: all but the plain built-in ones are looked up once.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    looked_up: HashMap<u32, Kind>,
}

impl Kinds {
    fn known(&self, oid: u32) -> Option<Kind> {
        built_in(oid).or_else(|| self.looked_up.get(&oid).copied())
    }

    /// The kind of a type that [`Kinds::learn`] has seen.
    pub(crate) fn of(&self, oid: u32) -> Kind {
        self.known(oid).unwrap_or(Kind::Gone)
    }

    /// Whether all these types are known, and none of them as gone.
    pub(crate) fn knows(&self, oids: &[u32]) -> bool {
        let there = |oid: &u32| self.known(*oid).is_some_and(|kind| kind != Kind::Gone);
        oids.iter().all(there)
    }

    /// Looks up the types not known yet. One that is not in the catalogue is gone (its column was
    /// dropped since), or its transaction is not visible yet: it is looked up again next time.
    pub(crate) async fn learn(&mut self, client: &Client, oids: &[u32]) -> Result<(), SourceError> {
        let missing: Vec<u32> = oids
            .iter()
            .copied()
            .filter(|oid| self.known(*oid).is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let found = client
            .query(
                "WITH RECURSIVE chain(start, oid, typtype, typbasetype) AS (
                     SELECT t.oid, t.oid, t.typtype, t.typbasetype
                       FROM pg_catalog.pg_type t WHERE t.oid = ANY ($1)
                     UNION ALL
                     SELECT chain.start, t.oid, t.typtype, t.typbasetype
                       FROM chain JOIN pg_catalog.pg_type t ON t.oid = chain.typbasetype
                      WHERE chain.typtype = 'd')
                 SELECT start, oid FROM chain WHERE typtype <> 'd'",
                &[&missing],
            )
            .await
            .map_err(|error| classify("read column types", &error))?;
        let mut money = None;
        for row in found {
            let base: u32 = row.get(1);
            let kind = match built_in(base) {
                Some(kind) => kind,
                None if base == MONEY => match money {
                    Some(kind) => kind,
                    None => *money.insert(money_kind(client).await?),
                },
                None => Kind::Text,
            };
            self.looked_up.insert(row.get(0), kind);
        }
        Ok(())
    }
}

/// How amounts are read: in the one form all our connections pin, and with the places that the
/// database's own setting means by its smallest coin. What is stored is a number of those coins.
/// The default is that setting only while the login says none of ours.
async fn money_kind(client: &Client) -> Result<Kind, SourceError> {
    const DOING: &str = "read the places of the type money";
    let found = rows(
        client,
        "SET lc_monetary TO DEFAULT; SELECT pg_catalog.scale((1::pg_catalog.money)::pg_catalog.numeric); \
         SET lc_monetary = 'C'",
        DOING,
    )
    .await?;
    let places = found
        .first()
        .and_then(|row| row.get(0))
        .and_then(|text| text.parse().ok());
    let unreadable = || SourceError::Malformed(format!("{DOING}: the server gives no number"));
    places.map(Kind::Money).ok_or_else(unreadable)
}
