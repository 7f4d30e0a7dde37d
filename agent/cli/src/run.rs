//! `lighterman run`: the agent itself, until it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Finding, Level};
use engine::clock::SystemClock;
use engine::observe::Meters;
use engine::{DestinationPlan, Plan, Reserve, SourcePlan, SourceSetup};
use mappings::MappingSet;
use notify::{RecursiveMode, Watcher};
use state::Store;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::alerts::{AlertSettings, Watch};
use crate::audit::{self, Notes};
use crate::check::{self, Checking};
use crate::config::{self, Config, Flat, SourceConfig};
use crate::local::{LocalSettings, Seen, Watched};
use crate::logs::Logs;
use crate::map::{self, Shadow};
use crate::otlp::OtlpSettings;
use crate::status::Place;
use crate::{Exit, disk, fit, local, otlp, reconcile, service};

/// Requests that are out get this long to end.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// An editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// Settings that were found good, and what is made of them.
struct Prepared {
    plan: Plan,
    reloads: Reloads,
    said: Flat,
    shown: Shown,
    reconciling: reconcile::Serving,
    shadows: Vec<Shadow>,
    checking: Checking,
}

/// What the local server shows, and to whom; and what alerts are told about.
struct Shown {
    seen: Arc<Seen>,
    meters: Arc<Meters>,
    local: Option<LocalSettings>,
    otlp: Option<OtlpSettings>,
    alerts: AlertSettings,
    agent: String,
    reserve: Reserve,
    place: Place,
}

impl Shown {
    fn of(config: &Config) -> Self {
        let meters = Arc::new(Meters::default());
        let local = config.local.clone();
        let oldest = local.as_ref().map(|local| local.oldest_delivery);
        let destinations = config.destinations.iter();
        let types = config.destinations.iter();
        let seen = Seen::new(Watched {
            folder: config.state_folder.clone(),
            sources: config.sources.iter().map(|one| one.name.clone()).collect(),
            destinations: destinations
                .map(|one| (one.name.clone(), one.settings.clone()))
                .collect(),
            event_types: types
                .map(|one| (one.name.clone(), one.event_types.clone()))
                .collect(),
            tenant: config.tenant.clone(),
            meters: Arc::clone(&meters),
            oldest_delivery: oldest.unwrap_or(Duration::MAX),
        });
        Self {
            seen,
            meters,
            local,
            otlp: config.otlp.clone(),
            alerts: config.alerts.clone(),
            agent: config.alerts.named(&config.tenant),
            reserve: config.reserve,
            place: Place::of(config),
        }
    }

    /// Begins to show it, where somebody may look.
    fn serve(&self) -> Option<JoinHandle<()>> {
        let serving = local::serve(self.local.clone()?, Arc::clone(&self.seen));
        Some(tokio::spawn(serving))
    }

    /// Begins to send it, where somebody wants it sent.
    fn export(&self) -> Option<JoinHandle<()>> {
        let exporting = otlp::export(self.otlp.clone()?, Arc::clone(&self.seen));
        Some(tokio::spawn(exporting))
    }

    /// Begins to watch it, where somebody wants to be told.
    fn watch(&self, store: &Arc<Store>) -> Option<JoinHandle<()>> {
        let watch = Watch {
            settings: self.alerts.clone(),
            agent: self.agent.clone(),
            folder: self.seen.watched.folder.clone(),
            reserve: self.reserve,
        };
        let watching = watch.run(Arc::clone(&self.seen), Arc::clone(store));
        self.alerts.is_asked().then(|| tokio::spawn(watching))
    }

    /// Begins to tell the service manager how it stands, where that wants to know.
    fn tell(&self, store: &Arc<Store>) -> Option<JoinHandle<()>> {
        service::notify::watch(&self.seen, self.place.clone(), store)
    }
}

/// Ends what runs beside the loops.
async fn end(beside: [&mut Option<JoinHandle<()>>; 4]) {
    for one in beside {
        if let Some(one) = one.take() {
            one.abort();
            let _ = one.await;
        }
    }
}

/// Why an agent's loops end.
enum Ended {
    /// It was told to stop, or stopped by itself.
    Over(Exit),
    /// Other settings are in force.
    Changed(Box<Prepared>),
}

