//! A look beside the stream: the log that is kept for us, and what the stream cannot tell of.
//!
//! A kind of change that the publication does not tell any more is simply not in the log. Single
//! tables that are not told are the stream's own concern (`untold`).

use std::sync::Arc;
use std::time::Duration;

use contract::{LogKept, Look, SourceError};
use tokio::sync::Mutex;
use tokio_postgres::Client;

use crate::connect::{self, Rights};
use crate::server::Server;
use crate::settings::Settings;
use crate::slot::Slot;
use crate::{identity, start};

/// The whole look.
const LOOK_MAX: Duration = Duration::from_secs(18);

/// Looks at a source; keeps its connection from one look to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Looker {
    connection: Arc<Mutex<Option<Client>>>,
}

impl Looker {
    pub(crate) async fn look(&self, settings: &Settings) -> Result<Look, SourceError> {
        let looking = async {
            let mut connection = self.connection.lock().await;
            // Kept again only when the look went well.
            let client = match connection.take().filter(|client| !client.is_closed()) {
                Some(client) => client,
                None => connect::connect(settings, Rights::Read).await?,
            };
            let look = look(&client, settings).await?;
            *connection = Some(client);
            Ok(look)
        };
        tokio::time::timeout(LOOK_MAX, looking)
            .await
            .unwrap_or_else(|_| {
                Err(SourceError::Disconnected(format!(
                    "look at slot \"{}\": no answer within {} s",
                    settings.slot,
                    LOOK_MAX.as_secs()
                )))
            })
    }
}

async fn look(client: &Client, settings: &Settings) -> Result<Look, SourceError> {
    identity::primary(client, settings).await?;
    let server = Server::read(client).await?;
    let slot = Slot::read(client, &settings.slot).await?;
    Ok(Look {
        kept: slot.as_ref().map(|slot| kept(settings, &server, slot)),
        behind: None,
        heartbeat: None,
        trouble: match trouble(client, settings, &server, slot.as_ref()).await {
            Ok(trouble) => trouble,
            // The look failed, not the stream.
            Err(error @ SourceError::Disconnected(_)) => return Err(error),
            Err(error) => Some(error),
        },
    })
}

/// The log that is kept because of a slot.
pub(crate) fn kept(settings: &Settings, server: &Server, slot: &Slot) -> LogKept {
    let drop = format!(
        "SELECT pg_drop_replication_slot({})",
        connect::literal(&settings.slot)
    );
    LogKept {
        state: slot.wal_status.clone(),
        at_risk: slot.wal_status == "unreserved",
        kept_bytes: slot.kept(),
        left_bytes: slot
            .left
            .map(|left| u64::try_from(left.max(0)).unwrap_or(0)),
        room_bytes: server.room_bytes(settings),
        warn_bytes: settings.retained_warn_mib << 20,
        hint: format!(
            "see that the agent reads (lighterman status); where it only lags, give it room: ALTER \
             SYSTEM SET max_slot_wal_keep_size = '..' and SELECT pg_reload_conf(); or give the slot \
             up, and all it has not read with it: {drop}"
        ),
    }
}

/// What the stream cannot tell of.
async fn trouble(
    client: &Client,
    settings: &Settings,
    server: &Server,
    slot: Option<&Slot>,
) -> Result<Option<SourceError>, SourceError> {
    let name = &settings.slot;
    if server.wal_level != "logical" {
        return Ok(Some(SourceError::Denied {
            what: format!(
                "look at the server: wal_level is {}: the log does not tell rows",
                server.wal_level
            ),
            hint: "ALTER SYSTEM SET wal_level = 'logical', then restart the server".to_owned(),
        }));
    }
    // Opening the stream again says what that means for our checkpoint.
    let Some(slot) = slot else {
        let gone = format!("look at slot \"{name}\": slot does not exist any more");
        return Ok(Some(SourceError::Disconnected(gone)));
    };
    if let Some(why) = slot.dead() {
        let dead = format!("look at slot \"{name}\": {why}");
        return Ok(Some(SourceError::Disconnected(dead)));
    }
    let Err(error) = start::publication(settings, client, &[]).await else {
        return Ok(None);
    };
    let SourceError::Denied { what, hint } = error else {
        return Err(error);
    };
    Ok(Some(SourceError::Denied {
        what: format!("{what}; what changes meanwhile is not in the log"),
        hint: format!(
            "{hint}; then stop the agent, lighterman source resync, and start it: it reads what it \
             was not told of"
        ),
    }))
}
