//! `lighterman service`: the agent as a service of this machine, and what its manager is told while it runs.
//!
//! `linux.rs` is the one of systemd, `notify.rs` what systemd is told, and `progress.rs` whether the agent gets on.

#[cfg(target_os = "linux")]
mod account;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
pub(crate) mod notify;
mod progress;
#[cfg(target_os = "linux")]
mod systemctl;
#[cfg(target_os = "linux")]
mod unit;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use contract::Finding;
use serde_json::{Value, json};

#[cfg(not(target_os = "linux"))]
use elsewhere as system;
#[cfg(target_os = "linux")]
use linux as system;

use crate::{Exit, out, refuse};

/// What the service and its user are called, unless a person says otherwise.
const NAME: &str = "lighterman";
/// Where a machine keeps settings of services.
const ETC: &str = "/etc";

#[derive(Debug, Clone, Args)]
pub(crate) struct InstallOptions {
    /// The folder of the settings.
    #[arg(long, value_name = "DIR", default_value = "/etc/lighterman")]
    folder: PathBuf,
    #[command(flatten)]
    service: ServiceOptions,
    /// Only shows what would be done, and the unit.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceOptions {
    /// What the service is called; its user, too.
    #[arg(long, default_value = NAME)]
    name: String,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Makes the agent a service that starts with the machine, as a user of its own. Packages have done it already.
    Install(InstallOptions),
    /// Takes that back; settings, state and logs stay.
    Uninstall(ServiceOptions),
    /// Starts it.
    Start(ServiceOptions),
    /// Stops it; requests that are out may end.
    Stop(ServiceOptions),
    /// Says whether it runs.
    Status(ServiceOptions),
}

pub(crate) async fn service(command: ServiceCommand) -> Exit {
    // All of it waits for other programs.
    match tokio::task::spawn_blocking(move || run(&command)).await {
        Ok(exit) => exit,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

fn run(command: &ServiceCommand) -> Exit {
    let (ServiceCommand::Install(InstallOptions { service, .. })
    | ServiceCommand::Uninstall(service)
    | ServiceCommand::Start(service)
    | ServiceCommand::Stop(service)
    | ServiceCommand::Status(service)) = command;
    let name = &service.name;
    let done = check_name(name).and_then(|()| match command {
        ServiceCommand::Install(options) => system::install(name, &options.folder, options.dry_run),
        ServiceCommand::Uninstall(_) => system::uninstall(name),
        ServiceCommand::Start(_) => system::start(name),
        ServiceCommand::Stop(_) => system::stop(name),
        ServiceCommand::Status(_) => system::status(name),
    });
    match done {
        Ok(done) => done.tell(service.json),
        Err(refused) => {
            refuse(&[refused.finding], service.json);
            refused.exit
        }
    }
}

/// Names go into files' names and units.
fn check_name(name: &str) -> Result<(), Refused> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let first = name.bytes().next();
    if name.len() <= 31
        && first.is_some_and(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(letter)
    {
        return Ok(());
    }
    Err(Refused::settings(
        Finding::fail("--name", "is no name for a service and its user")
            .fix("small letters, digits and hyphens, a letter first, 31 at most"),
    ))
}

/// The service whose settings stand in a folder, where the folder says so: `/etc/NAME`.
pub(crate) fn of_folder(folder: &Path) -> Option<&str> {
    let name = folder.file_name()?.to_str()?;
    let is_home = cfg!(target_os = "linux") && folder.parent() == Some(Path::new(ETC));
    (is_home && check_name(name).is_ok()).then_some(name)
}

/// Why a command is not done.
struct Refused {
    finding: Finding,
    exit: Exit,
}

impl Refused {
    fn trouble(finding: Finding) -> Self {
        let exit = Exit::Trouble;
        Self { finding, exit }
    }

    fn settings(finding: Finding) -> Self {
        let exit = Exit::Settings;
        Self { finding, exit }
    }
}

/// What was done.
#[derive(Default)]
struct Done {
    /// In words, a line each.
    lines: Vec<String>,
    /// What works but should be known.
    warnings: Vec<Finding>,
    /// Commands that come next.
    next: Vec<String>,
    /// Commands that take it back.
    undo: Vec<String>,
    /// More for programs.
    more: Vec<(&'static str, Value)>,
    /// It is not as it should be.
    trouble: bool,
}

impl Done {
    fn tell(self, json: bool) -> Exit {
        let exit = if self.trouble {
            Exit::Trouble
        } else {
            Exit::Ok
        };
        if json {
            let mut form = json!({ "done": self.lines });
            if let Some(form) = form.as_object_mut() {
                let lists = [("next", &self.next), ("undo", &self.undo)];
                for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                    form.insert(key.to_owned(), json!(list));
                }
                if !self.warnings.is_empty() {
                    form.insert("findings".to_owned(), json!(self.warnings));
                }
                for (key, value) in self.more {
                    form.insert(key.to_owned(), value);
                }
            }
            out(&form.to_string());
            return exit;
        }
        for line in &self.lines {
            out(line);
        }
        crate::say(&self.warnings);
        for (head, commands) in [("Next:", &self.next), ("Undo:", &self.undo)] {
            if !commands.is_empty() {
                out(head);
            }
            for command in commands {
                out(&format!("  {command}"));
            }
        }
        exit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_a_unit_a_user_and_a_folder() {
        for name in ["lighterman", "a", "lighterman-2"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(32);
        for name in [
            "", "-a", "2a", "A", "a b", "a/b", "../a", "a.b", "a%i", "ä", &long,
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_of_the_machines_settings_is_a_services() {
        let of = |path| of_folder(Path::new(path));
        assert_eq!(of("/etc/lighterman"), Some("lighterman"));
        assert_eq!(of("/etc/shop-2/"), Some("shop-2"));
        for other in [
            "/etc",
            "/etc/a/b",
            "etc/lighterman",
            "/srv/lighterman",
            "/",
            ".",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
