//! The `lighterman` command.
//!
//! Exit codes: 0 done; 1 trouble was found (a check failed, the agent does not run, a demo did not
//! match, a person left a set-up); 2 the settings or the command line are wrong; 3 the state folder cannot be used.

mod alerts;
mod audit;
mod beside;
mod care;
mod check;
mod colour;
mod config;
mod counted;
mod delivery;
mod demo;
mod disk;
mod erp_upgrade;
mod first_load;
mod fit;
mod init;
mod local;
mod logs;
mod map;
mod operate;
mod otlp;
mod pages;
mod plain;
mod read_text;
mod reconcile;
mod resync;
mod run;
mod secret;
mod service;
mod statements;
mod status;
mod support;
mod toml_advice;
mod toml_node;
mod upgrade;
mod version;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use contract::{Finding, Level};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok,
    Trouble,
    Settings,
    State,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Ok => 0,
            Exit::Trouble => 1,
            Exit::Settings => 2,
            Exit::State => 3,
        })
    }
}

/// Carries changes of an ERP or WMS database to sales channels and cloud systems.
#[derive(Debug, Parser)]
#[command(version = version::SAID)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Common {
    /// The settings file; paths in it are relative to its folder.
    #[arg(long, default_value = "lighterman.toml", env = "LIGHTERMAN_CONFIG")]
    config: PathBuf,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The settings file as it is named in its own folder.
    fn settings(&self) -> PathBuf {
        self.config
            .file_name()
            .map_or_else(|| self.config.clone(), PathBuf::from)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Plays a small warehouse against the real agent and shows stock arriving at a channel.
    Demo(demo::Options),
    /// Asks, and writes settings and a mapping to start from.
    Init(Box<init::Options>),
    /// Looks at settings, mappings, sources and destinations, and says what to do.
    Check(Common),
    /// Runs the agent until it is told to stop.
    Run {
        #[command(flatten)]
        common: Common,
        /// Only says what a first load would read and tell, how much of it and for how long. Nothing is
        /// written and nothing is sent.
        #[arg(long)]
        dry_run: bool,
    },
    /// Says whether stock is flowing, and if not, why.
    Status(status::StatusOptions),
    /// The settings themselves.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Sources.
    #[command(subcommand)]
    Source(SourceCommand),
    /// Secrets that the settings name.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// Mapping files.
    #[command(subcommand)]
    Map(map::MapCommand),
    /// What is held for a person.
    #[command(subcommand)]
    Held(operate::HeldCommand),
    /// Tells again what was told.
    Replay(operate::ReplayOptions),
    /// Compares what was told with what a destination holds.
    Reconcile(reconcile::Options),
    /// Shows what became of a key, from the source to the API's answer.
    Trace(operate::TraceOptions),
    /// Destinations.
    #[command(subcommand)]
    Destination(operate::DestinationCommand),
    /// Locations whose stock is stopped where it is told.
    #[command(subcommand)]
    Location(operate::LocationCommand),
    /// What is told when something is wrong, and to whom.
    #[command(subcommand)]
    Alert(alerts::AlertCommand),
    /// What the agent says of itself.
    #[command(subcommand)]
    Log(LogCommand),
    /// The state file: whether it is right, backups of it, and its room.
    #[command(subcommand)]
    State(care::StateCommand),
    /// Who changed what: the record of it.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    SupportBundle(support::BundleOptions),
    /// The agent as a service of this machine.
    #[command(subcommand)]
    Service(service::ServiceCommand),
    /// Writes manual pages and shell completions, for packages.
    #[command(hide = true)]
    Pages(pages::Options),
    Upgrade(upgrade::UpgradeOptions),
    Rollback(upgrade::RollbackOptions),
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    Level(logs::LevelOptions),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Shows what the settings say and where, the environment included; secrets are masked.
    Show {
        #[command(flatten)]
        common: Common,
        /// Also what holds where nothing is said.
        #[arg(long)]
        effective: bool,
    },
    /// Prints a JSON Schema of the settings file, for editors.
    Schema,
}

