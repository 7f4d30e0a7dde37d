//! `lighterman map`: mapping files looked at, tested and tried. None of it touches a destination.

mod explain;
mod files;
mod functions;
mod test;

use std::path::PathBuf;

use clap::Subcommand;

use crate::Exit;

#[derive(Debug, Subcommand)]
pub(crate) enum MapCommand {
    /// Runs the tests that stand in mapping files.
    Test {
        /// Mapping files, or folders with some.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Says, for each event, which tables and columns influence it and what is kept for it.
    Explain {
        /// Mapping files, or folders with some.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
    /// Lists what expressions may call, with examples.
    Functions {
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn map(command: &MapCommand) -> Exit {
    match command {
        MapCommand::Test { files, json } => test::test(files, *json),
        MapCommand::Explain { files, json } => explain::explain(files, *json),
        MapCommand::Functions { json } => functions::functions(*json),
    }
}
