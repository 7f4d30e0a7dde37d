//! What must be done at the database: a publication and, after it, a slot.
//!
//! The order matters: the server looks a publication up as of the change it decodes, so a slot
//! older than its publication can never be read.

use contract::{CapturedTable, Preparation, SourceError};
use tokio_postgres::Client;

use crate::catalogue::{Publication, Table, publish_sql};
use crate::connect::{self, Rights, classify};
use crate::settings::Settings;
use crate::slot::Slot;

pub(crate) async fn prepare(
    settings: &Settings,
    captured: &[CapturedTable],
    apply: bool,
) -> Result<Preparation, SourceError> {
    let client = connect::connect(settings, Rights::Read).await?;
    let mut plan = plan(settings, captured, &client).await?;
    if apply && !plan.sql.is_empty() {
        let client = connect::connect(settings, Rights::Write).await?;
        for sql in &plan.sql {
            run(&client, sql).await?;
        }
    }
    plan.applied = apply;
    Ok(plan)
}

async fn run(client: &Client, sql: &str) -> Result<(), SourceError> {
    let Err(error) = client.batch_execute(sql).await else {
        return Ok(());
    };
    let code = error
        .code()
        .map_or("", tokio_postgres::error::SqlState::code);
    Err(match code {
        "42501" => SourceError::Denied {
            what: classify("prepare", &error).to_string(),
            hint: format!(
                "pipe what `lighterman source prepare` prints to psql as the tables' owner or a \
                 superuser, beginning with: {sql}"
            ),
        },
        // A new slot waits for every transaction that runs at that moment.
        "57014" => SourceError::Disconnected(format!(
            "prepare: not done within its time, most often because a long transaction is running: \
             {sql}"
        )),
        _ => classify("prepare", &error),
    })
}

/// The SQL that makes the slot. From 17 on it is kept on standbys that ask for it, so that a failover
/// need not lose it; without such a standby that costs nothing.
pub(crate) async fn create_slot_sql(
    settings: &Settings,
    client: &Client,
) -> Result<String, SourceError> {
    let row = client
        .query_one(
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4",
            &[],
        )
        .await
        .map_err(|error| classify("read the server's version", &error))?;
    let failover = if row.get::<_, i32>(0) >= 170_000 {
        ", failover => true"
    } else {
        ""
    };
    Ok(format!(
        "SELECT pg_create_logical_replication_slot({}, 'pgoutput'{failover})",
        connect::literal(&settings.slot)
    ))
}

async fn plan(
    settings: &Settings,
    captured: &[CapturedTable],
    client: &Client,
) -> Result<Preparation, SourceError> {
    let mut tables = Vec::new();
    for wanted in captured {
        let name = &wanted.table;
        let Some(table) = Table::read(client, name).await? else {
            return Err(SourceError::SchemaChanged {
                what: format!("prepare: table {name} does not exist"),
                hint: "correct the table's name in the mapping".to_owned(),
            });
        };
        if table.would_break() {
            return Err(SourceError::Denied {
                what: format!(
                    "prepare: table {name} has nothing to tell its rows by: once it is published, \
                     the application's own UPDATE and DELETE fail"
                ),
                hint: table.identity_fix(),
            });
        }
        tables.push(table);
    }
    let publication = Publication::read(client, &settings.publication).await?;
    let slot = Slot::read(client, &settings.slot).await?;
    let name = connect::literal(&settings.slot);
    let drop_slot = format!("SELECT pg_drop_replication_slot({name})");
    let create_slot = create_slot_sql(settings, client).await?;
    if slot.as_ref().is_some_and(|slot| !slot.usable) {
        return Err(SourceError::Denied {
            what: format!(
                "prepare: slot \"{}\" is not ours: it is of another kind or database",
                settings.slot
            ),
            hint: "name another slot in the settings".to_owned(),
        });
    }
    let mut sql = publish_sql(settings, publication.as_ref(), &tables);
    let dead = slot.as_ref().is_some_and(|slot| slot.wal_status == "lost");
    match &slot {
        None => sql.push(create_slot),
        // Older than its publication, or without its log: of no use to anybody. First of all,
        // so that a slot in use stops everything before it began.
        Some(_) if publication.is_none() || dead => {
            sql.insert(0, drop_slot.clone());
            sql.push(create_slot);
        }
        Some(_) => {}
    }
    Ok(Preparation {
        sql,
        undo: vec![
            drop_slot,
            format!("DROP PUBLICATION {}", connect::name(&settings.publication)),
        ],
        applied: false,
    })
}
