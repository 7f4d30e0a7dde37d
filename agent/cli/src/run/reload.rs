//! Mappings and settings that change while the agent runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use contract::{Finding, Level};
use engine::SourceSetup;
use engine::observe::Meters;
use notify::{RecursiveMode, Watcher};
use state::Store;
use tokio::sync::{mpsc, watch};

use super::prepare::{Prepared, Reloads, changed, prepare, warn};
use super::shown::Shown;
use crate::audit::Notes;
use crate::config::{self, Config, Flat, SourceConfig};
use crate::service;

/// An editor writes a file in several steps.
const SETTLE: Duration = Duration::from_millis(300);

/// These stay as they are as long as the process.
const FIXED: [&str; 3] = ["tenant", "state_folder", "log."];

/// Reloads mappings and settings on SIGHUP and when one of their files changes. A bad file is refused, loudly, and
/// what is in force stays. Ends, and the loops with it, with settings that are to be in force from now on.
pub(super) async fn reload(
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
        failpoint::crash!("task.reload");
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
#[expect(clippy::unused_async, reason = "elsewhere it waits")]
async fn hangups(_wake: mpsc::Sender<()>) {}
