//! `lighterman status`: whether stock is flowing, and if not, why; in plain sentences first.
//!
//! `facts.rs` looks, `summary.rs` says what it means (in `words.rs` what others say as well), `figures.rs` has the numbers below, `screen.rs` brings
//! all of it onto a terminal or into a pipe, and `watch.rs` does so again and again.

mod agent;
mod facts;
mod figures;
pub(crate) mod reading;
mod screen;
mod summary;
mod watch;
pub(crate) mod words;

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use contract::Finding;
use engine::observe::Meters;
use state::StoreError;

use crate::config::Config;
use crate::{Common, Exit, load, out, refuse};

use facts::Facts;
pub(crate) use facts::Place;
use screen::{Block, Look};

/// Held items named in full.
const HELD_SHOWN: u32 = 20;

#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    #[command(flatten)]
    common: Common,
    /// Shows it again and again, every 2 seconds or as many as are given, until q or Ctrl-C.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    /// No colours, as with the environment variable `NO_COLOR`.
    #[arg(long)]
    no_color: bool,
}

pub(crate) async fn status(options: &StatusOptions) -> Exit {
    let json = options.common.json;
    let config = match load(&options.common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    let colour = !options.no_color && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let shown = match options.watch {
        Some(every) => watch::watch(&config, Duration::from_secs(every), json, colour).await,
        None => once(&config, json, colour).await,
    };
    shown.unwrap_or_else(|error| state_refused("read the state folder", &error, json))
}

async fn once(config: &Config, json: bool, colour: bool) -> Result<Exit, StoreError> {
    let facts = Facts::gather(config).await?;
    if json {
        out(&facts.json().to_string());
    } else {
        let look = if std::io::stdout().is_terminal() {
            Look::terminal(colour)
        } else {
            Look::pipe()
        };
        for line in screen::lines(&blocks(&facts), look) {
            crate::styled(&line);
        }
    }
    Ok(facts.exit())
}

/// The first sentence of all that `status` says of a running agent, by the agent itself: that it runs is no news to it.
///
/// # Errors
/// Why the state file cannot be read.
pub(crate) async fn headline(place: &Place, meters: &Meters) -> Result<String, StoreError> {
    let (place, now) = (place.clone(), agent::Now::of(meters));
    let looked = tokio::task::spawn_blocking(move || {
        let facts = Facts::read(&place, Some(std::process::id()), now)?;
        let sentences = facts.sentences();
        let first = sentences.get(1).or_else(|| sentences.first());
        Ok(first.map_or_else(String::new, |sentence| sentence.text.clone()))
    });
    looked
        .await
        .unwrap_or_else(|error| Err(StoreError::Invariant(error.to_string())))
}

/// All that is shown, worst first.
fn blocks(facts: &Facts) -> Vec<Block> {
    let mut blocks = vec![figures::head(facts)];
    blocks.extend(figures::held(facts));
    blocks.extend(figures::sources(facts));
    blocks.extend(figures::events(facts));
    blocks.extend(figures::destinations(facts));
    blocks.extend(figures::disk(facts));
    blocks
}

/// Says why the state folder cannot be used.
pub(crate) fn state_refused(what: &str, error: &StoreError, json: bool) -> Exit {
    let mut finding = Finding::fail(what, error.to_string());
    finding.fix = match error {
        // Who waits for room is the agent, and this is a command.
        StoreError::Full => Some("free disk space, then the same command once more".to_owned()),
        _ => error.hint(),
    };
    refuse(&[finding], json);
    Exit::State
}
