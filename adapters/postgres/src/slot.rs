//! A replication slot as it is now, and what state that is in words.

use contract::SourceError;
use tokio_postgres::Client;

use crate::connect::classify;
use crate::lsn;

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Logical, `pgoutput`, of our database.
    pub(crate) usable: bool,
    pub(crate) active_pid: Option<i32>,
    /// `reserved`, `extended`, `unreserved` or `lost`.
    pub(crate) wal_status: String,
    /// Why the server has given it up, in the server's own word (16 and newer).
    pub(crate) invalidated: Option<String>,
    /// Since when nobody reads it (17 and newer).
    pub(crate) inactive_since: Option<String>,
    /// It is kept on standbys too, so that it outlives a failover; `None` before 17.
    pub(crate) failover: Option<bool>,
    /// Where the server holds the log for us.
    pub(crate) confirmed: Option<u64>,
    /// Bytes of log the server keeps because of it.
    pub(crate) retained: Option<i64>,
    /// Bytes that may still be written before the log it needs is dropped; `None` = without limit.
    pub(crate) left: Option<i64>,
    /// Where the server's log ends now.
    pub(crate) insert: u64,
    /// The first transaction id that no finished transaction has.
    pub(crate) xmax: u64,
}

/// Who reads a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder(String);

impl Slot {
    /// Reads a slot; `None` when there is none of that name.
    pub(crate) async fn read(client: &Client, name: &str) -> Result<Option<Self>, SourceError> {
        // A row made of the view lacks the fields that a version does not have.
        let row = client
            .query_opt(
                "SELECT coalesce(s.slot_type = 'logical' AND s.plugin = 'pgoutput'
                                 AND s.database = pg_catalog.current_database(), false),
                        s.active_pid, coalesce(s.wal_status, 'lost'),
                        s.confirmed_flush_lsn::pg_catalog.text,
                        (pg_catalog.pg_current_wal_insert_lsn() - s.restart_lsn)::pg_catalog.int8,
                        pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text,
                        pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::pg_catalog.text,
                        s.safe_wal_size,
                        coalesce(r.one ->> 'invalidation_reason',
                                 CASE WHEN (r.one ->> 'conflicting')::pg_catalog.bool
                                       AND s.wal_status <> 'lost'
                                      THEN 'conflict' END),
                        r.one ->> 'inactive_since',
                        (r.one ->> 'failover')::pg_catalog.bool
                   FROM pg_catalog.pg_replication_slots s
                  CROSS JOIN LATERAL (SELECT pg_catalog.to_jsonb(s)) r(one)
                  WHERE s.slot_name = $1",
                &[&name],
            )
            .await
            .map_err(|error| classify(&format!("read slot \"{name}\""), &error))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let confirmed: Option<String> = row.get(3);
        let (insert, xmax): (String, String) = (row.get(5), row.get(6));
        let unreadable = || {
            SourceError::Malformed(format!(
                "read slot \"{name}\": its positions are unreadable"
            ))
        };
        Ok(Some(Self {
            usable: row.get(0),
            active_pid: row.get(1),
            wal_status: row.get(2),
            confirmed: confirmed.as_deref().and_then(lsn::parse),
            retained: row.get(4),
            insert: lsn::parse(&insert).ok_or_else(unreadable)?,
            xmax: xmax.parse().map_err(|_| unreadable())?,
            left: row.get(7),
            invalidated: row.get(8),
            inactive_since: row.get(9),
            failover: row.get(10),
        }))
    }

    /// Why the slot will never be read again; `None` = it may be.
    pub(crate) fn dead(&self) -> Option<String> {
        let why = match self.invalidated.as_deref() {
            Some("wal_removed") => "the server has removed the log it needs",
            Some("rows_removed") => {
                "the server has removed catalogue rows that reading its log needs"
            }
            Some("wal_level_insufficient") => {
                "wal_level was lowered below logical while the slot was there"
            }
            Some("idle_timeout") => {
                "nobody read it for longer than idle_replication_slot_timeout allows"
            }
            Some("conflict") => "it is in conflict with what the server has replayed",
            Some(other) => return Some(format!("the server has given it up ({other})")),
            None if self.wal_status == "lost" => {
                "the server has removed the log it needs (wal_status is lost)"
            }
            None => return None,
        };
        Some(why.to_owned())
    }

    /// Bytes of log the server keeps because of it.
    pub(crate) fn kept(&self) -> u64 {
        u64::try_from(self.retained.unwrap_or(0)).unwrap_or(0)
    }
}

impl Holder {
    /// Who holds a slot as server process `pid`, as far as our role may see it.
    pub(crate) async fn read(client: &Client, pid: i32) -> Result<Self, SourceError> {
        let row = client
            .query_opt(
                "SELECT usename::pg_catalog.text, application_name,
                        coalesce(pg_catalog.host(client_addr),
                                 CASE WHEN backend_start IS NOT NULL THEN 'this machine' END),
                        pg_catalog.to_char(backend_start, 'YYYY-MM-DD HH24:MI:SS \"UTC\"')
                   FROM pg_catalog.pg_stat_activity WHERE pid = $1",
                &[&pid],
            )
            .await
            .map_err(|error| classify("read who holds the slot", &error))?;
        let mut who = format!("server process {pid}");
        if let Some(row) = row {
            for (n, word) in [(0, "user"), (1, "application"), (2, "from"), (3, "since")] {
                let found: Option<String> = row.get(n);
                if let Some(found) = found.filter(|found| !found.is_empty()) {
                    who = format!("{who}, {word} {found}");
                }
            }
        }
        Ok(Self(who))
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_slot_says_why() {
        let slot = |status: &str, reason: Option<&str>| Slot {
            usable: true,
            active_pid: None,
            wal_status: status.to_owned(),
            invalidated: reason.map(str::to_owned),
            inactive_since: None,
            failover: None,
            confirmed: None,
            retained: None,
            left: None,
            insert: 0,
            xmax: 0,
        };
        for (status, reason, words) in [
            ("reserved", None, None),
            ("unreserved", None, None),
            ("lost", None, Some("wal_status is lost")),
            ("lost", Some("wal_removed"), Some("removed the log")),
            ("lost", Some("rows_removed"), Some("catalogue rows")),
            (
                "reserved",
                Some("wal_level_insufficient"),
                Some("wal_level"),
            ),
            (
                "reserved",
                Some("idle_timeout"),
                Some("idle_replication_slot_timeout"),
            ),
            ("reserved", Some("new_reason"), Some("new_reason")),
        ] {
            let dead = slot(status, reason).dead();
            match words {
                None => assert_eq!(dead, None),
                Some(words) => assert!(dead.unwrap().contains(words)),
            }
        }
    }
}
