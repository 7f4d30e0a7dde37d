//! `lighterman replay`: what was told is told again.

use clap::Args;
use contract::{EventType, Finding};
use jiff::Timestamp;
use state::{Command, ReplayCount, ReplayFilter, StateReader};

use super::{Failed, counted, done, moment, named, understood};
use crate::config::Config;
use crate::{Common, Exit, load, out, refuse};

/// Tells again what was told: states as they were told last, never an older one over a newer; facts as
/// they stand in the outbox, under the ids they had. Without --yes it only counts.
#[derive(Debug, Args)]
pub(crate) struct ReplayOptions {
    #[command(flatten)]
    common: Common,
    /// Of this key, or of a whole part of it: a SKU, an order's number.
    #[arg(long)]
    key: Option<String>,
    /// Of what happened at or after this.
    #[arg(long, value_parser = moment)]
    from: Option<Timestamp>,
    /// Of what happened before this.
    #[arg(long, value_parser = moment)]
    to: Option<Timestamp>,
    /// Of this event type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// To this destination; without it, to all of them.
    #[arg(long)]
    destination: Option<String>,
    /// Do it.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn replay(options: &ReplayOptions) -> Exit {
    let json = options.common.json;
    let config = match load(&options.common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    if let Some(name) = options
        .types
        .iter()
        .find(|name| name.parse::<EventType>().is_err())
    {
        let known = EventType::ALL.map(EventType::name);
        let near = contract::finding::nearest(name, known);
        let fix = near.map_or_else(
            || format!("one of {}", known.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        let finding = Finding::fail("replay", format!("there is no event type {name:?}")).fix(fix);
        return refuse(&[finding], json);
    }
    let names = match named(&config, options.destination.as_deref()) {
        Ok(names) => names,
        Err(findings) => return refuse(&findings, json),
    };
    let which = ReplayFilter {
        key: options.key.clone(),
        from: options.from,
        to: options.to,
        types: options.types.clone(),
    };
    run(&config, &names, &which, options.yes, json)
        .await
        .unwrap_or_else(|failed| failed.refuse("replay", json))
}

async fn run(
    config: &Config,
    names: &[&str],
    which: &ReplayFilter,
    yes: bool,
    json: bool,
) -> Result<Exit, Failed> {
    let mut all = Vec::new();
    for name in names {
        let of = config.destinations.iter().find(|one| one.name == *name);
        let types = of.map(|one| one.event_types.clone()).unwrap_or_default();
        if !yes {
            let reader = StateReader::open(&config.state_folder)?;
            let count = reader.replay_count(name, &types, which)?;
            all.push(serde_json::json!({ "destination": name, "would": count }));
            if !json {
                would(name, count);
            }
            continue;
        }
        let command = Command::Replay {
            which: which.clone(),
            tenant: config.tenant.clone(),
        };
        let count = done(config, name, command).await?;
        let noted = serde_json::json!({ "which": which, "count": count });
        crate::audit::did(&config.state_folder, "replay", name, noted);
        all.push(serde_json::json!({ "destination": name, "replayed": count }));
        if !json {
            out(&format!("{name}: {} told again", counted(count, "event")));
        }
    }
    let (from, to) = (which.from.map(understood), which.to.map(understood));
    if json {
        out(&serde_json::json!({ "replay": all, "from": from, "to": to }).to_string());
        return Ok(Exit::Ok);
    }
    for (word, moment) in [("from", from), ("before", to)] {
        if let Some(moment) = moment {
            out(&format!("Of what happened {word} {moment}."));
        }
    }
    if !yes {
        out("Nothing was done: --yes does it.");
    }
    Ok(Exit::Ok)
}

fn would(name: &str, count: ReplayCount) {
    out(&format!(
        "{name}: {} and {} would be told again; {} on the way anyway, {} held would be sent again",
        counted(count.states, "state"),
        counted(count.facts, "fact"),
        count.on_their_way,
        count.held,
    ));
}