#[derive(Debug, Subcommand)]
enum SourceCommand {
    /// Prints what must be done at the database before it can be captured, and the undo.
    Prepare {
        #[command(flatten)]
        common: Common,
        /// Do it.
        #[arg(long)]
        apply: bool,
        /// As this database user, who may do more than the settings' user; the password, where
        /// there is one, stands in the environment variable LIGHTERMAN_PREPARE_PASSWORD.
        #[arg(long)]
        user: Option<String>,
    },
    /// Before the ERP behind a source is upgraded: waits until what was captured is delivered, keeps what
    /// its tables look like, and prints what takes our own objects out of the database.
    PrepareUpgrade {
        #[command(flatten)]
        common: Common,
        /// The source's name; may be left out when there is only one.
        name: Option<String>,
        /// How long to wait until everything is delivered, in seconds.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(..=86_400))]
        wait: u64,
    },
    /// After the upgrade: says what of its tables is another, which events that touches, and what is to be
    /// done.
    AfterUpgrade {
        #[command(flatten)]
        common: Common,
        /// The source's name; may be left out when there is only one.
        name: Option<String>,
        /// Do it: prepare the database again, and read the tables again that are others.
        #[arg(long)]
        apply: bool,
    },
    /// Has tables read again and compared with what was told: rows that are gone end, new ones are
    /// told, and nothing is told twice. The agent may run or not.
    ///
    /// Without --table: every table, and the log from where it begins now. For a source whose log no
    /// longer reaches back.
    Resync {
        #[command(flatten)]
        common: Common,
        /// The source's name; may be left out when there is only one.
        name: Option<String>,
        /// The source's name.
        #[arg(long, conflicts_with = "name", value_name = "NAME")]
        source: Option<String>,
        /// Only this table, while the log goes on where it stands; may be given several times.
        #[arg(long, value_name = "TABLE")]
        table: Vec<String>,
        /// Says that every table is meant, and a new epoch begins, as without --table. With =N it is no smaller than
        /// N, also where this state folder knows nothing of the source: for after a lost disk, a number larger
        /// than any epoch that was told (--new-epoch=10).
        #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0",
            conflicts_with = "table", value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
        new_epoch: Option<u32>,
    },
}

/// Prints a line; a closed pipe is not worth an error.
pub(crate) fn out(line: &str) {
    styled(&plain::lines(line));
}

/// The same of a line that has colours, or steers the terminal as we mean it.
pub(crate) fn styled(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints findings for people.
pub(crate) fn say(findings: &[Finding]) {
    let coloured = colour::wanted();
    for finding in findings {
        if coloured {
            styled(&colour::line(finding));
        } else {
            out(&line(finding));
        }
    }
}

/// A finding for people.
pub(crate) fn line(finding: &Finding) -> String {
    let level = match finding.level {
        Level::Pass => "ok  ",
        Level::Warn => "WARN",
        Level::Fail => "FAIL",
    };
    format!("{level} {finding}")
}

fn main() -> ExitCode {
    // One crypto provider for the whole process, before anything can ask for one. A second
    // installation is impossible here: nothing has run yet.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Older consoles understand colours when they are told to; one that does not shows no worse without.
    #[cfg(windows)]
    let _ = nu_ansi_term::enable_ansi_support();
    let exit = match Cli::parse().command {
        // On this thread: the service manager takes it for as long as the service lives.
        #[cfg(windows)]
        Command::Service(service::ServiceCommand::Run(options)) => service::run(options),
        command => in_runtime(command),
    };
    exit.into()
}

/// Does what a command says, in a runtime of its own.
fn in_runtime(asked: Command) -> Exit {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            out(&format!("start the runtime: {error}"));
            return Exit::State;
        }
    };
    let exit = runtime.block_on(command(asked));
    // A blocked thread (a lock held by the application, say) must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}

