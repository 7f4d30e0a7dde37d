//! `lighterman service run`: what the service control manager starts. The agent is the same as that of
//! `lighterman run`; its start, stop and failure are told to the manager.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use contract::Finding;
use tokio::sync::watch;
use windows_service::service::ServiceControl;
use windows_service::service_control_handler::{self, ServiceControlHandlerResult};
use windows_service::{define_windows_service, service_dispatcher};

use super::super::RunOptions;
use super::standing::{SIGN_EVERY, Standing};
use super::{SETTINGS, folder, refused};
use crate::{Command, Common, Exit};

/// A stop that takes longer is cut: what is stored is whole at any moment, and at a shutdown the machine would not
/// wait any longer either.
const STOP_MAX: Duration = Duration::from_secs(24);

/// This process as a service. There is one for a process: the manager calls functions, without anything of ours.
struct Process {
    options: RunOptions,
    stop: watch::Sender<bool>,
    standing: OnceLock<Standing>,
    ended: OnceLock<Exit>,
}

static PROCESS: OnceLock<Process> = OnceLock::new();

define_windows_service!(entry, serve);

/// Is the service, until it ends. On the process' main thread.
pub(crate) fn run(options: RunOptions) -> Exit {
    let name = options.name.clone();
    let _ = PROCESS.set(Process {
        options,
        stop: watch::Sender::new(false),
        standing: OnceLock::new(),
        ended: OnceLock::new(),
    });
    match service_dispatcher::start(&name, entry) {
        Ok(()) => {
            let ended = PROCESS
                .get()
                .and_then(|process| process.ended.get().copied());
            ended.unwrap_or(Exit::Trouble)
        }
        Err(error) if refused::number(&error) == Some(refused::NOT_STARTED_BY_MANAGER) => {
            let found = "only Windows' service control manager starts it so";
            let finding = Finding::fail("service run", found);
            refused::trouble(
                finding.fix("lighterman service start; or, at a terminal: lighterman run"),
                false,
            );
            Exit::Settings
        }
        Err(error) => refused::trouble(refused::finding("be", &name, &error), false),
    }
}

/// Called by the manager, on a thread of its own.
fn serve(_arguments: Vec<OsString>) {
    let Some(process) = PROCESS.get() else { return };
    let Ok(handle) = service_control_handler::register(&process.options.name, told) else {
        return;
    };
    let standing = process.standing.get_or_init(|| Standing::starting(handle));
    let (done, is_done) = mpsc::sync_channel::<()>(1);
    let signs = std::thread::Builder::new().name("service".to_owned());
    let signs = signs.spawn(move || give_signs(&is_done));
    let run = Command::Run {
        common: Common {
            config: process.options.folder.join(SETTINGS),
            json: false,
        },
        dry_run: false,
    };
    let exit = crate::in_runtime(run);
    drop(done);
    if let Ok(signs) = signs {
        let _ = signs.join();
    }
    let _ = process.ended.set(exit);
    standing.ended(exit);
}

/// Says again and again that a start or stop goes on, and ends a stop that takes too long.
fn give_signs(is_done: &mpsc::Receiver<()>) {
    let Some(standing) = PROCESS.get().and_then(|process| process.standing.get()) else {
        return;
    };
    let signs_max = u32::try_from(STOP_MAX.as_secs() / SIGN_EVERY.as_secs()).unwrap_or(u32::MAX);
    while is_done.recv_timeout(SIGN_EVERY) == Err(RecvTimeoutError::Timeout) {
        if standing.sign() > signs_max {
            tracing::error!(
                code = "service.stop_cut",
                hint = "nothing is lost; say which destination was slow if it happens again",
                "the stop took too long and was cut"
            );
            standing.ended(Exit::Trouble);
            std::process::exit(1);
        }
    }
}

/// What the manager says. A function and no closure: the crate gives what a closure holds free at the first stop,
/// and the manager may ask once more.
fn told(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Stop | ServiceControl::Shutdown | ServiceControl::Preshutdown => {
            if let Some(process) = PROCESS.get() {
                if let Some(standing) = process.standing.get() {
                    standing.stops();
                }
                process.stop.send_replace(true);
            }
            ServiceControlHandlerResult::NoError
        }
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

/// The agent runs.
pub(crate) fn running() {
    if let Some(standing) = PROCESS.get().and_then(|process| process.standing.get()) {
        standing.runs();
    }
}

/// Ends when the manager says that the service is to stop.
pub(crate) async fn asked_to_stop() {
    let Some(process) = PROCESS.get() else {
        return std::future::pending().await;
    };
    let mut stop = process.stop.subscribe();
    // Its sender lives as long as the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Where lines of the log are kept although the settings could not be read: nobody looks at a service's console.
pub(crate) fn lines_folder() -> Option<PathBuf> {
    let folder = &PROCESS.get()?.options.folder;
    folder.is_dir().then(|| folder::state_of(folder))
}
