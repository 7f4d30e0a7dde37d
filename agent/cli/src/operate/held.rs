//! `lighterman held`: what waits for a person, why, and what to do with it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use contract::Finding;
use state::{Command, HeldFilter, StateReader};

use super::held_by::holders;
use super::held_list::{list, unknown};
use super::held_show::form;
use super::{Failed, counted, done, done_by_all, held_again, held_show};
use crate::audit::person;
use crate::config::Config;
use crate::{Common, Exit, load, out, refuse, say};

/// Items shown unless more are asked for.
const SHOWN: usize = 50;

#[derive(Debug, Subcommand)]
pub(crate) enum HeldCommand {
    /// What is held, by cause, and what to do about it.
    List {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        which: Which,
        /// So many items at most of each cause and destination.
        #[arg(long, default_value_t = SHOWN)]
        limit: usize,
    },
    /// One item: the event, what was tried, what the API answered.
    Show {
        #[command(flatten)]
        common: Common,
        /// As `held list` calls it.
        id: String,
        /// Also reads its row and what that is joined with from the source, as they are now, and shows what each
        /// expression gives. For what a mapping holds.
        #[arg(long)]
        look: bool,
    },
    /// Sends held items again, past our guards; of what a mapping holds, the tables are read again as they are
    /// now. One, several, or all of a cause.
    Retry {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        which: Which,
        /// Everything that is held, where nothing else says which.
        #[arg(long)]
        all: bool,
    },
    /// Gives held items up: they are not sent, and stay on record as discarded.
    Drop {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        which: Which,
        /// Everything that is held, where nothing else says which.
        #[arg(long)]
        all: bool,
        /// Why, for the record.
        #[arg(long)]
        why: String,
    },
    /// Writes held items with all that is known of them as JSON lines.
    Export {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        which: Which,
        /// Where to.
        #[arg(long)]
        file: PathBuf,
    },
}

/// Which items are meant: those that fit everything given.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// As `held list` calls them.
    ids: Vec<String>,
    /// Of this destination; `mapping` = changes that a mapping holds.
    #[arg(long)]
    destination: Option<String>,
    /// Held for this: rejected, ambiguous, exhausted, conflict, dependency, guard, mapping.
    #[arg(long)]
    cause: Option<String>,
    /// Of this key, or of a whole part of it: a SKU, an order's number.
    #[arg(long)]
    key: Option<String>,
    /// Of this event type.
    #[arg(long = "type")]
    event_type: Option<String>,
}

impl Which {
    fn filter(&self) -> HeldFilter {
        HeldFilter {
            ids: self.ids.clone(),
            by: self.destination.clone(),
            cause: self.cause.clone(),
            key: self.key.clone(),
            event_type: self.event_type.clone(),
        }
    }

    fn is_everything(&self) -> bool {
        self.filter() == HeldFilter::default()
    }
}

pub(super) async fn held(command: &HeldCommand) -> Exit {
    let (HeldCommand::List { common, .. }
    | HeldCommand::Show { common, .. }
    | HeldCommand::Retry { common, .. }
    | HeldCommand::Drop { common, .. }
    | HeldCommand::Export { common, .. }) = command;
    // Before the settings' folder becomes the working folder: the file is where the person is.
    let file = match command {
        HeldCommand::Export { file, .. } => std::path::absolute(file).unwrap_or(file.clone()),
        HeldCommand::List { .. }
        | HeldCommand::Show { .. }
        | HeldCommand::Retry { .. }
        | HeldCommand::Drop { .. } => PathBuf::new(),
    };
    let config = match load(common) {
        Ok(config) => config,
        Err(findings) => return refuse(&findings, common.json),
    };
    let json = common.json;
    if let HeldCommand::List { which, .. }
    | HeldCommand::Retry { which, .. }
    | HeldCommand::Drop { which, .. }
    | HeldCommand::Export { which, .. } = command
    {
        match unknown(&config, &which.filter()) {
            Ok(None) => {}
            Ok(Some(finding)) => return refuse(&[finding], json),
            Err(error) => return Failed::from(error).refuse("held", json),
        }
    }
    let ended = match command {
        HeldCommand::List { which, limit, .. } => list(&config, &which.filter(), *limit, json),
        HeldCommand::Show { id, look, .. } => held_show::show(&config, id, *look, json).await,
        HeldCommand::Export { which, .. } => export(&config, &which.filter(), &file, json),
        HeldCommand::Retry { which, all, .. } => {
            if let Some(exit) = unclear(which, *all, json) {
                return exit;
            }
            retry(&config, &which.filter(), json).await
        }
        HeldCommand::Drop {
            which, all, why, ..
        } => {
            if let Some(exit) = unclear(which, *all, json) {
                return exit;
            }
            drop_held(&config, &which.filter(), why, json).await
        }
    };
    ended.unwrap_or_else(|failed| failed.refuse("held", json))
}

