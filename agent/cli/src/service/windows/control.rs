//! Starts and stops the service, and says how it stands.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use contract::Finding;
use serde_json::{Value, json};
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceExitCode, ServiceStartType, ServiceState, ServiceStatus,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::super::{ServiceOptions, image};
use super::{SETTINGS, folder, named, note, refused, told};
use crate::Exit;

/// A start or stop that takes longer goes on without us.
const WAIT_MAX: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Of exit codes: the process went away without a word.
const WITHOUT_A_WORD: u32 = 1067;
/// It was not started since Windows was.
const NEVER: u32 = 1077;
/// The service's own number is the one that says why.
const OWN_NUMBER: u32 = 1066;

/// Opens the service; nothing where there is none.
pub(super) fn opened(
    what: &str,
    name: &str,
    access: ServiceAccess,
) -> Result<Option<Service>, Finding> {
    let wrong = |error: &Error| refused::finding(what, name, error);
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT)
        .map_err(|error| wrong(&error))?;
    match manager.open_service(name, access) {
        Ok(service) => Ok(Some(service)),
        Err(error) if refused::number(&error) == Some(refused::NO_SUCH_SERVICE) => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

fn must_be(what: &str, name: &str, access: ServiceAccess) -> Result<Service, Finding> {
    opened(what, name, access)?.ok_or_else(|| {
        Finding::fail(format!("{what} service {name}"), "there is no such service")
            .fix(format!("lighterman service install{}", named(name)))
    })
}

/// What it runs, where that is ours.
fn image_of(service: &Service) -> Option<image::Image> {
    let config = service.query_config().ok()?;
    image::read(&config.executable_path.to_string_lossy())
}

pub(super) fn start(options: &ServiceOptions) -> Exit {
    match started(options) {
        Ok((folder, was_running)) => {
            if let (Some(folder), false) = (&folder, was_running) {
                note(folder, "service.start", &options.name, json!({}));
            }
            let form =
                json!({ "service": options.name, "state": "running", "was_running": was_running });
            let line = if was_running { "runs already" } else { "runs" };
            let mut lines = vec![format!("Service {} {line}.", options.name)];
            if let Some(folder) = folder {
                let settings = folder.join(SETTINGS);
                lines.push(format!(
                    "Whether stock is flowing: lighterman status --config \"{}\"",
                    settings.display()
                ));
            }
            told(options.json, &form, &lines, &[])
        }
        Err((exit, finding)) => {
            refused::trouble(finding, options.json);
            exit
        }
    }
}

fn started(options: &ServiceOptions) -> Result<(Option<PathBuf>, bool), (Exit, Finding)> {
    let name = options.name.as_str();
    let trouble = |finding| (Exit::Trouble, finding);
    let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::START;
    let service = must_be("start", name, access).map_err(trouble)?;
    let folder = image_of(&service).map(|image| image.folder);
    if let Some(folder) = &folder {
        let settings = folder.join(SETTINGS);
        if !settings.exists() {
            let finding = Finding::fail(
                format!("start service {name}"),
                format!("there are no settings in {}", folder.display()),
            );
            let fix = format!("lighterman init --folder \"{}\"", folder.display());
            return Err((Exit::Settings, finding.fix(fix)));
        }
    }
    let wrong = |error: &Error| trouble(refused::finding("start", name, error));
    let status = service.query_status().map_err(|error| wrong(&error))?;
    if status.current_state == ServiceState::Running {
        return Ok((folder, true));
    }
    if status.current_state != ServiceState::StartPending {
        service.start::<&str>(&[]).map_err(|error| wrong(&error))?;
    }
    let settled = |state| matches!(state, ServiceState::Running | ServiceState::Stopped);
    let status = until(&service, settled).map_err(|error| wrong(&error))?;
    match status.map(|status| (status.current_state, status.exit_code)) {
        Some((ServiceState::Running, _)) => Ok((folder, false)),
        Some((_, code)) => Err(ended(name, folder.as_deref(), code)),
        None => Err(trouble(
            Finding::fail(
                format!("start service {name}"),
                format!("it is still starting after {} s", WAIT_MAX.as_secs()),
            )
            .fix(format!("a large state that is brought up to date takes long; look again: lighterman service status{}", named(name))),
        )),
    }
}

/// Why a service that was to run has ended.
fn ended(name: &str, folder: Option<&Path>, code: ServiceExitCode) -> (Exit, Finding) {
    let settings = folder.map(|folder| folder.join(SETTINGS).display().to_string());
    let settings = settings.unwrap_or_else(|| SETTINGS.to_owned());
    let logs = folder.map(|folder| folder::state_of(folder).join("logs").display().to_string());
    let logs = logs.unwrap_or_else(|| "state\\logs".to_owned());
    let (exit, found, fix) = match code {
        ServiceExitCode::ServiceSpecific(2) => (
            Exit::Settings,
            "it ended at once: the settings are refused".to_owned(),
            format!("lighterman check --config \"{settings}\" says what is wrong with them"),
        ),
        ServiceExitCode::ServiceSpecific(3) => (
            Exit::State,
            "it ended at once: the state folder cannot be used".to_owned(),
            format!("the newest lines in {logs} say why"),
        ),
        other => (
            Exit::Trouble,
            format!("it ended at once: {}", reason(other)),
            format!(
                "the newest lines in {logs}, and Event Viewer, Windows Logs, Application, say why"
            ),
        ),
    };
    (
        exit,
        Finding::fail(format!("start service {name}"), found).fix(fix),
    )
}

pub(super) fn stop(options: &ServiceOptions) -> Exit {
    let name = options.name.as_str();
    let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::QUERY_STATUS | ServiceAccess::STOP;
    let done = must_be("stop", name, access).and_then(|service| {
        let status = service
            .query_status()
            .map_err(|error| refused::finding("stop", name, &error))?;
        let was_running = status.current_state != ServiceState::Stopped;
        if was_running {
            stopped(&service, name)?;
        }
        Ok((image_of(&service), was_running))
    });
    match done {
        Ok((image, was_running)) => {
            if let (Some(image), true) = (&image, was_running) {
                note(&image.folder, "service.stop", name, json!({}));
            }
            let form = json!({ "service": name, "state": "stopped", "was_running": was_running });
            let line = if was_running {
                format!(
                    "Service {name} is stopped. It starts again with Windows, or by lighterman service start{}.",
                    named(name)
                )
            } else {
                format!("Service {name} does not run.")
            };
            told(options.json, &form, &[line], &[])
        }
        Err(finding) => refused::trouble(finding, options.json),
    }
}

/// Stops it and waits until it has.
pub(super) fn stopped(service: &Service, name: &str) -> Result<(), Finding> {
    let wrong = |error: &Error| refused::finding("stop", name, error);
    let status = service.query_status().map_err(|error| wrong(&error))?;
    if status.current_state == ServiceState::StartPending {
        // One that starts takes no stop.
        until(service, |state| state != ServiceState::StartPending)
            .map_err(|error| wrong(&error))?;
    }
    let status = service.query_status().map_err(|error| wrong(&error))?;
    if !matches!(
        status.current_state,
        ServiceState::StopPending | ServiceState::Stopped
    ) {
        service.stop().map_err(|error| wrong(&error))?;
    }
    let ended = until(service, |state| state == ServiceState::Stopped);
    if ended.map_err(|error| wrong(&error))?.is_some() {
        return Ok(());
    }
    let found = format!("it has not ended after {} s", WAIT_MAX.as_secs());
    Err(Finding::fail(format!("stop service {name}"), found)
        .fix("wait; the state is safe whenever the process ends, also in Task Manager"))
}

/// Waits until its state is what is waited for; nothing after a while.
fn until(
    service: &Service,
    reached: impl Fn(ServiceState) -> bool,
) -> Result<Option<ServiceStatus>, Error> {
    let began = Instant::now();
    loop {
        let status = service.query_status()?;
        if reached(status.current_state) {
            return Ok(Some(status));
        }
        if began.elapsed() > WAIT_MAX {
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(super) fn status(options: &ServiceOptions) -> Exit {
    match looked_at(&options.name) {
        Ok(Some((form, lines, runs))) => {
            told(options.json, &form, &lines, &[]);
            if runs { Exit::Ok } else { Exit::Trouble }
        }
        Ok(None) => {
            let form = json!({ "service": options.name, "installed": false, "state": null });
            let lines = [format!(
                "There is no service {}. To register it: lighterman service install{}",
                options.name,
                named(&options.name)
            )];
            told(options.json, &form, &lines, &[]);
            Exit::Trouble
        }
        Err(finding) => refused::trouble(finding, options.json),
    }
}

type Looked = (Value, Vec<String>, bool);

fn looked_at(name: &str) -> Result<Option<Looked>, Finding> {
    let access = ServiceAccess::QUERY_CONFIG | ServiceAccess::QUERY_STATUS;
    let Some(service) = opened("look at", name, access)? else {
        return Ok(None);
    };
    let wrong = |error: &Error| refused::finding("look at", name, error);
    let status = service.query_status().map_err(|error| wrong(&error))?;
    let config = service.query_config().map_err(|error| wrong(&error))?;
    let line = config.executable_path.to_string_lossy().into_owned();
    let image = image::read(&line);
    let account = config
        .account_name
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let state = word(status.current_state);
    let runs = status.current_state == ServiceState::Running;
    let failed = match status.exit_code {
        ServiceExitCode::Win32(0 | NEVER) => None,
        code => (status.current_state == ServiceState::Stopped).then(|| reason(code)),
    };
    let starts = match config.start_type {
        ServiceStartType::AutoStart => "with Windows",
        ServiceStartType::OnDemand => "when somebody starts it",
        ServiceStartType::Disabled => "never: it is disabled",
        ServiceStartType::SystemStart | ServiceStartType::BootStart => "as a driver",
    };
    let settings = image.as_ref().map(|image| image.folder.join(SETTINGS));
    let ready = settings.as_ref().is_some_and(|file| file.exists());
    let form = json!({
        "service": name,
        "installed": true,
        "state": state,
        "process": status.process_id,
        "ended": failed,
        "account": account,
        "starts": starts,
        "command": line,
        "folder": image.as_ref().map(|image| &image.folder),
        "settings": ready,
    });
    let process = status
        .process_id
        .filter(|_| runs)
        .map(|id| format!(", process {id}"));
    let mut lines = vec![format!(
        "Service {name}: {state}{}",
        process.unwrap_or_default()
    )];
    if let Some(failed) = failed {
        lines.push(format!("  last end  {failed}"));
    }
    lines.push(format!("  starts    {starts}"));
    lines.push(format!("  account   {account}"));
    match (&image, &settings) {
        (Some(image), Some(settings)) => {
            lines.push(format!("  program   {}", image.program.display()));
            lines.push(format!("  settings  {}", settings.display()));
        }
        _ => lines.push(format!("  program   {line}, which is not ours")),
    }
    let option = named(name);
    match &settings {
        Some(settings) if runs => lines.push(format!(
            "Whether stock is flowing: lighterman status --config \"{}\"",
            settings.display()
        )),
        Some(_) if ready => lines.push(format!("To start it: lighterman service start{option}")),
        Some(settings) => lines.push(format!(
            "There are no settings yet: lighterman init --folder \"{}\"",
            settings.parent().unwrap_or(settings).display()
        )),
        None => {}
    }
    Ok(Some((form, lines, runs)))
}

fn word(state: ServiceState) -> &'static str {
    match state {
        ServiceState::Stopped => "stopped",
        ServiceState::StartPending => "starting",
        ServiceState::StopPending => "stopping",
        ServiceState::Running => "running",
        ServiceState::ContinuePending | ServiceState::PausePending | ServiceState::Paused => {
            "paused"
        }
    }
}

/// An exit code in words.
fn reason(code: ServiceExitCode) -> String {
    match code {
        ServiceExitCode::ServiceSpecific(2) => "the settings were refused (2)".to_owned(),
        ServiceExitCode::ServiceSpecific(3) => "the state folder could not be used (3)".to_owned(),
        ServiceExitCode::ServiceSpecific(number) => format!("it failed ({number})"),
        ServiceExitCode::Win32(WITHOUT_A_WORD) => "its process was ended, or crashed".to_owned(),
        ServiceExitCode::Win32(0) => "it ended without an error".to_owned(),
        ServiceExitCode::Win32(OWN_NUMBER) => "it failed".to_owned(),
        ServiceExitCode::Win32(number) => {
            let error =
                std::io::Error::from_raw_os_error(i32::try_from(number).unwrap_or(i32::MAX));
            format!("{error}")
        }
    }
}
