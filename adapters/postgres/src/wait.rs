//! Runs a statement that may have to wait for others, for a limited time, and says for whom.
//!
//! The limit is the server's own `statement_timeout`: it also ends the statement, and takes back
//! the slot it was making, when nobody is left here to end it.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use contract::SourceError;
use tokio::time::Instant;
use tokio_postgres::Client;

use crate::connect::{self, PREPARE, Rights, classify};
use crate::settings::Settings;

/// How long a statement may wait for others.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// Between two looks at whom it waits for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A session or a prepared transaction that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Blocker {
    /// Whom, in words; never the text of a statement, which may hold data.
    who: String,
    /// The SQL that ends it.
    end: String,
}

/// Runs `sql`, and names whom it waited for when it was not done in time.
pub(crate) async fn run(
    settings: &Settings,
    client: &Client,
    sql: &str,
) -> Result<(), SourceError> {
    // Whoever waits for a table makes others wait behind: not for long. A new slot is in nobody's
    // way.
    let lock = if sql.contains("pg_create_logical_replication_slot") {
        "0"
    } else {
        "5s"
    };
    let limit = format!(
        "SET statement_timeout = '{}s'; SET lock_timeout = '{lock}'",
        WAIT_MAX.as_secs()
    );
    let began = Instant::now();
    let failed = |error| classify("prepare", &error);
    client.batch_execute(&limit).await.map_err(failed)?;
    let pid = client.query_one("SELECT pg_catalog.pg_backend_pid()", &[]);
    let pid: i32 = pid.await.map_err(failed)?.get(0);
    let mut beside: Option<Client> = None;
    let mut blockers = BTreeSet::new();
    let done = {
        let mut running = pin!(client.batch_execute(sql));
        loop {
            tokio::select! {
                done = &mut running => break done,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if beside.is_none() {
                beside = connect::connect(settings, Rights::Read).await.ok();
            }
            if let Some(client) = &beside {
                // Whoever is still there when the time is over; a look that fails says nothing.
                if let Ok(found) = looked(client, pid).await
                    && !found.is_empty()
                {
                    blockers = found;
                }
            }
        }
    };
    let Err(error) = done else {
        return Ok(());
    };
    let code = error
        .code()
        .map_or("", tokio_postgres::error::SqlState::code);
    Err(match code {
        "42501" => SourceError::Denied {
            what: format!("{}: {sql}", classify("prepare", &error)),
            hint: if sql.contains("_replication_slot(") {
                // Whoever owns the tables seldom may replicate; our own role must.
                format!("{PREPARE}, without --user: the agent's own role may make and drop slots")
            } else {
                format!(
                    "run it as the owner of the tables or a superuser: {PREPARE} --user NAME, or \
                     by psql, beginning with: {sql}"
                )
            },
        },
        // statement_timeout and lock_timeout.
        "57014" | "55P03" => waited(sql, began.elapsed(), &blockers),
        _ => classify("prepare", &error),
    })
}

fn waited(sql: &str, time: Duration, blockers: &BTreeSet<Blocker>) -> SourceError {
    let what = format!(
        "prepare: not done within {} s, and nothing of it is left behind: {sql}",
        time.as_secs()
    );
    if blockers.is_empty() {
        return SourceError::Disconnected(what);
    }
    let list = |part: fn(&Blocker) -> &str, between: &str| {
        let parts: Vec<&str> = blockers.iter().map(part).collect();
        parts.join(between)
    };
    SourceError::Denied {
        what: format!(
            "{what}: it waits for {}",
            list(|blocker| &blocker.who, "; and for ")
        ),
        hint: format!(
            "let them end, or end them: {}; then {PREPARE}",
            list(|blocker| &blocker.end, "; ")
        ),
    }
}

/// Whom server process `pid` waits for. A new slot waits for every transaction of the server that
/// runs and writes, one by one: all of them are said at once.
async fn looked(client: &Client, pid: i32) -> Result<BTreeSet<Blocker>, tokio_postgres::Error> {
    let rows = client
        .query(
            "WITH waits AS (
                 SELECT locktype FROM pg_catalog.pg_locks WHERE pid = $1 AND NOT granted LIMIT 1),
             writers AS (
                 SELECT l.pid, l.transactionid FROM pg_catalog.pg_locks l, waits w
                  WHERE w.locktype = 'transactionid' AND l.locktype = 'transactionid'
                    AND l.mode = 'ExclusiveLock' AND l.granted
                    AND l.pid IS DISTINCT FROM $1),
             pids AS (
                 SELECT pid FROM writers
                 UNION SELECT pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)))
             SELECT a.pid, a.usename::pg_catalog.text, a.application_name,
                    pg_catalog.host(a.client_addr), a.datname::pg_catalog.text, a.state,
                    pg_catalog.to_char(a.xact_start, 'YYYY-MM-DD HH24:MI:SS \"UTC\"'),
                    pg_catalog.to_char(a.query_start, 'YYYY-MM-DD HH24:MI:SS \"UTC\"'),
                    NULL::pg_catalog.text
               FROM pids JOIN pg_catalog.pg_stat_activity a USING (pid)
             UNION ALL
             SELECT NULL, p.owner::pg_catalog.text, NULL, NULL, p.database::pg_catalog.text, NULL,
                    pg_catalog.to_char(p.prepared, 'YYYY-MM-DD HH24:MI:SS \"UTC\"'), NULL, p.gid
               FROM writers w JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = w.transactionid",
            &[&pid],
        )
        .await?;
    let blockers = rows.iter().map(|row| {
        let (pid, gid): (Option<i32>, Option<String>) = (row.get(0), row.get(8));
        let (mut who, end) = match (pid, gid) {
            (_, Some(gid)) => {
                let gid = connect::literal(&gid);
                let who = format!("the prepared transaction {gid}");
                // As its owner, in its database.
                (
                    who,
                    format!("COMMIT PREPARED {gid} or ROLLBACK PREPARED {gid}"),
                )
            }
            (pid, None) => {
                let pid = pid.unwrap_or_default();
                let end = format!("SELECT pg_terminate_backend({pid})");
                (format!("server process {pid}"), end)
            }
        };
        for (n, word) in [
            (1, "user"),
            (2, "application"),
            (3, "from"),
            (4, "database"),
            (5, "state"),
            (6, "transaction since"),
            (7, "last statement at"),
        ] {
            let found: Option<String> = row.get(n);
            if let Some(found) = found.filter(|found| !found.is_empty()) {
                who = format!("{who}, {word} {found}");
            }
        }
        Blocker { who, end }
    });
    Ok(blockers.collect())
}
