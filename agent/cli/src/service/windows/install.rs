//! Registers the service, and takes it out again.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::Finding;
use serde_json::json;
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl,
    ServiceFailureActions, ServiceFailureResetPeriod, ServiceInfo, ServiceSidType,
    ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};

use super::super::{InstallOptions, ServiceOptions, account, image};
use super::{SETTINGS, control, folder, named, note, refused, told};
use crate::Exit;
use crate::logs::event_log;

/// After the first end that nobody asked for, the second, and so on; the last one again and again. What waits for a
/// person, such as wrong settings, is tried again without filling the log.
const AGAIN_AFTER_SECONDS: [u64; 5] = [1, 5, 30, 60, 300];
/// A day without such an end, and the next is the first one again.
const FORGOTTEN_AFTER: Duration = Duration::from_hours(24);
/// At the machine's shutdown: requests that are out may end, and the state is closed.
const SHUTDOWN_MAX: Duration = Duration::from_secs(30);

const DESCRIPTION: &str = "Carries changes of an ERP or WMS database to sales channels and cloud systems. \
                           Stopping it loses nothing: it goes on where it was.";

/// A service as it is to be.
struct Wanted<'o> {
    name: &'o str,
    program: PathBuf,
    folder: PathBuf,
    state: PathBuf,
    /// Where a person named one.
    account: Option<String>,
}

pub(super) fn install(options: &InstallOptions) -> Exit {
    let name = &options.service.name;
    let json = options.service.json;
    match installed(options) {
        Ok((wanted, was_there, warnings)) => {
            note(
                &wanted.folder,
                "service.install",
                name,
                json!({ "folder": wanted.folder, "account": wanted.account }),
            );
            let settings = wanted.folder.join(SETTINGS);
            let ready = settings.exists();
            let form = json!({
                "service": name,
                "installed": true,
                "was_installed": was_there,
                "program": wanted.program,
                "folder": wanted.folder,
                "state_folder": wanted.state,
                "settings": ready,
            });
            let (said, option) = (wanted.folder.display(), named(name));
            let done = if was_there {
                "brought up to date"
            } else {
                "registered"
            };
            let mut lines = vec![
                format!(
                    "Service {name} is {done}; it starts by itself some time after Windows has."
                ),
                format!("  program   {}", wanted.program.display()),
                format!("  settings  {said}, which it may read"),
                format!("  state     {}, which it may write", wanted.state.display()),
                format!("undo: lighterman service uninstall{option}"),
            ];
            lines.push(if ready {
                format!("Next: lighterman service start{option}")
            } else {
                format!(
                    "Next: lighterman init --folder \"{said}\", then lighterman service start{option}"
                )
            });
            told(json, &form, &lines, &warnings)
        }
        Err(finding) => refused::trouble(finding, json),
    }
}

