//! `lighterman run`: the agent itself, until it is told to stop.

mod prepare;
mod reload;
mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::clock::SystemClock;
use state::Store;
use tokio::sync::watch;

use crate::audit::{self, Notes};
use crate::beside::Beside;
use crate::config::Config;
use crate::logs::Logs;
use crate::{Exit, check, local, map, reconcile, service};

use prepare::{Prepared, prepare, warn};
use reload::reload;
use shown::{Shown, end};

/// Requests that are out get this long to end.
const DRAIN_MAX: Duration = Duration::from_secs(8);

/// Why an agent's loops end.
enum Ended {
    /// It was told to stop, or stopped by itself.
    Over(Exit),
    /// Other settings are in force.
    Changed(Box<Prepared>),
}

pub(crate) async fn run(config: Config, file: PathBuf, logs: &mut Logs) -> Exit {
    // From now on it ends nobody; whoever asks for settings to be read again is heard later.
    #[cfg(unix)]
    let _hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    warn(&config.warnings);
    let notes = audit::Notes::of(&config.state_folder, &file);
    let folder = config.state_folder.clone();
    service::notify::opening();
    let store = match tokio::task::spawn_blocking(move || Store::open(&folder)).await {
        Ok(Ok(store)) => Arc::new(store),
        Ok(Err(error)) => {
            tracing::error!(code = "state.not_opened",
                error = %error, hint = error.hint(), "cannot open the state folder");
            return Exit::State;
        }
        Err(error) => {
            tracing::error!(code = "state.not_opened",
                error = %error, "cannot open the state folder");
            return Exit::State;
        }
    };
    logs.watch(&config.state_folder);
    let (stop_sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            () = told_to_stop() => {}
            () = service::asked_to_stop() => {}
        }
        tracing::info!(
            code = "agent.stopping",
            "stopping: requests that are out may end"
        );
        service::notify::stopping();
        let _ = stop_sender.send(true);
        // The sender lives as long as the process.
        std::future::pending::<()>().await;
    });
    let beside = Beside::new();
    let shown = Shown::of(&config);
    // Before the sources, which may have to be waited for: it says so.
    let mut serving = shown.serve(&beside);
    let mut exporting = shown.export(&beside);
    let mut watching = shown.watch(&beside, &store);
    let mut telling = shown.tell(&beside, &store);
    let Some(mut prepared) = prepare(config, shown, &store).await else {
        return Exit::Settings;
    };
    tracing::info!(
        code = "agent.started",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "agent started"
    );
    notes.started().await;
    service::running();
    loop {
        note(&notes, &prepared).await;
        match once(prepared, &store, &file, &notes, &beside, stop.clone()).await {
            Ended::Over(exit) => {
                notes.ended(exit).await;
                end([&mut serving, &mut exporting, &mut watching, &mut telling]).await;
                return exit;
            }
            Ended::Changed(changed) => {
                prepared = *changed;
                end([&mut serving, &mut exporting, &mut watching, &mut telling]).await;
                serving = prepared.shown.serve(&beside);
                exporting = prepared.shown.export(&beside);
                watching = prepared.shown.watch(&beside, &store);
                telling = prepared.shown.tell(&beside, &store);
            }
        }
    }
}

/// Notes what is in force from now on, as far as it was not.
async fn note(notes: &Notes, prepared: &Prepared) {
    notes.settings(None, &prepared.said).await;
    for (source, setup) in &prepared.reloads {
        let mapping = Arc::clone(&setup.borrow().mapping);
        notes
            .mapping(&source.name, &mapping, &source.mappings)
            .await;
    }
}

/// The agent with these settings, until it is told to stop, they change or a part of it ends by a bug.
async fn once(
    prepared: Prepared,
    store: &Arc<Store>,
    file: &Path,
    notes: &Notes,
    beside: &Beside,
    stop: watch::Receiver<bool>,
) -> Ended {
    let Prepared {
        plan,
        reloads,
        said,
        shown,
        reconciling,
        shadows,
        checking,
    } = prepared;
    let checking = check::hourly(file.to_owned(), checking, Arc::clone(store));
    let checking = beside.spawn("check", checking);
    // Loops end when the agent is told to stop, and when its settings change.
    let (ending, end) = watch::channel(false);
    let reloading = reload(
        reloads,
        file.to_owned(),
        said,
        Arc::clone(store),
        notes.clone(),
        ending.clone(),
        Arc::clone(&shown.meters),
    );
    let reloading = beside.spawn("reload", reloading);
    let (mut told, parts) = (stop.clone(), beside.clone());
    let stopping = tokio::spawn(async move {
        tokio::select! {
            _ = told.wait_for(|stop| *stop) => {}
            () = parts.broken() => {}
        }
        let _ = ending.send(true);
        // The sender lives as long as the loops.
        std::future::pending::<()>().await;
    });
    let clock = Arc::new(SystemClock);
    let setups = plan.sources.iter();
    let setups = setups.map(|source| (source.name.clone(), source.setup.clone()));
    shown.seen.runs(setups);
    // For the charts of the status page, where somebody may look at it.
    let samples = local::keep_samples(Arc::clone(&shown.seen), Arc::clone(store));
    let samples = shown
        .local
        .is_some()
        .then(|| beside.spawn("samples", samples));
    let reconciling = reconcile::serve(reconciling, Arc::clone(store));
    let reconciling = beside.spawn("reconcile", reconciling);
    let shadowing = beside.spawn("shadow", map::shadows(shadows, Arc::clone(store)));
    let ended = engine::run(plan, Arc::clone(store), clock, end.clone(), DRAIN_MAX).await;
    stopping.abort();
    reconciling.abort();
    shadowing.abort();
    checking.abort();
    if let Some(samples) = samples {
        samples.abort();
    }
    if let Err(error) = ended {
        reloading.abort();
        tracing::error!(code = "agent.failed", error = %error, "agent stopped by itself");
        return Ended::Over(Exit::State);
    }
    if beside.is_broken() {
        // Which one was said.
        reloading.abort();
        return Ended::Over(Exit::Trouble);
    }
    // Told to end by nobody else: it has, or is about to have, the settings that are to be in force.
    if *end.borrow()
        && !*stop.borrow()
        && let Ok(Some(Some(changed))) = reloading.await
    {
        tracing::info!(
            code = "settings.in_force",
            "the changed settings are in force"
        );
        return Ended::Changed(Box::new(changed));
    }
    tracing::info!(code = "agent.stopped", "agent stopped");
    Ended::Over(Exit::Ok)
}

#[cfg(unix)]
async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// Ctrl-C and Ctrl-Break, a console that is closed, and a machine that is shut down: Windows waits a few seconds for
/// the last two.
#[cfg(windows)]
async fn told_to_stop() {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    let (Ok(mut c), Ok(mut pause), Ok(mut close), Ok(mut shutdown)) =
        (ctrl_c(), ctrl_break(), ctrl_close(), ctrl_shutdown())
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = c.recv() => {}
        _ = pause.recv() => {}
        _ = close.recv() => {}
        _ = shutdown.recv() => {}
    }
}

#[cfg(not(any(unix, windows)))]
async fn told_to_stop() {
    let _ = tokio::signal::ctrl_c().await;
}