async fn command(command: Command) -> Exit {
    match command {
        Command::Demo(options) => demo::demo(options).await,
        Command::Init(options) => init::init(*options).await,
        Command::Check(common) => check::check(load(&common), common.json).await,
        Command::Run {
            common,
            dry_run: true,
        } => match load(&common) {
            Ok(config) => first_load::dry_run(&config, common.json).await,
            Err(findings) => refuse(&findings, common.json),
        },
        Command::Run { common, .. } => {
            let mut logs = logs::begin(common.json);
            let exit = match load(&common) {
                Ok(config) => {
                    logs.follow(&config.log);
                    run::run(config, common.settings(), &mut logs).await
                }
                Err(findings) => {
                    if let Some(state) = service::lines_folder() {
                        logs.follow(&logs::LogSettings::usual(&state));
                    }
                    for finding in &findings {
                        tracing::error!(code = "settings.refused", hint = finding.fix, "{finding}");
                    }
                    Exit::Settings
                }
            };
            logs.end();
            exit
        }
        Command::Status(options) => status::status(&options).await,
        Command::Config(ConfigCommand::Show { common, effective }) => {
            match beside_settings(&common) {
                Ok(file) => config::show(&file, effective, common.json),
                Err(findings) => refuse(&findings, common.json),
            }
        }
        Command::Config(ConfigCommand::Schema) => {
            out(&format!("{:#}", config::schema()));
            Exit::Ok
        }
        Command::Secret(command) => secret::secret(command).await,
        Command::Map(command) => map::map(&command).await,
        Command::Held(command) => operate::held(&command).await,
        Command::Replay(options) => operate::replay(&options).await,
        Command::Reconcile(options) => reconcile::reconcile(&options).await,
        Command::Trace(options) => operate::trace(&options),
        Command::Destination(command) => operate::destination(&command).await,
        Command::Location(command) => operate::location(&command).await,
        Command::Alert(command) => alerts::alert(&command).await,
        Command::Log(LogCommand::Level(options)) => logs::level(&options).await,
        Command::State(command) => care::care(command).await,
        Command::Audit(command) => audit::audit(&command),
        Command::SupportBundle(options) => support::bundle(&options).await,
        Command::Service(command) => service::service(command).await,
        Command::Pages(options) => pages::pages(&options),
        Command::Upgrade(options) => upgrade::upgrade(options).await,
        Command::Rollback(options) => upgrade::rollback(options).await,
        Command::Source(SourceCommand::Resync {
            common,
            name,
            source,
            table,
            new_epoch,
        }) => match load(&common) {
            Ok(config) => {
                let name = name.or(source);
                resync::resync(&config, name, &table, new_epoch, common.json).await
            }
            Err(findings) => refuse(&findings, common.json),
        },
        Command::Source(SourceCommand::PrepareUpgrade { common, name, wait }) => {
            match load(&common) {
                Ok(config) => {
                    erp_upgrade::before(&config, name.as_deref(), wait, common.json).await
                }
                Err(findings) => refuse(&findings, common.json),
            }
        }
        Command::Source(SourceCommand::AfterUpgrade {
            common,
            name,
            apply,
        }) => match load(&common) {
            Ok(config) => erp_upgrade::after(&config, name.as_deref(), apply, common.json).await,
            Err(findings) => refuse(&findings, common.json),
        },
        Command::Source(SourceCommand::Prepare {
            common,
            apply,
            user,
        }) => match load(&common) {
            Ok(config) => check::prepare(&config, apply, user, common.json).await,
            Err(findings) => refuse(&findings, common.json),
        },
    }
}

/// Says why a command cannot begin.
pub(crate) fn refuse(findings: &[Finding], json: bool) -> Exit {
    if json {
        out(&serde_json::json!({ "findings": findings }).to_string());
    } else {
        say(findings);
    }
    Exit::Settings
}

/// Loads the settings with their folder as the working folder.
fn load(common: &Common) -> Result<config::Config, Vec<Finding>> {
    config::load(&beside_settings(common)?)
}

/// Makes the settings' folder the working folder, and names the file within it.
fn beside_settings(common: &Common) -> Result<PathBuf, Vec<Finding>> {
    if let Some(folder) = common.config.parent()
        && !folder.as_os_str().is_empty()
    {
        std::env::set_current_dir(folder).map_err(|error| {
            let what = format!("open folder {}", folder.display());
            let fix =
                "--config names the settings file, as in --config /etc/lighterman/lighterman.toml";
            vec![Finding::fail(what, error.to_string()).fix(fix)]
        })?;
    }
    Ok(common.settings())
}