fn installed(options: &InstallOptions) -> Result<(Wanted<'_>, bool, Vec<Finding>), Finding> {
    let name = options.service.name.as_str();
    let wrong = |error: &Error| refused::finding("register", name, error);
    let account = match &options.account {
        Some(said) => Some(account::read(said, name).map_err(|found| {
            Finding::fail("--account", found).fix(format!(
                "leave it out, or LocalService; an account with a password is given in Services (services.msc), \
                 {name}, Log On, when the service is registered"
            ))
        })?),
        None => None,
    };
    let access = ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE;
    let manager =
        ServiceManager::local_computer(None::<&str>, access).map_err(|error| wrong(&error))?;
    let there = match manager.open_service(name, access_all()) {
        Ok(service) => Some(service),
        Err(error) if refused::number(&error) == Some(refused::NO_SUCH_SERVICE) => None,
        Err(error) => return Err(wrong(&error)),
    };
    let before = match &there {
        Some(service) => Some(registered(service, name)?),
        None => None,
    };
    let mut wanted = wanted(options, before.as_ref().map(|(image, _)| image), account)?;
    let folder_was_there = folder::made(&wanted.folder)?;
    wanted.state = folder::state_of(&wanted.folder);
    // A folder that the service does not have yet may be anybody's, and what its settings say, too.
    let anew = before
        .as_ref()
        .is_none_or(|(image, _)| image.folder != wanted.folder);
    if anew && folder_was_there && !folder::is_within(&wanted.state, &wanted.folder) {
        let found = format!(
            "its settings, which others may have written, keep the state in {}",
            wanted.state.display()
        );
        return Err(
            Finding::fail(format!("folder {}", wanted.folder.display()), found).fix(
                "move lighterman.toml away, register the service, and put it back when it is yours",
            ),
        );
    }
    folder::made(&wanted.state)?;

    let mut warnings = Vec::new();
    let start = before
        .as_ref()
        .map_or(ServiceStartType::AutoStart, |(_, start)| *start);
    let was_there = there.is_some();
    let service = if let Some(service) = there {
        service
            .change_config(&info(&wanted, start, wanted.account.clone()))
            .map_err(|error| wrong(&error))?;
        service
    } else {
        let own = wanted.account.clone();
        let own = own.unwrap_or_else(|| account::own(name));
        let made = manager.create_service(&info(&wanted, start, Some(own)), access_all());
        made.map_err(|error| wrong(&error))?
    };
    let done = furnish(&service, &wanted, start, &mut warnings)
        .and_then(|()| folder::close(&wanted.folder, &wanted.state, name, anew));
    if let Err(finding) = done {
        // All of it or nothing: a service whose folders are open to everybody must not be started.
        if !was_there {
            let _ = service.delete();
        }
        return Err(finding);
    }
    if folder_was_there && anew && wanted.folder.join(SETTINGS).exists() {
        let found = "it was there before the service, and others may have written to it";
        let finding = Finding::warn(format!("folder {}", wanted.folder.display()), found);
        warnings.push(finding.fix("look whether all in it is yours before you start the service"));
    }
    if !is_guarded(&wanted.program) {
        let found = "it does not stand under Program Files: whoever may write it, may do what the service may";
        let finding = Finding::warn(format!("program {}", wanted.program.display()), found);
        warnings.push(finding.fix(
            "move it to C:\\Program Files\\Lighterman, and from there again: lighterman service install",
        ));
    }
    if let Err(error) = event_log::register() {
        let finding = Finding::warn("the Event Log", format!("does not know the agent: {error}"));
        warnings.push(
            finding
                .fix("install it as an administrator; the log's files have all of it in any case"),
        );
    }
    Ok((wanted, was_there, warnings))
}

fn access_all() -> ServiceAccess {
    ServiceAccess::QUERY_CONFIG
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::CHANGE_CONFIG
        // A service may only be given actions that start it by whom may start it.
        | ServiceAccess::START
        | ServiceAccess::DELETE
}

/// What is registered under that name, if it is ours.
fn registered(service: &Service, name: &str) -> Result<(image::Image, ServiceStartType), Finding> {
    let config = service
        .query_config()
        .map_err(|error| refused::finding("look at", name, &error))?;
    let line = config.executable_path.to_string_lossy();
    match image::read(&line) {
        Some(image) => Ok((image, config.start_type)),
        None => Err(
            Finding::fail(format!("service {name}"), "another program has that name")
                .fix("choose another one: lighterman service install --name NAME"),
        ),
    }
}

fn wanted<'o>(
    options: &'o InstallOptions,
    before: Option<&image::Image>,
    account: Option<String>,
) -> Result<Wanted<'o>, Finding> {
    let name = options.service.name.as_str();
    let program = std::env::current_exe()
        .map_err(|error| Finding::fail("this program's own file", error.to_string()))?;
    let named = options.folder.clone();
    let folder = named
        .or_else(|| before.map(|image| image.folder.clone()))
        .unwrap_or_else(|| folder::usual(name));
    let absolute = std::path::absolute(&folder)
        .ok()
        .filter(|path| path.to_str().is_some());
    let folder = absolute.ok_or_else(|| {
        Finding::fail(
            "--folder",
            format!("{} cannot be a folder here", folder.display()),
        )
    })?;
    Ok(Wanted {
        name,
        program,
        folder,
        state: PathBuf::new(),
        account,
    })
}

/// What the manager keeps. The program and its arguments are quoted where they have spaces.
fn info(wanted: &Wanted<'_>, start: ServiceStartType, account: Option<String>) -> ServiceInfo {
    let folder = wanted.folder.to_string_lossy();
    let arguments = image::arguments(wanted.name, &folder);
    let display = if wanted.name == super::super::NAME {
        "Lighterman agent".to_owned()
    } else {
        format!("Lighterman agent ({})", wanted.name)
    };
    ServiceInfo {
        name: OsString::from(wanted.name),
        display_name: OsString::from(display),
        service_type: ServiceType::OWN_PROCESS,
        start_type: start,
        error_control: ServiceErrorControl::Normal,
        executable_path: wanted.program.clone(),
        launch_arguments: arguments.into_iter().map(OsString::from).collect(),
        dependencies: Vec::new(),
        account_name: account.map(OsString::from),
        account_password: None,
    }
}

