//! `lighterman map`: mapping files looked at, tested and tried. None of it touches a destination.

mod attempt;
pub(crate) mod check;
mod diff;
mod explain;
pub(crate) mod files;
mod functions;
pub(crate) mod live;
mod looked;
mod names;
mod new;
mod rows;
mod shadow;
mod test;

use std::path::PathBuf;

use clap::Subcommand;
use contract::EventType;

use crate::{Common, Exit, out};
use live::Ask;
pub(crate) use looked::{Looked, Trying, tried_first};
pub(crate) use shadow::{Shadow, shadows};

#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// Says what is wrong with mapping files, with `--source` also against its tables.
    Check {
        /// Mapping files, or folders with some; without any, those that the settings name.
        files: Vec<PathBuf>,
        #[command(flatten)]
        ask: Ask,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Writes a first draft of a mapping file, from what the database says about a table.
    New {
        /// The table, as `schema.table`.
        #[arg(long)]
        from: String,
        /// What it should emit.
        #[arg(long, default_value = "inventory.availability.v1", value_parser = event_type)]
        emit: EventType,
        /// The code of the company whose rows they are: the first part of every key.
        #[arg(long, default_value = "MY-COMPANY")]
        company: String,
        /// Write it into this file, where there is none yet or the one that `init` wrote; else it is printed.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
        #[command(flatten)]
        ask: Ask,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Tries a mapping file on rows of a live source: one by its key, step by step, or a sample.
    Try {
        /// The mapping file.
        file: PathBuf,
        #[command(flatten)]
        on: attempt::On,
        #[command(flatten)]
        ask: Ask,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Says what a new version of a mapping file would change, on the rows of both files' tests, or
    /// with `--sample` on rows of a live source.
    Diff {
        /// The mapping file as it is.
        old: PathBuf,
        /// The mapping file as it would be.
        new: PathBuf,
        /// Read so many rows of each event's own table from the source.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        sample: Option<u32>,
        #[command(flatten)]
        ask: Ask,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// What the mapping that `shadow_mappings` names in a source's settings would tell otherwise of live changes, as the
    /// running agent finds. Nothing of it is sent.
    Shadow {
        #[command(flatten)]
        common: Common,
        /// Only of this source.
        #[arg(long)]
        source: Option<String>,
        /// So many differences, the newest.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Runs the tests that stand in mapping files.
    Test {
        /// Mapping files, or folders with some; without any, those that the settings name.
        files: Vec<PathBuf>,
        /// The settings file.
        #[arg(long, default_value = "lighterman.toml", env = "LIGHTERMAN_CONFIG")]
        config: PathBuf,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Says, for each event, which tables and columns influence it and what is kept for it, with
    /// `--source` also for how many rows.
    Explain {
        /// Mapping files, or folders with some.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        ask: Ask,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Prints the JSON Schema of mapping files, by which an editor completes and checks them.
    Schema,
    /// Lists what expressions may call, with examples.
    Functions {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
}

fn event_type(name: &str) -> Result<EventType, String> {
    name.parse().map_err(|()| {
        let all = EventType::ALL.map(EventType::name);
        format!("is none of {}", all.join(", "))
    })
}

pub(crate) async fn map(command: &MapCommand) -> Exit {
    match command {
        MapCommand::Check { files, ask, json } => check::check(files, ask, *json).await,
        MapCommand::New {
            from,
            emit,
            company,
            to,
            ask,
            json,
        } => {
            let wanted = new::Wanted {
                from,
                emit: *emit,
                company,
                to: to.as_deref(),
            };
            new::new(ask, &wanted, *json).await
        }
        MapCommand::Try {
            file,
            on,
            ask,
            json,
        } => attempt::attempt(file, ask, on, *json).await,
        MapCommand::Diff {
            old,
            new,
            sample,
            ask,
            json,
        } => diff::diff(old, new, ask, *sample, *json).await,
        MapCommand::Shadow {
            common,
            source,
            limit,
        } => shadow::shadow(common, source.as_deref(), *limit),
        MapCommand::Test {
            files,
            config,
            json,
        } => test::test(files, config, *json),
        MapCommand::Explain { files, ask, json } => explain::explain(files, ask, *json).await,
        MapCommand::Schema => {
            out(mappings::editor::SCHEMA.trim_end());
            Exit::Ok
        }
        MapCommand::Functions { json } => functions::functions(*json),
    }
}
