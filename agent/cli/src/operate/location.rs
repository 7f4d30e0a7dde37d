//! `lighterman location`: stops a location's stock where it is told, and lets it go on.

use clap::{Args, Subcommand};
use contract::{Clock, Finding};
use engine::clock::SystemClock;
use jiff::{SignedDuration, Timestamp};
use state::{Command, LocationStop, StateReader, Stop};

use super::{Failed, counted, done, moment, named, understood};
use crate::audit::{did, person};
use crate::config::Config;
use crate::{Common, Exit, load, out, refuse, say};

#[derive(Debug, Subcommand)]
pub(crate) enum LocationCommand {
    /// The locations that are stopped, until when, by whom and why.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Nothing is told of a location's stock until it is released: for a stock-take.
    Freeze(StopOptions),
    /// A location's stock is told as nothing to sell until it is released: for a flood.
    Zero(StopOptions),
    /// What there really is is told again.
    Release {
        #[command(flatten)]
        common: Common,
        /// The location, as events name it.
        location: String,
        /// At this destination; without it, at all of them.
        #[arg(long)]
        destination: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct StopOptions {
    #[command(flatten)]
    common: Common,
    /// The location, as events name it.
    location: String,
    /// At this destination; without it, at all of them.
    #[arg(long)]
    destination: Option<String>,
    /// Why, for whoever wonders.
    #[arg(long)]
    why: String,
    /// It is released by itself then.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// It is released by itself after so long: 30m, 4h, 2d.
    #[arg(long = "for", value_parser = span, conflicts_with = "until")]
    lasts: Option<SignedDuration>,
    /// It stays until a person releases it.
    #[arg(long, conflicts_with_all = ["until", "lasts"])]
    until_released: bool,
}

/// A time that something lasts, as a person writes it.
fn span(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("`{text}` is no time; write it as 30m, 4h or 2d");
    let split = text.len().saturating_sub(1);
    let (number, unit) = text.split_at_checked(split).ok_or_else(wrong)?;
    let number: i64 = number.parse().map_err(|_| wrong())?;
    let minutes = match unit {
        "m" => 1,
        "h" => 60,
        "d" => 24 * 60,
        _ => return Err(wrong()),
    };
    match number.checked_mul(minutes) {
        Some(minutes @ 1..=527_040) => Ok(SignedDuration::from_mins(minutes)),
        _ => Err(format!("`{text}` is not from 1m to 366d")),
    }
}

pub(super) async fn location(command: &LocationCommand) -> Exit {
    let (common, asked) = match command {
        LocationCommand::List { common } => {
            return match load(common) {
                Ok(config) => list(&config, common.json)
                    .unwrap_or_else(|failed| failed.refuse("location", common.json)),
                Err(findings) => refuse(&findings, common.json),
            };
        }
        LocationCommand::Freeze(options) | LocationCommand::Zero(options) => {
            (&options.common, (&options.location, &options.destination))
        }
        LocationCommand::Release {
            common,
            location,
            destination,
        } => (common, (location, destination)),
    };
    let json = common.json;
    let config = match load(common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    let (location, destination) = asked;
    let names = match named(&config, destination.as_deref()) {
        Ok(names) => names,
        Err(findings) => return refuse(&findings, json),
    };
    let command = match command {
        LocationCommand::Freeze(options) => order(&config, options, Stop::Freeze, &names),
        LocationCommand::Zero(options) => order(&config, options, Stop::Zero, &names),
        LocationCommand::List { .. } | LocationCommand::Release { .. } => {
            Ok(Ok(Command::Release {
                location: location.clone(),
                by: person(),
                tenant: config.tenant.clone(),
            }))
        }
    };
    let done = match command {
        Ok(Ok(command)) => all(&config, &names, location, &command, json).await,
        Ok(Err(finding)) => return refuse(&[finding], json),
        Err(failed) => Err(failed),
    };
    done.unwrap_or_else(|failed| failed.refuse("location", json))
}

type Ordered = Result<Result<Command, Finding>, Failed>;

/// What stops a location, unless it is not to be.
fn order(config: &Config, options: &StopOptions, stop: Stop, names: &[&str]) -> Ordered {
    let now = SystemClock.now();
    let fail = |found: String, fix: String| Ok(Err(Finding::fail("location", found).fix(fix)));
    let until = match (options.until, options.lasts) {
        (Some(until), _) if until <= now => {
            return fail(
                format!("--until {} is over", understood(until)),
                "name a time that is to come; without a zone it is of this machine's zone"
                    .to_owned(),
            );
        }
        (Some(until), _) => Some(until),
        // Whole seconds are enough, and are easier to read.
        (None, Some(lasts)) => Timestamp::from_second(now.as_second())
            .and_then(|now| now.checked_add(lasts))
            .ok(),
        (None, None) if options.until_released => None,
        (None, None) => {
            return fail(
                "it is not said how long".to_owned(),
                "--for 4h, --until 2026-11-28T06:00, or --until-released: a stop that is forgotten \
                 stops selling"
                    .to_owned(),
            );
        }
    };
    let reader = StateReader::open(&config.state_folder)?;
    let known = reader.locations()?;
    if !known.contains(&options.location) {
        let near = contract::finding::nearest(&options.location, known.iter().map(String::as_str));
        let fix = match near {
            Some(near) => format!("did you mean {near}?"),
            None if known.is_empty() => "nothing has been told of any stock yet".to_owned(),
            None => format!("one of {}", some(&known)),
        };
        let found = format!(
            "no stock was ever told of a location {:?}",
            options.location
        );
        return fail(found, fix);
    }
    let mut there = reader.location_stops()?.into_iter();
    let zero = there.find(|(destination, found)| {
        names.contains(&destination.as_str())
            && found.location == options.location
            && found.stop == Stop::Zero
    });
    if let Some((destination, found)) = zero.filter(|_| stop == Stop::Freeze) {
        return fail(
            format!(
                "{} is told as nothing to sell at {destination}, by {}: {}",
                found.location, found.by, found.why
            ),
            format!("lighterman location release {} first", found.location),
        );
    }
    let stop = LocationStop {
        location: options.location.clone(),
        stop,
        until,
        since: now,
        by: person(),
        why: options.why.clone(),
    };
    Ok(Ok(Command::Stop {
        stop,
        tenant: config.tenant.clone(),
    }))
}

fn some(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let shown = names.iter().take(SHOWN).map(String::as_str);
    let mut text = shown.collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(", ..");
    }
    text
}

/// Has it done at each of these destinations.
async fn all(
    config: &Config,
    names: &[&str],
    location: &str,
    command: &Command,
    json: bool,
) -> Result<Exit, Failed> {
    let (what, until, why) = match command {
        Command::Stop { stop, .. } => {
            let what = match stop.stop {
                Stop::Freeze => "location.freeze",
                Stop::Zero => "location.zero",
            };
            (what, stop.until.map(understood), stop.why.clone())
        }
        _ => ("location.release", None, String::new()),
    };
    let (mut forms, mut failed) = (Vec::new(), Vec::new());
    for name in names {
        let count = match done(config, name, command.clone()).await {
            Ok(count) => count,
            // The others are stopped all the same.
            Err(error) => {
                failed.push(error.finding(&format!("destination {name}")));
                let details = serde_json::json!({ "until": until, "why": why, "answered": false });
                did(
                    &config.state_folder,
                    what,
                    &format!("{name}/{location}"),
                    details,
                );
                continue;
            }
        };
        did(
            &config.state_folder,
            what,
            &format!("{name}/{location}"),
            serde_json::json!({ "until": until, "why": why, "told": count }),
        );
        forms.push(serde_json::json!({
            "destination": name, "location": location, "done": what, "until": until, "told": count,
        }));
        if !json {
            let until = until
                .as_ref()
                .map_or_else(String::new, |until| format!(" until {until}"));
            out(&match what {
                "location.freeze" => {
                    format!("{name}: nothing is told of the stock of {location}{until}")
                }
                "location.zero" => format!(
                    "{name}: {location} is told as nothing to sell{until}; {} to go",
                    counted(count, "event")
                ),
                _ => format!(
                    "{name}: {location} goes on; {} to go",
                    counted(count, "event")
                ),
            });
        }
    }
    if json {
        out(&serde_json::json!({ "location": forms, "failed": failed }).to_string());
    } else {
        say(&failed);
    }
    Ok(if failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Trouble
    })
}

fn list(config: &Config, json: bool) -> Result<Exit, Failed> {
    let stops = StateReader::open(&config.state_folder)?.location_stops()?;
    if json {
        let form = |(destination, stop): &(String, LocationStop)| serde_json::json!({ "destination": destination, "stop": stop });
        let forms: Vec<_> = stops.iter().map(form).collect();
        out(&serde_json::json!({ "stops": forms }).to_string());
        return Ok(Exit::Ok);
    }
    if stops.is_empty() {
        out("No location is stopped.");
    }
    for (destination, stop) in &stops {
        out(&sentence(destination, stop));
    }
    Ok(Exit::Ok)
}

/// How a location is stopped, in a sentence.
pub(crate) fn sentence(destination: &str, stop: &LocationStop) -> String {
    let what = match stop.stop {
        Stop::Freeze => "nothing is told of the stock of",
        Stop::Zero => "nothing to sell is told of",
    };
    let until = stop.until.map_or_else(
        || "a person releases it".to_owned(),
        |until| until.to_string(),
    );
    format!(
        "{destination}: {what} {} until {until} (since {}, by {}: {}).",
        stop.location, stop.since, stop.by, stop.why
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_is_said_in_minutes_hours_or_days() {
        let check = |text: &str, minutes: Option<i64>| {
            let found = span(text).ok();
            assert_eq!(found, minutes.map(SignedDuration::from_mins), "{text}");
        };
        check("30m", Some(30));
        check("4h", Some(240));
        check("2d", Some(2_880));
        for wrong in [
            "",
            "4",
            "h",
            "-1h",
            "0m",
            "1.5h",
            "4 h",
            "400d",
            "4ü",
            "9223372036854775807d",
        ] {
            check(wrong, None);
        }
    }
}