fn unclear(which: &Which, all: bool, json: bool) -> Option<Exit> {
    (which.is_everything() && !all).then(|| {
        let found = "which items? Name them, or a --cause, --key, --type or --destination; --all is everything";
        refuse(&[Finding::fail("held", found)], json)
    })
}

fn export(
    config: &Config,
    which: &HeldFilter,
    file: &std::path::Path,
    json: bool,
) -> Result<Exit, Failed> {
    use std::io::Write as _;
    let unwritten = |error: std::io::Error| {
        Failed::Said(
            format!("write {}: {error}", file.display()),
            "name a file in a folder that may be written to",
        )
    };
    // Two that read: however many are held, one at a time is in memory.
    let (all, details) = (
        StateReader::open(&config.state_folder)?,
        StateReader::open(&config.state_folder)?,
    );
    let mut written = std::io::BufWriter::new(std::fs::File::create(file).map_err(unwritten)?);
    let mut count = 0;
    let mut ended = Ok(());
    all.held_each(which, |item| {
        // One that was settled meanwhile is not held any more.
        ended = match details.held_show(&item.id) {
            Ok(None) => Ok(()),
            Ok(Some(detail)) => {
                count += 1;
                writeln!(written, "{}", form(&detail)).map_err(unwritten)
            }
            Err(error) => Err(error.into()),
        };
        ended.is_ok()
    })?;
    ended?;
    written.flush().map_err(unwritten)?;
    if json {
        out(&serde_json::json!({ "exported": count, "file": file }).to_string());
    } else {
        out(&format!(
            "{} written to {}",
            counted(count, "held item"),
            file.display()
        ));
    }
    Ok(Exit::Ok)
}

async fn retry(config: &Config, which: &HeldFilter, json: bool) -> Result<Exit, Failed> {
    let found = holders(config, which)?;
    let command = Command::Retry {
        which: which.clone(),
        by: person(),
    };
    let (count, mut failed) = done_by_all(config, &found.destinations, &command).await;
    found.note(config, "held.retry", which, (count, failed.len()), None);
    let (read, more) = held_again::read_again(config, &found.tables).await;
    failed.extend(more);
    failed.extend(found.missing);
    if json {
        let form = serde_json::json!({
            "retried": count, "changes": found.changes, "read_again": read, "findings": failed,
        });
        out(&form.to_string());
        return Ok(ended(&failed));
    }
    if count > 0 || found.changes == 0 {
        out(&format!("{} sent again", counted(count, "event")));
    }
    if !read.is_empty() {
        out(&format!(
            "{} held by a mapping: read again as the rows are now, and compared: {}; what is clear then is told",
            counted(found.changes, "change"),
            read.join(", ")
        ));
    }
    say(&failed);
    Ok(ended(&failed))
}

/// How a command ends that was done for some, and for these not.
fn ended(failed: &[Finding]) -> Exit {
    if failed.is_empty() {
        Exit::Ok
    } else {
        Exit::Trouble
    }
}

async fn drop_held(
    config: &Config,
    which: &HeldFilter,
    why: &str,
    json: bool,
) -> Result<Exit, Failed> {
    let found = holders(config, which)?;
    let command = Command::Drop {
        which: which.clone(),
        by: person(),
        why: why.to_owned(),
    };
    let (mut count, mut failed) = done_by_all(config, &found.destinations, &command).await;
    if found.changes > 0 {
        let command = Command::DropChanges {
            which: which.clone(),
        };
        match done(config, "", command).await {
            Ok(more) => count += more,
            Err(error) => failed.push(error.finding("changes that mappings hold")),
        }
    }
    found.note(config, "held.drop", which, (count, failed.len()), Some(why));
    failed.extend(found.missing);
    if json {
        out(&serde_json::json!({ "dropped": count, "findings": failed }).to_string());
    } else {
        out(&format!("{} given up", counted(count, "held item")));
        say(&failed);
    }
    Ok(ended(&failed))
}
