//! `lighterman replay`: what was told is told again.

use std::time::Duration;

use clap::Args;
use contract::{Clock, EventType, Finding};
use engine::clock::SystemClock;
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
    /// At most so many events in a second, done by the running agent, or by the next one that runs.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    per_second: Option<u32>,
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
        per_second: options.per_second,
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
                if let Some(time) = which.per_second.map(|rate| takes(count, rate)) {
                    out(&format!("{name}: that takes about {time}."));
                }
            }
            continue;
        }
        let command = Command::Replay {
            which: which.clone(),
            tenant: config.tenant.clone(),
        };
        if let Some(rate) = which.per_second {
            let count =
                StateReader::open(&config.state_folder)?.replay_count(name, &types, which)?;
            let request = slowly(config, name, &command, which, count)?;
            all.push(
                serde_json::json!({ "destination": name, "would": count, "request": request }),
            );
            if !json {
                out(&format!(
                    "{name}: {} are told again, {rate} a second at most: about {}. The running agent does it, or the \
                     next one that runs; lighterman destination pause {name} stops what has not left.",
                    counted(told(count), "event"),
                    takes(count, rate),
                ));
            }
            continue;
        }
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

/// Leaves it for the running agent, which takes its time: its number.
fn slowly(
    config: &Config,
    name: &str,
    command: &Command,
    which: &ReplayFilter,
    count: ReplayCount,
) -> Result<i64, Failed> {
    let asked = state::ask(&config.state_folder, name, command, SystemClock.now())?;
    let Some(request) = asked else {
        return Err(Failed::Said(
            format!("nothing was ever told to destination {name}"),
            "start the agent; without --per-second it is told here and now",
        ));
    };
    let noted = serde_json::json!({ "which": which, "count": told(count) });
    crate::audit::did(&config.state_folder, "replay", name, noted);
    Ok(request)
}

/// How many events leave again.
fn told(count: ReplayCount) -> u64 {
    count.states + count.facts + count.held
}

/// How long that takes at a rate.
fn takes(count: ReplayCount, rate: u32) -> String {
    let seconds = told(count).div_ceil(u64::from(rate.max(1)));
    contract::look::span(Duration::from_secs(seconds))
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
