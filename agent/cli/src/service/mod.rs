//! `lighterman service`: the agent as a service of this machine, and what its manager is told while it runs.
//!
//! `linux` is the one of systemd, `notify.rs` what systemd is told, and `progress.rs` whether the agent gets on;
//! `windows` is the one of the service control manager.

#[cfg(any(windows, test))]
mod account;
#[cfg(not(windows))]
mod done;
#[cfg(not(any(target_os = "linux", windows)))]
mod elsewhere;
#[cfg(any(windows, test))]
mod image;
#[cfg(target_os = "linux")]
mod linux;
pub(crate) mod notify;
mod progress;
#[cfg(windows)]
mod windows;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

#[cfg(not(windows))]
use done::{Done, Refused};
#[cfg(not(any(target_os = "linux", windows)))]
use elsewhere as system;
#[cfg(target_os = "linux")]
use linux as system;
#[cfg(windows)]
pub(crate) use windows::{asked_to_stop, lines_folder, run};

use crate::Exit;
#[cfg(not(windows))]
use crate::refuse;

/// What the service is called, and its user or folder, unless a person says otherwise.
const NAME: &str = if cfg!(windows) {
    "Lighterman"
} else {
    "lighterman"
};
/// Where a machine keeps settings of services.
#[cfg(not(windows))]
const ETC: &str = "/etc";

#[derive(Debug, Clone, Args)]
pub(crate) struct InstallOptions {
    /// The folder of lighterman.toml; by default the one that the service has already on Windows, else a folder of
    /// its name in C:\ProgramData or in /etc.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    service: ServiceOptions,
    /// Only shows what would be done, and the unit.
    #[cfg(not(windows))]
    #[arg(long)]
    dry_run: bool,
    /// Run as this account, one without a password: LocalService, NetworkService, LocalSystem or a group
    /// managed account, DOMAIN\name$. By default the service's own, NT SERVICE\NAME, which may do nothing
    /// but what it was given.
    #[cfg(windows)]
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ServiceOptions {
    /// What the service is called; its user, too.
    #[arg(long, default_value = NAME, value_parser = name)]
    name: String,
    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

#[cfg(windows)]
#[derive(Debug, Args)]
pub(crate) struct RunOptions {
    #[arg(long, value_parser = name)]
    name: String,
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
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
    /// What the service manager starts.
    #[cfg(windows)]
    #[command(hide = true)]
    Run(RunOptions),
}

pub(crate) async fn service(command: ServiceCommand) -> Exit {
    // All of it waits for other programs.
    match tokio::task::spawn_blocking(move || does(command)).await {
        Ok(exit) => exit,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

#[cfg(windows)]
fn does(command: ServiceCommand) -> Exit {
    windows::service(command)
}

#[cfg(not(windows))]
fn does(command: ServiceCommand) -> Exit {
    let (ServiceCommand::Install(InstallOptions { service, .. })
    | ServiceCommand::Uninstall(service)
    | ServiceCommand::Start(service)
    | ServiceCommand::Stop(service)
    | ServiceCommand::Status(service)) = &command;
    let ServiceOptions { name, json } = service.clone();
    let done = match command {
        ServiceCommand::Install(options) => {
            let usual = || Path::new(ETC).join(&name);
            let folder = options.folder.unwrap_or_else(usual);
            system::install(&name, &folder, options.dry_run)
        }
        ServiceCommand::Uninstall(_) => system::uninstall(&name),
        ServiceCommand::Start(_) => system::start(&name),
        ServiceCommand::Stop(_) => system::stop(&name),
        ServiceCommand::Status(_) => system::status(&name),
    };
    match done {
        Ok(done) => done.tell(json),
        Err(refused) => {
            refuse(&[refused.finding], json);
            refused.exit
        }
    }
}

/// A name that is the same as a file's and a folder's, in a command line or a unit, and as a user's or an account's.
fn name(text: &str) -> Result<String, String> {
    let (longest, expected) = if cfg!(windows) {
        let expected =
            "1 to 64 letters, digits, dots, dashes or underscores, a letter or digit first";
        (64, expected)
    } else {
        let expected = "small letters, digits and hyphens, a letter first, 31 at most";
        (31, expected)
    };
    let first =
        |byte: u8| byte.is_ascii_lowercase() || (cfg!(windows) && byte.is_ascii_alphanumeric());
    let plain = |byte: u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || byte == b'-'
            || (cfg!(windows) && (byte.is_ascii_uppercase() || b"._".contains(&byte)))
    };
    let begins = text.bytes().next().is_some_and(first);
    if begins && text.len() <= longest && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("expected {expected}"))
    }
}

/// The service whose settings stand in a folder, where the folder says so: `/etc/NAME`, `C:\ProgramData\NAME`.
pub(crate) fn of_folder(folder: &Path) -> Option<&str> {
    let known = folder.file_name()?.to_str()?;
    (is_home(folder, known) && name(known).is_ok()).then_some(known)
}

#[cfg(windows)]
fn is_home(folder: &Path, name: &str) -> bool {
    let usual = windows::usual(name);
    folder.as_os_str().eq_ignore_ascii_case(usual.as_os_str())
}

#[cfg(not(windows))]
fn is_home(folder: &Path, _: &str) -> bool {
    cfg!(target_os = "linux") && folder.parent() == Some(Path::new(ETC))
}

/// Says to the system's service manager that the agent runs.
pub(crate) fn running() {
    #[cfg(windows)]
    windows::running();
    notify::ready();
}

/// Ends when the system's service manager tells the agent to stop, by another way than a signal.
#[cfg(not(windows))]
pub(crate) async fn asked_to_stop() {
    std::future::pending::<()>().await;
}

/// The state folder in which lines of the log are kept although the settings could not be read: a service has
/// nobody who looks at its console.
#[cfg(not(windows))]
pub(crate) fn lines_folder() -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_for_a_unit_a_user_and_a_folder() {
        for name in [super::NAME, "a", "lighterman-2"] {
            assert!(super::name(name).is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in [
            "", "-a", "a b", "a/b", "../a", "a\\b", "a\"b", "a%i", "ä", &long,
        ] {
            assert!(super::name(name).is_err(), "{name}");
        }
        for name in ["2a", "A", "a.b"] {
            assert_eq!(super::name(name).is_ok(), cfg!(windows), "{name}");
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
