//! What the command line answers.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

/// Writes settings and a mapping to start from. At a terminal it asks, with defaults; each question has a flag, and
/// --questions lists them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Where.
    #[arg(long, default_value = ".")]
    pub(super) folder: PathBuf,
    /// Kind of source: mysql (MariaDB too), postgres, sqlite or sqlserver.
    #[arg(long)]
    pub(super) source: Option<String>,
    /// A key of the source's block, as in host=db1 or password=env:ERP_PASSWORD; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    source_set: Vec<String>,
    /// A shipped pack, in place of a mapping of your own; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(super) pack: Vec<String>,
    /// An answer to what the packs ask, and company.code, company.database, company.currency; may be given several
    /// times.
    #[arg(long, value_name = "KEY=VALUE")]
    pack_set: Vec<String>,
    /// The company's code, the first part of every key, for a mapping of your own.
    #[arg(long)]
    pub(super) company: Option<String>,
    /// The schema (MySQL: database) that the tables stand in, for a mapping of your own.
    #[arg(long)]
    pub(super) schema: Option<String>,
    /// Kind of destination: webhook, file, kafka, .., or a shipped channel: vendure, shopify, ..
    #[arg(long)]
    pub(super) destination: Option<String>,
    /// A key of the destination's block, as in url=https://.., settings.user=agent or secret=made; may be given several
    /// times.
    #[arg(long, value_name = "KEY=VALUE")]
    destination_set: Vec<String>,
    /// With a copy of the channel's file in channels/, to be changed.
    #[arg(long)]
    pub(super) own_channel: bool,
    /// What the company is called here.
    #[arg(long)]
    pub(super) tenant: Option<String>,
    /// Nothing is really sent: what would be is compared and counted.
    #[arg(long)]
    pub(super) shadow: bool,
    /// Times of day at which no table is read for the first time, as in 08:00-18:00; may be given several times.
    #[arg(long, value_name = "FROM-TO")]
    pub(super) pause: Vec<String>,
    /// The time zone of these times, as in Europe/Berlin.
    #[arg(long)]
    pub(super) zone: Option<String>,
    /// For so many days log files are kept.
    #[arg(long, value_name = "DAYS")]
    pub(super) keep_days: Option<String>,
    /// Tries the source with what was written, and prints the SQL that an administrator must run.
    #[arg(long)]
    pub(super) test: bool,
    /// Asks nothing: flags and defaults only. So it is without a terminal, and with --json.
    #[arg(long)]
    pub(super) non_interactive: bool,
    /// Lists the questions with their flags and defaults, and writes nothing.
    #[arg(long)]
    pub(super) questions: bool,
    /// Print JSON for programs.
    #[arg(long)]
    pub(super) json: bool,
}

/// Answers by key, each to be taken once.
#[derive(Debug, Default)]
pub(super) struct Given(BTreeMap<String, String>);

impl Given {
    /// Of `KEY=VALUE` texts; what is none of these comes back.
    fn of(flag: &str, texts: &[String]) -> Result<Self, String> {
        let mut given = BTreeMap::new();
        for text in texts {
            match text.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    given.insert(key.trim().to_owned(), value.trim().to_owned());
                }
                // What stands there may be a secret.
                _ => {
                    return Err(format!(
                        "{flag}: KEY=VALUE is expected, as in {flag} name=erp"
                    ));
                }
            }
        }
        Ok(Self(given))
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    pub(super) fn peek(&self, key: &str) -> Option<String> {
        self.0.get(key).cloned()
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// What nobody took.
    pub(super) fn rest(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.0).into_iter().collect()
    }
}

/// Answers of all three kinds.
#[derive(Debug, Default)]
pub(super) struct Sets {
    pub(super) source: Given,
    pub(super) pack: Given,
    pub(super) destination: Given,
}

impl Options {
    /// The answers of `--source-set`, `--pack-set` and `--destination-set`.
    ///
    /// # Errors
    /// What is none.
    pub(super) fn sets(&self) -> Result<Sets, String> {
        Ok(Sets {
            source: Given::of("--source-set", &self.source_set)?,
            pack: Given::of("--pack-set", &self.pack_set)?,
            destination: Given::of("--destination-set", &self.destination_set)?,
        })
    }
}