/// All that is not part of the registration itself.
fn furnish(
    service: &Service,
    wanted: &Wanted<'_>,
    start: ServiceStartType,
    warnings: &mut Vec<Finding>,
) -> Result<(), Finding> {
    let action = |seconds: &u64| ServiceAction {
        action_type: ServiceActionType::Restart,
        delay: Duration::from_secs(*seconds),
    };
    let actions = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGOTTEN_AFTER),
        reboot_msg: None,
        command: None,
        actions: Some(AGAIN_AFTER_SECONDS.iter().map(action).collect()),
    };
    let mut tried = |what: &str, done: Result<(), Error>| {
        if let Err(error) = done {
            let found = refused::finding(what, wanted.name, &error).found;
            warnings.push(Finding::warn(
                format!("service {}: {what}", wanted.name),
                found,
            ));
        }
    };
    tried("its description", service.set_description(DESCRIPTION));
    // Rights on folders are given to it.
    match service.set_config_service_sid_info(ServiceSidType::Unrestricted) {
        Err(error) if refused::number(&error) != Some(refused::NOT_KNOWN) => {
            return Err(refused::finding("give an identity to", wanted.name, &error));
        }
        done => tried("its identity", done),
    }
    if start == ServiceStartType::AutoStart {
        tried("its delayed start", service.set_delayed_auto_start(true));
    }
    tried(
        "what happens when it ends by itself",
        service.update_failure_actions(actions),
    );
    tried(
        "that this is also for ends with an error",
        service.set_failure_actions_on_non_crash_failures(true),
    );
    tried(
        "its time at a shutdown",
        service.set_preshutdown_timeout(SHUTDOWN_MAX),
    );
    Ok(())
}

/// Whether only administrators may write there, as Windows is set up.
fn is_guarded(program: &Path) -> bool {
    let folders = [
        "ProgramFiles",
        "ProgramW6432",
        "ProgramFiles(x86)",
        "SystemRoot",
    ];
    let lower = |path: &Path| PathBuf::from(path.to_string_lossy().to_lowercase());
    let program = lower(program);
    let mut known = folders.into_iter().filter_map(std::env::var_os);
    known.any(|folder| program.starts_with(lower(Path::new(&folder))))
}

pub(super) fn uninstall(options: &ServiceOptions) -> Exit {
    match uninstalled(options) {
        Ok(None) => {
            let form =
                json!({ "service": options.name, "installed": false, "was_installed": false });
            let line = format!("There is no service {}.", options.name);
            told(options.json, &form, &[line], &[])
        }
        Ok(Some(folder)) => {
            note(&folder, "service.uninstall", &options.name, json!({}));
            let form = json!({
                "service": options.name, "installed": false, "was_installed": true, "folder": folder,
            });
            let lines = [
                format!("Service {} is stopped and taken out.", options.name),
                format!("Settings and state stay in {}.", folder.display()),
                format!(
                    "undo: lighterman service install{} --folder \"{}\"",
                    named(&options.name),
                    folder.display()
                ),
            ];
            told(options.json, &form, &lines, &[])
        }
        Err(finding) => refused::trouble(finding, options.json),
    }
}

fn uninstalled(options: &ServiceOptions) -> Result<Option<PathBuf>, Finding> {
    let name = options.name.as_str();
    let access = ServiceAccess::QUERY_CONFIG
        | ServiceAccess::QUERY_STATUS
        | ServiceAccess::STOP
        | ServiceAccess::DELETE;
    let Some(service) = control::opened("take out", name, access)? else {
        return Ok(None);
    };
    let (image, _) = registered(&service, name)?;
    let wrong = |error: &Error| refused::finding("take out", name, error);
    let status = service.query_status().map_err(|error| wrong(&error))?;
    if status.current_state != ServiceState::Stopped {
        control::stopped(&service, name)?;
    }
    service.delete().map_err(|error| wrong(&error))?;
    // Services of other names write under the same one: it goes with the usual one. What stays does no harm.
    if name == super::super::NAME {
        let _ = event_log::unregister();
    }
    Ok(Some(image.folder))
}