pub(crate) async fn run(config: Config, file: PathBuf, logs: &mut Logs) -> Exit {
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
    let shown = Shown::of(&config);
    // Before the sources, which may have to be waited for: it says so.
    let mut serving = shown.serve();
    let mut exporting = shown.export();
    let mut watching = shown.watch(&store);
    let mut telling = shown.tell(&store);
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
        match once(prepared, &store, &file, &notes, stop.clone()).await {
            Ended::Over(exit) => {
                notes.ended(exit).await;
                end([&mut serving, &mut exporting, &mut watching, &mut telling]).await;
                return exit;
            }
            Ended::Changed(changed) => {
                prepared = *changed;
                end([&mut serving, &mut exporting, &mut watching, &mut telling]).await;
                serving = prepared.shown.serve();
                exporting = prepared.shown.export();
                watching = prepared.shown.watch(&store);
                telling = prepared.shown.tell(&store);
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

/// The agent with these settings, until it is told to stop or they change.
async fn once(
    prepared: Prepared,
    store: &Arc<Store>,
    file: &Path,
    notes: &Notes,
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
    let checking = tokio::spawn(check::hourly(file.to_owned(), checking, Arc::clone(store)));
    // Loops end when the agent is told to stop, and when its settings change.
    let (ending, end) = watch::channel(false);
    let reloading = tokio::spawn(reload(
        reloads,
        file.to_owned(),
        said,
        Arc::clone(store),
        notes.clone(),
        ending.clone(),
        Arc::clone(&shown.meters),
    ));
    let mut told = stop.clone();
    let stopping = tokio::spawn(async move {
        let _ = told.wait_for(|stop| *stop).await;
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
    let samples = shown.local.is_some().then(|| tokio::spawn(samples));
    let reconciling = tokio::spawn(reconcile::serve(reconciling, Arc::clone(store)));
    let shadowing = tokio::spawn(map::shadows(shadows, Arc::clone(store)));
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
    // Told to end by nobody else: it has, or is about to have, the settings that are to be in force.
    if *end.borrow()
        && !*stop.borrow()
        && let Ok(Some(changed)) = reloading.await
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

type Reloads = Vec<(SourceConfig, watch::Sender<SourceSetup>)>;

/// Builds what the settings name. Nothing where that cannot be: why is said.
async fn prepare(config: Config, shown: Shown, store: &Arc<Store>) -> Option<Prepared> {
    let meters = Arc::clone(&shown.meters);
    let said = config.said;
    let mut destinations = Vec::new();
    let mut reconciling = reconcile::Serving {
        folder: config.state_folder.clone(),
        tenant: config.tenant.clone(),
        destinations: Vec::new(),
        sources: Vec::new(),
    };
    for destination in config.destinations {
        match (destination.build)(&destination.name) {
            Ok(built) => {
                reconciling.destinations.push(reconcile::Served {
                    name: destination.name.clone(),
                    destination: Arc::clone(&built),
                    event_types: destination.event_types.clone(),
                    settings: destination.settings.clone(),
                    schedule: destination.reconcile,
                });
                destinations.push(DestinationPlan {
                    name: destination.name,
                    destination: built,
                    event_types: destination.event_types,
                    retry: destination.retry,
                    settings: destination.settings,
                });
            }
            Err(found) => {
                tracing::error!(
                    code = "settings.refused",
                    destination = destination.name,
                    "{found}"
                );
                return None;
            }
        }
    }
    let mut sources = Vec::new();
    let mut reloads = Vec::new();
    let mut shadows = Vec::new();
    let starting = config.sources.into_iter().map(|source| {
        let store = Arc::clone(store);
        tokio::spawn(async move {
            let ready = ready(&source, &store).await;
            (source, ready)
        })
    });
    // All at once: each may have to be waited for.
    for started in starting.collect::<Vec<_>>() {
        let (source, ready) = match started.await {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(code = "source.not_looked_at",
                    error = %error, "cannot look at a source");
                return None;
            }
        };
        match ready {
            Ok((setup, findings)) => {
                let said = |finding: &Finding| config.warnings.contains(finding);
                warn(findings.iter().filter(|finding| !said(finding)));
                let (sender, setup) = watch::channel(setup);
                reconciling.sources.push(reconcile::ServedSource {
                    name: source.name.clone(),
                    kind: source.kind,
                    setup: setup.clone(),
                    meter: meters.source(&source.name),
                    schedule: source.reconcile.clone(),
                });
                let (tap, shadow) = Shadow::of(&source, &setup).unzip();
                shadows.extend(shadow);
                sources.push(SourcePlan {
                    name: source.name.clone(),
                    setup,
                    tap,
                });
                reloads.push((source, sender));
            }
            Err(findings) => {
                for finding in findings {
                    tracing::error!(
                        code = "settings.refused",
                        source = source.name,
                        hint = finding.fix,
                        "{finding}"
                    );
                }
                return None;
            }
        }
    }
    let checking = Checking {
        settings: config.check,
        destinations: destinations
            .iter()
            .map(|one| (one.name.clone(), Arc::clone(&one.destination)))
            .collect(),
    };
    let plan = Plan {
        tenant: config.tenant,
        sources,
        destinations,
        retention: config.retention,
        disk: Some(disk::watched(&config.state_folder, config.reserve)),
        meters,
    };
    Some(Prepared {
        plan,
        reloads,
        said,
        shown,
        reconciling,
        shadows,
        checking,
    })
}

/// A source as its settings and files are now, and what fits but should be known.
async fn ready(
    source: &SourceConfig,
    store: &Store,
) -> Result<(SourceSetup, Vec<Finding>), Vec<Finding>> {
    let files = source.files()?;
    let (setup, _) = source.setup_of(&files)?;
    let rules = setup.mapping.rules().map(|rule| (rule.id, rule.digest));
    let in_force = store.are_in_force(&source.name, rules.collect()).await;
    // A store that cannot say will stop the agent by itself.
    fit::fitted(setup, files, in_force.unwrap_or(false)).await
}

/// As [`ready`], and all that is to be known; nothing where its mappings are those in force.
async fn changed(
    source: &SourceConfig,
    in_force: &MappingSet,
) -> Result<Option<(SourceSetup, Vec<Finding>)>, Vec<Finding>> {
    let files = source.files()?;
    let (setup, mut warnings) = source.setup_of(&files)?;
    if *setup.mapping == *in_force {
        return Ok(None);
    }
    let (setup, more) = fit::fitted(setup, files, false).await?;
    let new = more
        .into_iter()
        .filter(|finding| !warnings.contains(finding));
    warnings.extend(new.collect::<Vec<_>>());
    Ok(Some((setup, warnings)))
}

/// Says what works but should be known.
fn warn<'f>(findings: impl IntoIterator<Item = &'f Finding>) {
    for finding in findings {
        let place = finding.place.as_ref().map(ToString::to_string);
        tracing::warn!(
            code = "settings.warning",
            place,
            what = finding.what,
            hint = finding.fix,
            "{}",
            finding.found
        );
    }
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

/// These stay as they are as long as the process.
const FIXED: [&str; 3] = ["tenant", "state_folder", "log."];

/// Reloads mappings and settings on SIGHUP and when one of their files changes. A bad file is refused, loudly, and
/// what is in force stays. Ends, and the loops with it, with settings that are to be in force from now on.
async fn reload(
    sources: Reloads,
    file: PathBuf,
    said: Flat,
    store: Arc<Store>,
    notes: Notes,
    ending: watch::Sender<bool>,
    meters: Arc<Meters>,
) -> Option<Prepared> {
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let _watcher = watch_files(&sources, &file, wake.clone());
    // What changed before they were watched.
    let _ = wake.try_send(());
    let hangups = tokio::spawn(hangups(wake));
    let mut refused = None;
    let mut again = false;
    while woken.recv().await.is_some() {
        tokio::time::sleep(SETTLE).await;
        while woken.try_recv().is_ok() {}
        // The first turn is a part of the start.
        let _reloading = again.then(service::notify::Reloading::begin);
        again = true;
        if let Some(config) = changed_settings(&file, &said, &mut refused, &meters) {
            // Whole, before anything of what runs now ends.
            let shown = Shown::of(&config);
            if let Some(prepared) = prepare(config, shown, &store).await {
                for (path, was, is) in said.changes(&prepared.said) {
                    tracing::info!(
                        code = "settings.changed",
                        setting = path,
                        was,
                        is,
                        "a setting changed"
                    );
                }
                notes.settings(Some(&said), &prepared.said).await;
                hangups.abort();
                let _ = ending.send(true);
                return Some(prepared);
            }
            meters.set_settings_refused(true);
            tracing::error!(
                code = "settings.refused",
                "the changed settings are refused, the old ones stay in force"
            );
        }
        for (source, sender) in &sources {
            let in_force = Arc::clone(&sender.borrow().mapping);
            let found = changed(source, &in_force).await;
            meters.source(&source.name).set_refused(found.is_err());
            match found {
                Ok(None) => {}
                Ok(Some((setup, warnings))) => {
                    warn(&warnings);
                    let mapping = Arc::clone(&setup.mapping);
                    let _ = sender.send(setup);
                    notes
                        .mapping(&source.name, &mapping, &source.mappings)
                        .await;
                }
                Err(findings) => {
                    for finding in findings {
                        tracing::error!(
                            code = "mapping.refused",
                            source = source.name,
                            hint = finding.fix,
                            "a changed mapping is refused, the old one stays in force: {finding}"
                        );
                    }
                }
            }
        }
    }
    hangups.abort();
    None
}

/// The settings as they are now, where they say something else than those in force.
fn changed_settings(
    file: &Path,
    in_force: &Flat,
    refused: &mut Option<Vec<Finding>>,
    meters: &Meters,
) -> Option<Config> {
    let config = match config::load(file) {
        Ok(config) => config,
        Err(findings) => {
            // A mapping that is wrong is said by whoever reads mappings again, but for those of changed settings.
            let bad = config::load_settings(file)
                .map_or(true, |new| !in_force.changes(&new.said).is_empty());
            meters.set_settings_refused(bad);
            if refused.as_ref() != Some(&findings) && bad {
                let failed = findings.iter().filter(|one| one.level == Level::Fail);
                for finding in failed {
                    tracing::error!(
                        code = "settings.refused",
                        hint = finding.fix,
                        "the changed settings are refused, the old ones stay in force: {finding}"
                    );
                }
                *refused = Some(findings);
            }
            return None;
        }
    };
    *refused = None;
    meters.set_settings_refused(false);
    let changes = in_force.changes(&config.said);
    if changes.is_empty() {
        return None;
    }
    let fixed = |path: &str| FIXED.iter().any(|fixed| path.starts_with(fixed));
    if changes.iter().any(|(path, _, _)| fixed(path)) {
        meters.set_settings_refused(true);
        tracing::error!(
            code = "settings.refused",
            hint = "stop the agent and start it again",
            "the changed settings are refused, the old ones stay in force: \
             tenant, state_folder and log stay as long as the agent runs"
        );
        return None;
    }
    warn(&config.warnings);
    Some(config)
}

fn watch_files(
    sources: &[(SourceConfig, watch::Sender<SourceSetup>)],
    settings: &Path,
    wake: mpsc::Sender<()>,
) -> Option<notify::RecommendedWatcher> {
    let files: Vec<PathBuf> = sources
        .iter()
        .flat_map(|(s, _)| s.mappings.clone())
        .chain([settings.to_owned()])
        .collect();
    let names: Vec<_> = files
        .iter()
        .filter_map(|file| file.file_name().map(std::ffi::OsStr::to_owned))
        .collect();
    let handler = move |event: notify::Result<notify::Event>| {
        let ours = |path: &PathBuf| {
            path.file_name()
                .is_some_and(|n| names.iter().any(|k| k == n))
        };
        if event.is_ok_and(|event| !event.kind.is_access() && event.paths.iter().any(ours)) {
            let _ = wake.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(handler).ok()?;
    for file in &files {
        // The folder, not the file: editors replace files.
        let folder = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
            tracing::warn!(code = "mapping.not_watched",
                error = %error, "mapping files are not watched; send SIGHUP to reload");
        }
    }
    Some(watcher)
}

#[cfg(unix)]
async fn hangups(wake: mpsc::Sender<()>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return;
    };
    while hangup.recv().await.is_some() {
        let _ = wake.try_send(());
    }
}

#[cfg(not(unix))]
async fn hangups(_wake: mpsc::Sender<()>) {}
