//! `lighterman destination`: stop it, let it go on, empty it, look at it.

use clap::Subcommand;
use contract::{Clock, Finding, Level};
use engine::clock::SystemClock;
use jiff::Timestamp;
use mappings::channel;
use state::{Command, StateReader};

use super::{Failed, counted, done, moment, named, understood};
use crate::config::Config;
use crate::{Common, Exit, load, out, refuse, say};

#[derive(Debug, Subcommand)]
pub(crate) enum DestinationCommand {
    /// The destinations, and how each stands.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Nothing leaves for it until it is resumed; events wait in order.
    Pause {
        #[command(flatten)]
        common: Common,
        /// Its name.
        name: String,
        /// It goes on by itself then.
        #[arg(long, value_parser = moment)]
        until: Option<Timestamp>,
    },
    /// It goes on.
    Resume {
        #[command(flatten)]
        common: Common,
        /// Its name.
        name: String,
    },
    /// What is there leaves, nothing newer does; then it is paused.
    Drain {
        #[command(flatten)]
        common: Common,
        /// Its name.
        name: String,
    },
    /// Looks whether it can be reached and takes our login. Sends no event.
    Test {
        #[command(flatten)]
        common: Common,
        /// Its name; without it, all of them.
        name: Option<String>,
        /// Goes through the exchanges that are recorded in its channel's file instead, without a
        /// network.
        #[arg(long)]
        offline: bool,
        /// Of this channel file, or of this channel that is shipped, whatever the settings say.
        #[arg(
            long,
            requires = "offline",
            conflicts_with = "name",
            value_name = "FILE"
        )]
        channel: Option<String>,
    },
}

pub(super) async fn destination(command: &DestinationCommand) -> Exit {
    let (DestinationCommand::List { common }
    | DestinationCommand::Pause { common, .. }
    | DestinationCommand::Resume { common, .. }
    | DestinationCommand::Drain { common, .. }
    | DestinationCommand::Test { common, .. }) = command;
    let json = common.json;
    if let DestinationCommand::Test {
        channel: Some(channel),
        ..
    } = command
    {
        return judge(&recorded(channel), json);
    }
    let config = match load(common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    let (name, command) = match command {
        DestinationCommand::List { .. } => {
            return list(&config, json).unwrap_or_else(|failed| failed.refuse("destination", json));
        }
        DestinationCommand::Test { name, offline, .. } => {
            return match named(&config, name.as_deref()) {
                Ok(names) => judge(&test(&config, &names, *offline).await, json),
                Err(findings) => refuse(&findings, json),
            };
        }
        DestinationCommand::Pause { name, until, .. } => (name, Command::Pause { until: *until }),
        DestinationCommand::Resume { name, .. } => (name, Command::Resume),
        DestinationCommand::Drain { name, .. } => (name, Command::Drain),
    };
    if let Err(findings) = named(&config, Some(name)) {
        return refuse(&findings, json);
    }
    let until = match command {
        Command::Pause { until } => until,
        _ => None,
    };
    if let Some(until) = until.filter(|until| *until <= SystemClock.now()) {
        let found = format!("--until {} is over", understood(until));
        let fix = "name a time that is to come; without a zone it is of this machine's zone";
        return refuse(&[Finding::fail("destination", found).fix(fix)], json);
    }
    let until = until.map(understood);
    let what = command.name();
    match done(&config, name, command).await {
        Ok(_) => {
            let noted = format!("destination.{what}");
            let details = serde_json::json!({ "until": until });
            crate::audit::did(&config.state_folder, &noted, name, details);
            if json {
                let form = serde_json::json!({ "destination": name, "done": what, "until": until });
                out(&form.to_string());
            } else {
                let until = until.map(|until| format!(", until {until}"));
                out(&format!(
                    "{name}: {}{}",
                    after(what),
                    until.unwrap_or_default()
                ));
            }
            Exit::Ok
        }
        Err(failed) => failed.refuse("destination", json),
    }
}

fn after(what: &str) -> &'static str {
    match what {
        "pause" => "paused; nothing leaves, events wait in order",
        "resume" => "goes on",
        _ => "sends what is there, and is paused then",
    }
}

fn list(config: &Config, json: bool) -> Result<Exit, Failed> {
    let all = StateReader::open(&config.state_folder)?.destinations()?;
    if json {
        out(&serde_json::json!({ "destinations": all }).to_string());
        return Ok(Exit::Ok);
    }
    for one in &config.destinations {
        match all.iter().find(|known| known.name == one.name) {
            None => out(&format!("{}: has never run", one.name)),
            Some(known) => {
                let stands = match (&known.paused, known.draining) {
                    (Some(_), _) => "paused",
                    (None, true) => "drains",
                    (None, false) => "goes",
                };
                out(&format!(
                    "{}: {stands}; {} wait, {} held, {} delivered",
                    known.name,
                    counted(known.backlog, "event"),
                    known.held,
                    known.delivered
                ));
            }
        }
    }
    Ok(Exit::Ok)
}

async fn test(config: &Config, names: &[&str], offline: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in config
        .destinations
        .iter()
        .filter(|one| names.contains(&one.name.as_str()))
    {
        let what = format!("destination {}", one.name);
        match (one.build)(&one.name) {
            Ok(destination) if offline => {
                let nothing = || {
                    let found = "has no recorded exchanges: nothing to go through offline";
                    vec![Finding::warn(what, found).fix("test it without --offline")]
                };
                findings.extend(destination.recorded().unwrap_or_else(nothing));
            }
            Ok(destination) => findings.extend(destination.check().await),
            Err(found) => findings.push(Finding::fail(what, found)),
        }
    }
    findings
}

/// What the tests in a channel's file come to.
fn recorded(channel: &str) -> Vec<Finding> {
    if let Ok((file, text)) = channel::shipped(channel) {
        return channel::recorded(&file, text);
    }
    match std::fs::read_to_string(channel) {
        Ok(text) => channel::recorded(channel, &text),
        Err(error) => {
            let names: Vec<&str> = channel::SHIPPED
                .iter()
                .filter_map(|(file, _)| file.strip_suffix(".yaml"))
                .collect();
            let fix = format!("a path, or one of: {}", names.join(", "));
            vec![Finding::fail(format!("read {channel}"), error.to_string()).fix(fix)]
        }
    }
}

fn judge(findings: &[Finding], json: bool) -> Exit {
    if json {
        out(&serde_json::json!({ "findings": findings }).to_string());
    } else {
        say(findings);
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if failed { Exit::Trouble } else { Exit::Ok }
}
