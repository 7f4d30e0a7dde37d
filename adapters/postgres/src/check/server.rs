//! The server's settings, its free places and its room.

use contract::SourceError;
use contract::look::bytes;
use tokio_postgres::Client;

use super::Looking;
use crate::connect;
use crate::identity::{self, Identity};
use crate::look;
use crate::server::{Places, Server};
use crate::slot::{Holder, Slot};

/// Less than this ends connections that only wait for a slow network.
const SENDER_TIMEOUT_MIN_MS: i64 = 10_000;

/// A clock that is off by more makes lags meaningless.
const CLOCK_MAX_SECONDS: u64 = 30;

/// SQL that sets a server's setting without a restart, and its undo.
fn set(name: &str, value: &str) -> String {
    format!(
        "ALTER SYSTEM SET {name} = '{value}' and SELECT pg_reload_conf(); undo: ALTER SYSTEM RESET \
         {name} and SELECT pg_reload_conf()"
    )
}

impl Looking<'_> {
    /// What the server is; `None` when it cannot be captured at all.
    pub(super) async fn server(&mut self, client: &Client) -> Result<Option<Server>, SourceError> {
        if let Some(primary) = identity::standby_of(client).await? {
            self.fail(
                "database",
                "is a standby, which takes no slot of ours",
                primary,
            );
            return Ok(None);
        }
        let server = Server::read(client).await?;
        if server.number < 140_000 {
            self.fail(
                "version",
                format!("is {}", server.version),
                "use PostgreSQL 14 or newer",
            );
            return Ok(None);
        }
        self.pass("version", format!("is {}", server.version));
        match Identity::read(client, self.settings).await {
            Ok(identity) => self.pass("identity", format!("is {identity} (system and timeline)")),
            Err(error) => {
                let hint = error.hint().unwrap_or("lighterman check, again").to_owned();
                self.fail("identity", error.to_string(), hint);
            }
        }
        self.wal_level(&server);
        self.timeouts(&server);
        self.texts(&server);
        let zone = connect::timezone(self.settings).await?;
        self.pass("timezone", format!("is {zone}; our connections use UTC"));
        self.clock(client).await?;
        Ok(Some(server))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "how far the two clocks are apart is the question itself"
    )]
    async fn clock(&mut self, client: &Client) -> Result<(), SourceError> {
        let row = client
            .query_one(
                "SELECT pg_catalog.floor(EXTRACT(EPOCH FROM pg_catalog.clock_timestamp()))::pg_catalog.int8",
                &[],
            )
            .await
            .map_err(|error| connect::classify("read the server's clock", &error))?;
        let theirs: i64 = row.get(0);
        let apart = theirs.abs_diff(jiff::Timestamp::now().as_second());
        if apart > CLOCK_MAX_SECONDS {
            self.warn(
                "clock",
                format!("is {apart} s off this machine's: lags are wrong by as much"),
                "set both clocks by the same time servers",
            );
        } else {
            self.pass("clock", "agrees with this machine's");
        }
        Ok(())
    }

    fn wal_level(&mut self, server: &Server) {
        let level = &server.wal_level;
        if level == "logical" {
            self.pass("wal_level", "is logical");
        } else {
            self.fail(
                "wal_level",
                format!("is {level}: the log does not tell rows"),
                format!(
                    "ALTER SYSTEM SET wal_level = 'logical', then restart the server; undo: ALTER \
                     SYSTEM SET wal_level = '{level}', then restart the server, after every logical \
                     slot has been dropped, or the server does not start"
                ),
            );
        }
    }

    /// Free places for our slot and our connection.
    pub(super) fn places(&mut self, server: &Server, slot: Option<&Slot>) {
        let kinds = [
            ("max_replication_slots", server.slots, slot.is_some()),
            (
                "max_wal_senders",
                server.senders,
                slot.is_some_and(|slot| slot.active_pid.is_some()),
            ),
        ];
        for (name, places, ours) in kinds {
            let Places { max, taken } = places;
            let found = format!("{taken} of {max} are taken");
            let more = format!(
                "ALTER SYSTEM SET {name} = {}, then restart the server; undo: ALTER SYSTEM SET {name} \
                 = {max}, then restart the server",
                max.max(taken) + 4
            );
            match places.free() {
                0 if !ours => self.fail(name, format!("{found}: none is left for us"), more),
                0 if name == "max_wal_senders" => {
                    let found = format!(
                        "{found}, ours among them: none is left for a new connection of ours while \
                         the old one is not yet given up"
                    );
                    self.warn(name, found, more);
                }
                _ => self.pass(name, found),
            }
        }
    }

    fn timeouts(&mut self, server: &Server) {
        let name = "wal_sender_timeout";
        match server.sender_timeout_ms {
            0 => self.warn(
                name,
                "is 0: a connection of ours that broke is held for ever, and nobody else may read \
                 the slot",
                set(name, "60s"),
            ),
            ms if ms < SENDER_TIMEOUT_MIN_MS => self.warn(
                name,
                format!("is {ms} ms: a slow network ends our connection"),
                set(name, "60s"),
            ),
            ms => self.pass(name, format!("is {} s", ms / 1_000)),
        }
        if let Some(timeout) = &server.idle_slot_timeout {
            let name = "idle_replication_slot_timeout";
            self.warn(
                name,
                format!(
                    "is {timeout}: when the agent is stopped for longer, its slot is lost, and it \
                     reads everything again"
                ),
                set(name, "0"),
            );
        }
        let user = connect::name(&self.settings.user);
        for (name, value) in &server.limits {
            self.warn(
                name,
                format!("is {value} for our role: the server cuts connections of ours"),
                format!("ALTER ROLE {user} SET {name} = 0; undo: ALTER ROLE {user} RESET {name}"),
            );
        }
    }

    fn texts(&mut self, server: &Server) {
        let encoding = &server.encoding;
        if encoding == "SQL_ASCII" {
            self.warn(
                "encoding",
                "is SQL_ASCII: the server lets in texts of any encoding, and one that is not UTF-8 \
                 is held",
                "CREATE DATABASE .. ENCODING 'UTF8' TEMPLATE template0, and move the data there by \
                 pg_dump --encoding; undo: keep the old database",
            );
        } else {
            self.pass("encoding", format!("is {encoding}"));
        }
    }

    /// Transactions that were prepared and never ended.
    pub(super) fn prepared(&mut self, server: &Server, slot: Option<&Slot>) {
        for prepared in &server.prepared {
            // A slot that is yet to be made waits for each of them.
            if slot.is_some() && !prepared.long {
                continue;
            }
            let gid = connect::literal(&prepared.gid);
            let (owner, database, since) = (&prepared.owner, &prepared.database, &prepared.since);
            self.warn(
                "prepared transaction",
                format!(
                    "{gid} of {owner} in database {database} is open since {since}: a new slot \
                     waits for it, and log and dead rows are kept from then on"
                ),
                format!(
                    "as {owner} in database {database}: COMMIT PREPARED {gid} or ROLLBACK PREPARED \
                     {gid}, as whoever prepared it says; there is no undo"
                ),
            );
        }
    }

    /// How much log the server may keep, and keeps, and the room it has.
    pub(super) fn log(&mut self, server: &Server, slot: Option<&Slot>) {
        let name = "max_slot_wal_keep_size";
        if server.keep_mib < 0 {
            self.warn(
                name,
                "is unlimited: when the agent is away for long, the log it has yet to read fills \
                 the server's disk, and the ERP stops; with a limit the slot is lost instead, and the \
                 agent reads everything again",
                set(name, "20GB"),
            );
        } else {
            self.pass(name, format!("is {} MiB", server.keep_mib));
        }
        let room = server.room_bytes(self.settings);
        match room {
            Some(room) => self.pass("disk", format!("the log's disk has {} free", bytes(room))),
            None => self.pass(
                "disk",
                "the free room on the log's disk is unknown from here: PostgreSQL does not tell it",
            ),
        }
        let Some(slot) = slot.filter(|slot| slot.usable) else {
            return;
        };
        if slot.failover == Some(false) && server.has_standbys {
            let (slot, database) = (&self.settings.slot, &self.settings.database);
            let alter = |failover: bool| {
                format!(
                    "psql \"replication=database dbname={database}\" -c 'ALTER_REPLICATION_SLOT \
                     {slot} (FAILOVER {failover})'"
                )
            };
            self.warn(
                &format!("slot {slot}"),
                "is not kept on standbys: a failover loses it",
                format!(
                    "stop the agent, {}, and start it; undo: {}",
                    alter(true),
                    alter(false)
                ),
            );
        }
    }

    /// What state the slot is in.
    pub(super) async fn slot(
        &mut self,
        client: &Client,
        server: &Server,
        slot: Option<&Slot>,
        published: bool,
    ) -> Result<(), SourceError> {
        let name = self.settings.slot.clone();
        let part = format!("slot {name}");
        let literal = connect::literal(&name);
        let drop = format!("SELECT pg_drop_replication_slot({literal})");
        let Some(slot) = slot else {
            let first = if published {
                ""
            } else {
                "after the publication, "
            };
            let create = crate::prepare::create_slot_sql(self.settings, client).await?;
            self.fail(
                &part,
                "does not exist",
                format!("{}, or {first}{create}; undo: {drop}", connect::PREPARE),
            );
            return Ok(());
        };
        if !slot.usable {
            self.fail(
                &part,
                format!(
                    "is not a pgoutput slot of database \"{}\"",
                    self.settings.database
                ),
                "name another slot in the settings",
            );
            return Ok(());
        }
        if let Some(why) = slot.dead() {
            self.fail(
                &part,
                format!("is lost: {why}"),
                format!(
                    "stop the agent, {drop}, {}, lighterman source resync, and start it",
                    connect::PREPARE
                ),
            );
            return Ok(());
        }
        let kept = look::kept(self.settings, server, slot);
        let sentence = kept.sentence(None);
        let reader = match slot.active_pid {
            Some(pid) => {
                let holder = Holder::read(client, pid).await?;
                format!("is read by {holder}")
            }
            None => match &slot.inactive_since {
                Some(since) => format!("is read by nobody since {since}"),
                None => "is read by nobody now".to_owned(),
            },
        };
        let found = format!("{reader}. {sentence}");
        if kept.at_risk {
            self.warn(
                &part,
                format!("is about to be lost: {found}"),
                format!(
                    "start the agent now, or first {}",
                    set("max_slot_wal_keep_size", "..")
                ),
            );
        } else if kept.kept_bytes > kept.warn_bytes {
            self.warn(
                &part,
                found,
                format!("start the agent, or give the slot up: {drop}"),
            );
        } else {
            self.pass(&part, format!("{}: {found}", slot.wal_status));
        }
        Ok(())
    }
}
