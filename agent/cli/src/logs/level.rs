//! The log's level: the settings', the environment's, and one that a person asks for while the agent
//! runs.
//!
//! `lighterman log level` leaves a file in the state folder. The agent looks for it each second, takes
//! it by giving it another name, and goes back by itself when its time is over. A start within that
//! time goes on with it.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use contract::{Clock, Finding, clock};
use engine::clock::SystemClock;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::Config;
use crate::{Common, Exit, load, out, refuse};

/// What may be asked for, from the fewest lines to the most.
pub(crate) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Our own rooms. What libraries say below a warning may hold what passes through them.
const OURS: [&str; 9] = [
    "lighterman",
    "engine",
    "state",
    "mappings",
    "registry",
    "broker",
    "http_client",
    "source_",
    "destination_",
];

/// Whether a line is of ours.
pub(crate) fn is_ours(target: &str) -> bool {
    OURS.iter().any(|ours| target.starts_with(ours))
}

/// Replaces the settings' level, in tracing's own notation.
const ENVIRONMENT: &str = "LIGHTERMAN_LOG";

const ASKED: &str = "log-level.asked";
const IN_FORCE: &str = "log-level";
/// No file of ours is longer.
const FILE_BYTES_MAX: u64 = 4_096;
/// Nobody wants every line for longer.
const FOR_MAX: SignedDuration = SignedDuration::from_hours(24);
/// The agent looks each second.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A level for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    level: String,
    until: Timestamp,
    /// Who asked.
    by: String,
}

/// The filter in force.
pub(super) struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    now: Mutex<Now>,
}

struct Now {
    usual: &'static str,
    /// The level that was asked for, and when it ends at the latest, whatever the clock does.
    wanted: Option<(Wanted, Instant)>,
    begun: bool,
}

impl Levels {
    /// The filter, and what changes it.
    pub(super) fn new() -> (Self, reload::Layer<EnvFilter, Registry>) {
        let usual = "info";
        let (layer, filter) = reload::Layer::new(usually(usual));
        let now = Now {
            usual,
            wanted: None,
            begun: false,
        };
        let levels = Self {
            filter,
            now: Mutex::new(now),
        };
        (levels, layer)
    }

    /// The level that the settings say.
    pub(super) fn usually(&self, level: &'static str) {
        self.now
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .usual = level;
        self.apply(usually(level));
    }

    fn apply(&self, filter: EnvFilter) {
        // Only fails when the log is gone.
        let _ = self.filter.reload(filter);
    }

    /// Looks whether another level is asked for, or one's time is over.
    pub(super) fn look(&self, folder: &Path) {
        let moment = SystemClock.now();
        let (asked, in_force) = (folder.join(ASKED), folder.join(IN_FORCE));
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let first = !std::mem::replace(&mut now.begun, true);
        let found = match read(&asked) {
            // Taken by its name: whoever asked sees that.
            Some(found) => fs::rename(&asked, &in_force).map(|()| found).ok(),
            None if first => read(&in_force),
            None => None,
        };
        match found {
            Some(Ok(wanted)) if wanted.until > moment => self.want(&mut now, wanted, moment),
            Some(Ok(_)) => self.leave(&mut now, &in_force),
            Some(Err(error)) => {
                tracing::warn!(
                    code = "log.level_refused",
                    file = %in_force.display(),
                    error,
                    hint = "lighterman log level debug --for 10m",
                    "a level for the log was asked for that cannot be read"
                );
                let _ = fs::remove_file(&in_force);
            }
            None => {
                let over = now.wanted.as_ref().is_some_and(|(wanted, latest)| {
                    wanted.until <= moment || *latest <= Instant::now()
                });
                if over {
                    self.leave(&mut now, &in_force);
                }
            }
        }
    }

    fn want(&self, now: &mut Now, wanted: Wanted, moment: Timestamp) {
        let rest = clock::until(moment, wanted.until).min(FOR_MAX.unsigned_abs());
        self.apply(of(&wanted.level));
        tracing::info!(
            code = "log.level_changed",
            until = %wanted.until,
            by = wanted.by,
            "the log's level is {} for a while",
            wanted.level
        );
        now.wanted = Some((wanted, Instant::now() + rest));
    }

    fn leave(&self, now: &mut Now, in_force: &Path) {
        let _ = fs::remove_file(in_force);
        self.apply(usually(now.usual));
        if now.wanted.take().is_some() {
            tracing::info!(
                code = "log.level_back",
                "the log's level is as the settings say again"
            );
        }
    }
}

/// The filter of a level: our own lines from it on, and warnings of everybody else.
fn of(level: &str) -> EnvFilter {
    let others = if level == "error" { "error" } else { "warn" };
    let mut text = others.to_owned();
    for ours in OURS {
        let _ = write!(text, ",{ours}={level}");
    }
    EnvFilter::new(text)
}

/// The environment's filter, or that of the settings' level.
fn usually(level: &str) -> EnvFilter {
    match std::env::var(ENVIRONMENT).map(EnvFilter::try_new) {
        Ok(Ok(filter)) => filter,
        _ => of(level),
    }
}

