//! `lighterman run`: the agent itself, until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use contract::Finding;
use engine::clock::SystemClock;
use engine::{DestinationPlan, Plan, SourcePlan, SourceSetup};
use mappings::MappingSet;
use notify::{RecursiveMode, Watcher};
use state::Store;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, SourceConfig};
use crate::{Exit, fit};

/// Requests that are out get this long to end.
const DRAIN_MAX: Duration = Duration::from_secs(8);
/// An editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(300);

pub(crate) async fn run(config: Config) -> Exit {
    warn(&config.warnings);
    let folder = config.state_folder.clone();
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
    let mut destinations = Vec::new();
    for destination in config.destinations {
        match (destination.build)(&destination.name) {
            Ok(built) => destinations.push(DestinationPlan {
                name: destination.name,
                destination: built,
                event_types: destination.event_types,
                retry: destination.retry,
                settings: destination.settings,
            }),
            Err(found) => {
                tracing::error!(
                    code = "settings.refused",
                    destination = destination.name,
                    "{found}"
                );
                return Exit::Settings;
            }
        }
    }
    let mut sources = Vec::new();
    let mut reloads = Vec::new();
    let starting = config.sources.into_iter().map(|source| {
        let store = Arc::clone(&store);
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
                return Exit::Settings;
            }
        };
        match ready {
            Ok((setup, findings)) => {
                let said = |finding: &Finding| config.warnings.contains(finding);
                warn(findings.iter().filter(|finding| !said(finding)));
                let (sender, setup) = watch::channel(setup);
                sources.push(SourcePlan {
                    name: source.name.clone(),
                    setup,
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
                return Exit::Settings;
            }
        }
    }
    let plan = Plan {
        tenant: config.tenant,
        sources,
        destinations,
        retention: config.retention,
    };
    let (stop_sender, stop) = watch::channel(false);
    let reloading = tokio::spawn(reload(reloads));
    tokio::spawn(async move {
        told_to_stop().await;
        tracing::info!(
            code = "agent.stopping",
            "stopping: requests that are out may end"
        );
        let _ = stop_sender.send(true);
        // The sender lives as long as the process.
        std::future::pending::<()>().await;
    });
    tracing::info!(
        code = "agent.started",
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        "agent started"
    );
    let ended = engine::run(plan, store, Arc::new(SystemClock), stop, DRAIN_MAX).await;
    reloading.abort();
    match ended {
        Ok(()) => {
            tracing::info!(code = "agent.stopped", "agent stopped");
            Exit::Ok
        }
        Err(error) => {
            tracing::error!(code = "agent.failed", error = %error, "agent stopped by itself");
            Exit::State
        }
    }
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

#[cfg(not(unix))]
async fn told_to_stop() {
    let _ = tokio::signal::ctrl_c().await;
}

/// Reloads mappings on SIGHUP and when a mapping file changes. A bad file is refused, loudly, and
/// the mappings in force stay.
async fn reload(sources: Vec<(SourceConfig, watch::Sender<SourceSetup>)>) {
    let (wake, mut woken) = mpsc::channel::<()>(1);
    let _watcher = watch_files(&sources, wake.clone());
    let hangups = tokio::spawn(hangups(wake));
    while woken.recv().await.is_some() {
        tokio::time::sleep(SETTLE).await;
        while woken.try_recv().is_ok() {}
        for (source, sender) in &sources {
            let in_force = Arc::clone(&sender.borrow().mapping);
            match changed(source, &in_force).await {
                Ok(None) => {}
                Ok(Some((setup, warnings))) => {
                    warn(&warnings);
                    let _ = sender.send(setup);
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
}

fn watch_files(
    sources: &[(SourceConfig, watch::Sender<SourceSetup>)],
    wake: mpsc::Sender<()>,
) -> Option<notify::RecommendedWatcher> {
    let files: Vec<PathBuf> = sources
        .iter()
        .flat_map(|(s, _)| s.mappings.clone())
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
