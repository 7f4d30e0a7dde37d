//! `lighterman source resync`: the way out when a source's log no longer reaches back.

use state::{Store, StoreError};

use crate::config::Config;
use crate::{Exit, out};

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
            out(&format!("name one of the sources: {}", known.join(", ")));
            return Exit::Settings;
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
        Err(error) => {
            out(&error.to_string());
            if let Some(hint) = error.hint() {
                out(&format!("  hint: {hint}"));
            }
            Exit::State
        }
    }
}