/// Says what is wrong with the environment's filter.
pub(super) fn say_environment() {
    if let Ok(Err(error)) = std::env::var(ENVIRONMENT).map(EnvFilter::try_new) {
        tracing::warn!(
            code = "settings.warning",
            what = ENVIRONMENT,
            hint = "lighterman=debug,engine=debug, or leave it out",
            "it cannot be read and has no effect: {error}"
        );
    }
}

/// What a file asks for, if it is there.
fn read(file: &Path) -> Option<Result<Wanted, String>> {
    let mut text = String::new();
    let file = fs::File::open(file).ok()?;
    if let Err(error) = file.take(FILE_BYTES_MAX).read_to_string(&mut text) {
        return Some(Err(error.to_string()));
    }
    let wanted = serde_json::from_str::<Wanted>(&text).map_err(|error| error.to_string());
    Some(wanted.and_then(|wanted| {
        if LEVELS.contains(&wanted.level.as_str()) {
            Ok(wanted)
        } else {
            Err(format!("the level is not one of {}", LEVELS.join(", ")))
        }
    }))
}

/// Changes how much the running agent says, for a while; without a level: how much it says now.
#[derive(Debug, Args)]
pub(crate) struct LevelOptions {
    #[command(flatten)]
    common: Common,
    /// error, warn, info, debug or trace.
    #[arg(value_parser = LEVELS)]
    level: Option<String>,
    /// For so long, then it goes back by itself: 10m, 90s, 2h; 24h at most.
    #[arg(long = "for", default_value = "10m", value_parser = duration, requires = "level")]
    time: SignedDuration,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<SignedDuration>() {
        Ok(time) if time.is_positive() && time <= FOR_MAX => Ok(time),
        _ => Err("write it as 10m, 90s or 2h; 24h at most".to_owned()),
    }
}

/// `lighterman log level`.
pub(crate) async fn level(options: &LevelOptions) -> Exit {
    let json = options.common.json;
    let config = match load(&options.common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, json),
    };
    match &options.level {
        Some(level) => ask(&config, level, options.time, json).await,
        None => show(&config, json),
    }
}

fn show(config: &Config, json: bool) -> Exit {
    let now = SystemClock.now();
    let wanted = read(&config.state_folder.join(IN_FORCE))
        .and_then(Result::ok)
        .filter(|wanted| wanted.until > now);
    let usual = config.log.level;
    if json {
        let level = wanted.as_ref().map_or(usual, |wanted| &wanted.level);
        let until = wanted.as_ref().map(|wanted| wanted.until);
        let form = serde_json::json!({ "level": level, "until": until, "usual": usual });
        out(&form.to_string());
        return Exit::Ok;
    }
    match wanted {
        Some(wanted) => out(&format!(
            "The log's level is {} until {:.0}, as {} asked; then {usual} again.",
            wanted.level, wanted.until, wanted.by
        )),
        None => out(&format!("The log's level is {usual}, as the settings say.")),
    }
    Exit::Ok
}

async fn ask(config: &Config, level: &str, time: SignedDuration, json: bool) -> Exit {
    const WHAT: &str = "log level";
    if !state::owner(&config.state_folder).is_some_and(|(_, owned)| owned) {
        let finding = Finding::fail(
            WHAT,
            "the agent does not run, so there is nothing to change",
        )
        .fix("for every start: level in [log] of the settings; then lighterman run");
        refuse(&[finding], json);
        return Exit::Trouble;
    }
    let moment = SystemClock.now();
    let wanted = Wanted {
        level: level.to_owned(),
        until: clock::after(moment, time.unsigned_abs()),
        by: crate::audit::person(),
    };
    let asked = config.state_folder.join(ASKED);
    if let Err(error) = write(&asked, &wanted) {
        let what = format!("write {}", asked.display());
        let finding = Finding::fail(what, error.to_string())
            .fix("run it as a user who may write the state folder");
        refuse(&[finding], json);
        return Exit::State;
    }
    let deadline = tokio::time::Instant::now() + TAKEN_WITHIN;
    while asked.exists() {
        if tokio::time::Instant::now() >= deadline {
            let _ = fs::remove_file(&asked);
            let found = "the running agent does not take it; it stays as it was";
            let fix = "let the agent's user read what you write into the state folder; an agent of an \
                       older version does not know this command and must be started anew";
            refuse(&[Finding::fail(WHAT, found).fix(fix)], json);
            return Exit::Trouble;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let details = serde_json::json!({ "until": wanted.until });
    crate::audit::did(&config.state_folder, "log.level", level, details);
    if json {
        let form = serde_json::json!({ "level": level, "until": wanted.until });
        out(&form.to_string());
    } else {
        let (until, usual) = (wanted.until, config.log.level);
        out(&format!(
            "The log's level is {level} until {until:.0}; then {usual} again."
        ));
    }
    Exit::Ok
}

/// Writes it whole or not at all: the agent may look at any moment.
fn write(file: &Path, wanted: &Wanted) -> std::io::Result<()> {
    let text = serde_json::to_string(wanted).map_err(std::io::Error::other)?;
    let beside: PathBuf = file.with_extension("new");
    fs::write(&beside, text)?;
    fs::rename(beside, file)
}
