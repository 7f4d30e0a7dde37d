//! `lighterman alert`: the rules and how they stand, and a letter that only shows that letters come.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Subcommand;
use contract::look::span;
use contract::{Clock, Finding, clock};
use engine::clock::SystemClock;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use state::{AlertStatus, ChannelStatus, StateReader, StoreError};

use super::channel::Channel;
use super::letters::Letter;
use super::rule::Rule;
use super::{deadman, watch};
use crate::audit::did;
use crate::config::{self, Config};
use crate::status::state_refused;
use crate::{Common, Exit, beside_settings, out, refuse};

/// `lighterman alert ..`
#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// The rules, which of them fire, and how each channel stands.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Sends a letter to each channel that says that it is a test, and prints what the servers answer.
    Test {
        #[command(flatten)]
        common: Common,
        /// Only to this one; `deadman` pings the dead man's switch.
        #[arg(long, value_name = "NAME")]
        channel: Option<String>,
    },
}

/// Does one of them.
pub(crate) async fn alert(command: &AlertCommand) -> Exit {
    let (AlertCommand::List { common } | AlertCommand::Test { common, .. }) = command;
    // Mappings may be as wrong as they like: that is when letters are wanted.
    let config = beside_settings(common).and_then(|file| config::load_settings(&file));
    let config = match config {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, common.json),
    };
    match command {
        AlertCommand::List { .. } => list(&config, common.json),
        AlertCommand::Test { channel, .. } => test(&config, channel.as_deref(), common.json).await,
    }
}

fn list(config: &Config, json: bool) -> Exit {
    let read = || -> Result<_, StoreError> {
        let reader = StateReader::open(&config.state_folder)?;
        let running = reader.running();
        Ok((running, reader.alerts()?, reader.alert_channels()?))
    };
    let (running, alerts, channels) = match read() {
        Ok(read) => read,
        Err(error) => return state_refused("alert list", &error, json),
    };
    let settings = &config.alerts;
    let mut in_force = watch::rules(settings, &config.state_folder, config.reserve);
    if !settings.asked {
        in_force.clear();
    }
    // What the state file has of a rule that left the settings, or was switched off, is nobody's alert any more.
    let firing: Vec<&AlertStatus> = alerts
        .iter()
        .filter(|one| one.ended_at.is_none())
        .filter(|one| in_force.iter().any(|rule| rule.name == one.alert))
        .collect();
    if json {
        out(&form(config, running, (&in_force, &firing), &channels).to_string());
    } else {
        say(config, running, (&in_force, &firing), &channels);
    }
    if running.is_none() || !firing.is_empty() {
        Exit::Trouble
    } else {
        Exit::Ok
    }
}

fn form(
    config: &Config,
    running: Option<u32>,
    (in_force, firing): (&[Rule], &[&AlertStatus]),
    channels: &[ChannelStatus],
) -> Json {
    let settings = &config.alerts;
    let rules = settings.rules.iter().map(|rule| {
        let bounded = in_force.iter().find(|known| known.name == rule.name);
        let own = firing.iter().filter(|one| one.alert == rule.name);
        json!({
            "alert": rule.name,
            "built_in": rule.built_in,
            "on": bounded.is_some(),
            "level": rule.urgency.name(),
            "metric": rule.metric.name,
            "condition": bounded.unwrap_or(rule).condition(),
            "firing": own.collect::<Vec<_>>(),
        })
    });
    let told = settings.channels.iter().map(|channel| {
        let status = channels.iter().find(|one| one.channel == channel.name);
        json!({
            "channel": channel.name,
            "kind": channel.kind_name(),
            "level": channel.least.name(),
            "sent_at": status.and_then(|one| one.sent.last()),
            "failing_since": status.and_then(|one| one.failing_since),
            "problem": status.and_then(|one| one.problem.clone()),
        })
    });
    json!({
        "running": running,
        "watched": settings.asked,
        "alerts": rules.collect::<Vec<_>>(),
        "channels": told.collect::<Vec<_>>(),
        "deadman": settings.deadman.is_some(),
    })
}

