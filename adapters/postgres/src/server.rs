//! What a server's settings mean for us, and how much room it has.

use std::path::Path;

use contract::SourceError;
use tokio_postgres::Client;

use crate::connect::classify;
use crate::settings::{Settings, is_local};

/// A server, as far as our role may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// As `server_version_num` has it.
    pub(crate) number: i32,
    pub(crate) version: String,
    pub(crate) wal_level: String,
    pub(crate) slots: Places,
    pub(crate) senders: Places,
    /// After so many milliseconds without a word from us it ends the connection; 0 = never.
    pub(crate) sender_timeout_ms: i64,
    /// It keeps so many MiB of log for a slot; below 0 = without limit.
    pub(crate) keep_mib: i64,
    /// After so long without a reader it gives a slot up, in its own words; `None` = never.
    pub(crate) idle_slot_timeout: Option<String>,
    pub(crate) encoding: String,
    /// Only shown to members of `pg_monitor`.
    data_directory: Option<String>,
    /// Time limits that our role's sessions begin with, by name, in milliseconds.
    pub(crate) limits: Vec<(String, String)>,
    /// It sends its log to standbys.
    pub(crate) has_standbys: bool,
    /// Prepared transactions: identifier, owner, since when, and whether that is long ago.
    pub(crate) prepared: Vec<Prepared>,
}

/// Places of which a server has so many, and so many taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Places {
    pub(crate) max: i64,
    pub(crate) taken: i64,
}

/// A prepared transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Prepared {
    pub(crate) gid: String,
    pub(crate) owner: String,
    pub(crate) database: String,
    pub(crate) since: String,
    /// For more than an hour.
    pub(crate) long: bool,
}

impl Places {
    pub(crate) fn free(self) -> i64 {
        (self.max - self.taken).max(0)
    }
}

impl Server {
    pub(crate) async fn read(client: &Client) -> Result<Self, SourceError> {
        let failed = |error| classify("read server settings", &error);
        let row = client
            .query_one(
                "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
                        pg_catalog.current_setting('server_version'),
                        pg_catalog.current_setting('wal_level'),
                        pg_catalog.current_setting('max_replication_slots')::pg_catalog.int8,
                        (SELECT count(*) FROM pg_catalog.pg_replication_slots),
                        pg_catalog.current_setting('max_wal_senders')::pg_catalog.int8,
                        (SELECT count(*) FROM pg_catalog.pg_stat_replication),
                        (SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings
                          WHERE name = 'wal_sender_timeout'),
                        (SELECT setting::pg_catalog.int8 FROM pg_catalog.pg_settings
                          WHERE name = 'max_slot_wal_keep_size'),
                        (SELECT pg_catalog.current_setting(name) FROM pg_catalog.pg_settings
                          WHERE name = 'idle_replication_slot_timeout' AND setting <> '0'),
                        pg_catalog.getdatabaseencoding()::pg_catalog.text,
                        (SELECT setting FROM pg_catalog.pg_settings
                          WHERE name = 'data_directory'),
                        EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots
                                 WHERE slot_type = 'physical')",
                &[],
            )
            .await
            .map_err(failed)?;
        // What the session began with: we have set our own since.
        let limits = client
            .query(
                "SELECT name, reset_val || unit FROM pg_catalog.pg_settings
                  WHERE name IN ('idle_session_timeout', 'transaction_timeout')
                    AND reset_val <> '0' ORDER BY name",
                &[],
            )
            .await
            .map_err(failed)?;
        let prepared = client
            .query(
                "SELECT gid, owner::pg_catalog.text, database::pg_catalog.text,
                        pg_catalog.to_char(prepared, 'YYYY-MM-DD HH24:MI:SS \"UTC\"'),
                        prepared < pg_catalog.now() - '1 hour'::pg_catalog.interval
                   FROM pg_catalog.pg_prepared_xacts ORDER BY prepared",
                &[],
            )
            .await
            .map_err(failed)?;
        Ok(Self {
            number: row.get(0),
            version: row.get(1),
            wal_level: row.get(2),
            slots: Places {
                max: row.get(3),
                taken: row.get(4),
            },
            senders: Places {
                max: row.get(5),
                taken: row.get(6),
            },
            sender_timeout_ms: row.get(7),
            keep_mib: row.get(8),
            idle_slot_timeout: row.get(9),
            encoding: row.get(10),
            data_directory: row.get(11),
            has_standbys: row.get(12),
            limits: limits.iter().map(|row| (row.get(0), row.get(1))).collect(),
            prepared: prepared
                .iter()
                .map(|row| Prepared {
                    gid: row.get(0),
                    owner: row.get(1),
                    database: row.get(2),
                    since: row.get(3),
                    long: row.get(4),
                })
                .collect(),
        })
    }

    /// The free room on the log's disk. PostgreSQL has no function that tells it: it is known only
    /// where the server runs on this machine, shows its folder to our role and lets us look at it.
    pub(crate) fn room_bytes(&self, settings: &Settings) -> Option<u64> {
        let folder = self.data_directory.as_ref()?;
        if !is_local(&settings.host) {
            return None;
        }
        room_at(&Path::new(folder).join("pg_wal"))
    }
}

#[cfg(unix)]
fn room_at(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

#[cfg(not(unix))]
fn room_at(_folder: &Path) -> Option<u64> {
    None
}
