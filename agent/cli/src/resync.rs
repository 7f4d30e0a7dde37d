//! `lighterman source resync`: the way out when a source's log no longer reaches back.

use contract::Finding;
use state::{Store, StoreError};

use crate::config::Config;
use crate::status::state_refused;
use crate::{Exit, out, refuse};

pub(crate) async fn resync(config: &Config, name: Option<String>, json: bool) -> Exit {
    let known: Vec<&str> = config
        .sources
        .iter()
        .map(|source| source.name.as_str())
        .collect();
    let name = match (&name, known.as_slice()) {
        (Some(name), _) if known.contains(&name.as_str()) => name.clone(),
        (None, [only]) => (*only).to_owned(),
        _ => {
            let found = format!("name one of the sources: {}", known.join(", "));
            return refuse(&[Finding::fail("resync", found)], json);
        }
    };
    let folder = config.state_folder.clone();
    let opened = tokio::task::spawn_blocking(move || Store::open(&folder)).await;
    let done = match opened {
        Ok(Ok(store)) => store.resync(&name).await,
        Ok(Err(error)) => Err(error),
        Err(error) => Err(StoreError::Invariant(error.to_string())),
    };
    match done {
        Ok(epoch) => {
            if json {
                out(&serde_json::json!({ "source": name, "epoch": epoch }).to_string());
            } else if let Some(epoch) = epoch {
                out(&format!(
                    "source {name} begins epoch {epoch}: every table is read again"
                ));
            } else {
                out(&format!("source {name} has never run: nothing to do"));
            }
            Exit::Ok
        }
        Err(error) => state_refused("open the state folder", &error, json),
    }
}
