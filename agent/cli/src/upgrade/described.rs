//! What a binary is, and what it makes of a folder: each version says that of itself, so that the one which
//! makes a plan guesses nothing of another.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use contract::event::digest;
use contract::{Finding, Level};
use mappings::{channel, packs};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::Build;
use crate::config::{self, Config};
use crate::version;

/// The mapping language that this version reads.
const MAPPING_LANGUAGE: u32 = 1;
/// How long another version may take to say what it is.
const ANSWER_WITHIN: Duration = Duration::from_mins(1);
/// No answer is larger.
const ANSWER_MAX: u64 = 16 << 20;

/// What a binary is, and what it makes of a folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) version: String,
    pub(super) commit: String,
    pub(super) build: String,
    /// The newest format of a state file that it knows.
    pub(super) state_format: i64,
    /// What would be done to the folder's state file, oldest first.
    #[serde(default)]
    pub(super) migration: Vec<String>,
    pub(super) mapping_language: u32,
    /// Functions and forms of the mapping language.
    #[serde(default)]
    pub(super) words: BTreeSet<String>,
    /// Packs and channels in the binary, by the digest of their files.
    #[serde(default)]
    pub(super) shipped: BTreeMap<String, String>,
    /// Those of them that the folder uses.
    #[serde(default)]
    pub(super) used: BTreeSet<String>,
    /// The rules of the folder's mappings.
    #[serde(default)]
    pub(super) rules: Vec<Rule>,
    /// What it says of settings and mappings.
    #[serde(default)]
    pub(super) findings: Vec<Finding>,
}

/// A rule as a binary reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rule {
    pub(super) source: String,
    pub(super) rule: String,
    pub(super) table: String,
    /// Of all that its events are made of.
    pub(super) digest: String,
}

impl Described {
    pub(super) fn build(&self) -> Build {
        Build {
            version: self.version.clone(),
            commit: self.commit.clone(),
        }
    }
}

/// What this binary is, and what it makes of the folder whose settings these are.
pub(super) fn own(settings: &Path) -> Described {
    let mut described = Described {
        version: version::VERSION.to_owned(),
        commit: version::COMMIT.to_owned(),
        build: version::BUILD.to_owned(),
        state_format: state::newest_format(),
        migration: Vec::new(),
        mapping_language: MAPPING_LANGUAGE,
        words: words(),
        shipped: shipped(),
        used: BTreeSet::new(),
        rules: Vec::new(),
        findings: Vec::new(),
    };
    if let Ok(folder) = config::load_state_folder(settings)
        && let Ok(migrated) = state::migrate(&folder, true)
    {
        let steps = migrated.steps.into_iter();
        described.migration = steps.map(|step| step.what).collect();
    }
    match config::load_settings(settings) {
        Ok(config) => described.of_config(&config),
        Err(findings) => described.findings = findings,
    }
    described
}

impl Described {
    fn of_config(&mut self, config: &Config) {
        self.findings.extend(config.warnings.iter().cloned());
        for said in config.said.iter() {
            if said.path.ends_with(".channel")
                && let Ok((file, _)) = channel::shipped(said.value.trim_matches('"'))
            {
                self.used.insert(file);
            }
        }
        for source in &config.sources {
            match source.setup() {
                Ok((setup, more)) => {
                    self.findings.extend(more);
                    for rule in setup.mapping.rules() {
                        if let Ok((file, _)) = packs::shipped(&rule.mapping.pack) {
                            self.used.insert(file);
                        }
                        self.rules.push(Rule {
                            source: source.name.clone(),
                            table: rule.table.to_string(),
                            rule: rule.id,
                            digest: rule.digest,
                        });
                    }
                }
                Err(more) => self.findings.extend(more),
            }
        }
    }

    /// What is wrong with the settings, to this binary.
    pub(super) fn failures(&self) -> impl Iterator<Item = &Finding> {
        let failures = self.findings.iter();
        failures.filter(|finding| finding.level == Level::Fail)
    }
}

fn words() -> BTreeSet<String> {
    let functions = mappings::FUNCTIONS.iter().map(|one| one.name);
    let forms = mappings::FORMS.iter().map(|one| one.name);
    functions.chain(forms).map(str::to_owned).collect()
}

fn shipped() -> BTreeMap<String, String> {
    let packs = packs::SHIPPED
        .iter()
        .map(|(file, text)| ("packs", file, text));
    let channels = channel::SHIPPED
        .iter()
        .map(|(file, text)| ("channels", file, text));
    packs
        .chain(channels)
        .map(|(folder, file, text)| (format!("{folder}/{file}"), digest(&[text])))
        .collect()
}

/// What another binary says that it is.
///
/// # Errors
/// Why it is not known.
pub(super) async fn of(binary: &Path, settings: &Path) -> Result<Described, Finding> {
    let what = "ask the other version what it is";
    let text = tokio::time::timeout(ANSWER_WITHIN, printed(binary, settings)).await;
    let text = text
        .map_err(|_| {
            Finding::fail(
                what,
                format!("it took longer than {} s", ANSWER_WITHIN.as_secs()),
            )
        })?
        .map_err(|error| {
            let fix = "is it for this machine? lighterman --version names the kind that runs here";
            Finding::fail(what, error.to_string()).fix(fix)
        })?;
    serde_json::from_slice(&text).map_err(|_| {
        let found = "it does not say what it is: it is no lighterman, or one from before `upgrade`";
        let fix = "put such a version in place by hand: stop the agent, lighterman state backup, replace \
                   the binary";
        Finding::fail(what, found).fix(fix)
    })
}

async fn printed(binary: &Path, settings: &Path) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new(binary)
        .args(["upgrade", "--describe", "--json", "--config"])
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX).read_to_end(&mut text).await?;
    }
    let _ = child.start_kill();
    let _ = child.wait().await;
    Ok(text)
}
