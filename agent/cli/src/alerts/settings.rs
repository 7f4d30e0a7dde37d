//! `[[alert]]` and `[alerts]` in the settings file.

use std::time::Duration;

use contract::{Secrets, Section};

use super::channel::{Channel, Kind};
use super::rule::{Rule, URGENCIES, Urgency};
use super::{builtin, deadman, read_rule, smtp, webhook};

/// A rule about rates or quantiles looks back so far, unless it says otherwise.
pub(super) const WINDOW: Duration = Duration::from_mins(15);
/// What is well for so long is over, unless the rule says otherwise.
pub(super) const CLEAR_HOLD: Duration = Duration::from_mins(1);
/// Between two looks at the numbers.
const EVERY_SECONDS: u64 = 10;
/// What begins or ends within so long of another is told in one letter.
const GATHER_SECONDS: u64 = 20;
const REMIND_MINUTES: u64 = 240;
const LETTERS_PER_HOUR: u64 = 12;
/// Rules and channels that settings may have.
const RULES_MAX: usize = 100;
const CHANNELS_MAX: usize = 20;

/// What the settings say of alerts.
#[derive(Debug, Clone)]
pub(crate) struct AlertSettings {
    pub(super) rules: Vec<Rule>,
    pub(super) channels: Vec<Channel>,
    pub(super) deadman: Option<deadman::Settings>,
    pub(super) every: Duration,
    pub(super) gather: Duration,
    /// `None` = nobody is reminded.
    pub(super) remind: Option<Duration>,
    pub(super) letters_per_hour: usize,
    /// How letters call this agent; `None` = by its tenant.
    pub(super) name: Option<String>,
    /// The settings have a block about alerts.
    pub(super) asked: bool,
}

impl Default for AlertSettings {
    fn default() -> Self {
        Self {
            rules: builtin::rules(),
            channels: Vec::new(),
            deadman: None,
            every: Duration::from_secs(EVERY_SECONDS),
            gather: Duration::from_secs(GATHER_SECONDS),
            remind: Some(Duration::from_mins(REMIND_MINUTES)),
            letters_per_hour: usize::try_from(LETTERS_PER_HOUR).unwrap_or(1),
            name: None,
            asked: false,
        }
    }
}

impl AlertSettings {
    /// Whether the settings have anything about alerts: else nothing is watched.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked
    }

    /// How letters call this agent.
    pub(crate) fn named(&self, tenant: &str) -> String {
        self.name.as_deref().unwrap_or(tenant).to_owned()
    }
}

/// Reads them.
pub(crate) fn read(top: &mut Section<'_>, secrets: &dyn Secrets) -> AlertSettings {
    let mut settings = AlertSettings {
        asked: top.get("alerts").is_some() || top.get("alert").is_some(),
        ..AlertSettings::default()
    };
    let mut section = top.section_or_empty("alerts");
    let seconds = |found: Option<u64>, usual| Duration::from_secs(found.unwrap_or(usual));
    let every = section.number("every_seconds", 1, 300);
    section.or("every_seconds", every, EVERY_SECONDS);
    settings.every = seconds(every, EVERY_SECONDS);
    let gather = section.number("gather_seconds", 0, 600);
    section.or("gather_seconds", gather, GATHER_SECONDS);
    settings.gather = seconds(gather, GATHER_SECONDS);
    let remind = section.number("remind_minutes", 0, 7 * 24 * 60);
    let remind = section.or("remind_minutes", remind, REMIND_MINUTES);
    settings.remind = (remind > 0).then(|| Duration::from_mins(remind));
    let letters = section.number("letters_per_hour", 1, 120);
    let letters = section.or("letters_per_hour", letters, LETTERS_PER_HOUR);
    settings.letters_per_hour = usize::try_from(letters).unwrap_or(1);
    settings.name = section.text("name").map(str::to_owned);
    if let Some(mut smtp) = section.section("smtp") {
        let least = least(&mut smtp);
        let kind = smtp::read(&mut smtp, secrets).map(Kind::Smtp);
        smtp.finish();
        settings.channels.extend(kind.map(|kind| Channel {
            name: "smtp".to_owned(),
            least,
            kind,
        }));
    }
    let hooks = section.sections("webhook");
    for (number, mut hook) in (1..).zip(hooks) {
        let channel = read_webhook(&mut hook, number, secrets);
        let (line, column) = hook.place();
        let Some(channel) = channel else {
            hook.finish();
            continue;
        };
        let taken = settings.channels.iter().any(|one| one.name == channel.name);
        if taken || channel.name == deadman::NAME || settings.channels.len() >= CHANNELS_MAX {
            let found = if settings.channels.len() >= CHANNELS_MAX {
                format!("there are more than {CHANNELS_MAX} channels")
            } else {
                format!("another channel has the name `{}`", channel.name)
            };
            hook.problems().add(line, column, hook.path(), found, None);
        }
        hook.finish();
        settings.channels.push(channel);
    }
    settings.deadman = section
        .section("deadman")
        .and_then(|section| deadman::read(section, secrets));
    section.finish();
    let rules = top.sections("alert");
    if rules.len() > RULES_MAX
        && let Some(node) = top.get("alert")
    {
        top.wrong(
            "alert",
            node,
            format!("there are more than {RULES_MAX}"),
            None,
        );
    }
    let mut named = Vec::new();
    for section in rules {
        read_rule::read(section, &mut settings.rules, &mut named);
    }
    settings
}

/// What matters less than this is not sent to a channel.
fn least(section: &mut Section<'_>) -> Urgency {
    Urgency::of(section.word("level", &URGENCIES).unwrap_or("warn"))
}

fn read_webhook(
    section: &mut Section<'_>,
    number: usize,
    secrets: &dyn Secrets,
) -> Option<Channel> {
    let name = section.text("name").map(str::to_owned);
    let least = least(section);
    let kind = webhook::read(section, secrets).map(Kind::Webhook);
    Some(Channel {
        name: name.unwrap_or_else(|| format!("webhook-{number}")),
        least,
        kind: kind?,
    })
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