fn say(
    config: &Config,
    running: Option<u32>,
    (in_force, firing): (&[Rule], &[&AlertStatus]),
    channels: &[ChannelStatus],
) {
    let settings = &config.alerts;
    let now = SystemClock.now();
    let ago = |at: Timestamp| span(clock::until(at, now));
    if !settings.asked {
        out(
            "Nothing is watched: the settings have no [alerts]. docs/operating/alerts.md says how to begin.",
        );
        return;
    }
    match running {
        None => out("The agent does NOT run: this is how alerts stood when it did."),
        Some(_) if firing.is_empty() => out("No alert fires."),
        Some(_) => {}
    }
    for one in firing {
        out(&format!(
            "FIRES for {}: {} ({}, {})",
            ago(one.began_at),
            one.sentence,
            one.alert,
            one.level
        ));
        out(&format!("  look: {}", one.look));
    }
    out("");
    for channel in &settings.channels {
        let status = channels.iter().find(|one| one.channel == channel.name);
        let sent = status.and_then(|one| one.sent.last());
        let mut text = format!("channel {} ({})", channel.name, channel.kind_name());
        match sent {
            Some(at) => {
                let _ = write!(text, ": took a letter {} ago", ago(*at));
            }
            None => text.push_str(": no letter within the hour"),
        }
        if let Some(status) = status
            && let (Some(since), Some(problem)) = (status.failing_since, &status.problem)
        {
            let _ = write!(
                text,
                "; takes NONE for {}: {problem} (lighterman alert test --channel {})",
                ago(since),
                channel.name
            );
        }
        out(&text);
    }
    if settings.channels.is_empty() {
        out("No channel: alerts are in the log alone.");
    }
    if settings.deadman.is_none() {
        out("No dead man's switch: nobody is told when the agent itself is gone.");
    }
    out("");
    for rule in &settings.rules {
        let bounded = in_force.iter().find(|known| known.name == rule.name);
        let stands = match bounded {
            None => "off ",
            Some(_) if firing.iter().any(|one| one.alert == rule.name) => "FIRES",
            Some(_) => "ok  ",
        };
        out(&format!(
            "{stands} {} ({}): {}",
            rule.name,
            rule.urgency.name(),
            bounded.unwrap_or(rule).condition()
        ));
    }
}

/// The channels that a test is for, by the name that was given or all of them.
fn named<'c>(config: &'c Config, name: Option<&str>) -> Result<Vec<&'c Channel>, Finding> {
    let all = &config.alerts.channels;
    let found: Vec<&Channel> = all
        .iter()
        .filter(|channel| name.is_none_or(|name| name == channel.name))
        .collect();
    let deadman = name == Some(deadman::NAME) && config.alerts.deadman.is_some();
    if !found.is_empty() || deadman {
        return Ok(found);
    }
    let mut names: Vec<&str> = all.iter().map(|channel| channel.name.as_str()).collect();
    if config.alerts.deadman.is_some() {
        names.push(deadman::NAME);
    }
    let finding = match name {
        Some(name) if !names.is_empty() => {
            Finding::fail("--channel", format!("there is no channel `{name}`"))
                .fix(format!("one of {}", names.join(", ")))
        }
        _ => Finding::fail("alert test", "the settings have no channel")
            .fix("add [alerts.smtp] or [[alerts.webhook]]: docs/operating/alerts.md"),
    };
    Err(finding)
}

async fn test(config: &Config, name: Option<&str>, json: bool) -> Exit {
    let channels = match named(config, name) {
        Ok(channels) => channels,
        Err(finding) => return refuse(&[finding], json),
    };
    let agent = config.alerts.named(&config.tenant);
    let mut said: BTreeMap<&str, (bool, String)> = BTreeMap::new();
    for channel in channels {
        let letter = Letter::test(&agent, SystemClock.now());
        let answer = match channel.send(&letter).await {
            Ok(answered) => match answered.but {
                None => (true, answered.words),
                Some(refused) => (false, format!("{}; but {}", answered.words, refused.answer)),
            },
            Err(refused) => (false, refused.answer),
        };
        said.insert(&channel.name, answer);
    }
    if name == Some(deadman::NAME)
        && let Some(settings) = &config.alerts.deadman
    {
        let answer = match settings.test().await {
            Ok(words) => (true, words),
            Err(why) => (false, why),
        };
        said.insert(deadman::NAME, answer);
    }
    let names: Vec<&str> = said.keys().copied().collect();
    did(
        &config.state_folder,
        "alert.test",
        &names.join(", "),
        json!({}),
    );
    if json {
        let one = |(channel, (ok, answer)): (&&str, &(bool, String))| json!({ "channel": channel, "ok": ok, "answer": answer });
        let all: Vec<Json> = said.iter().map(one).collect();
        out(&json!({ "channels": all }).to_string());
    } else {
        for (channel, (ok, answer)) in &said {
            let word = if *ok { "took it" } else { "did NOT take it" };
            out(&format!("{channel} {word}: {answer}"));
        }
    }
    if said.values().all(|(ok, _)| *ok) {
        Exit::Ok
    } else {
        Exit::Trouble
    }
}
