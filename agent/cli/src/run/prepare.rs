//! From settings to what runs: whole, or not at all.

use std::sync::Arc;

use contract::Finding;
use engine::{DestinationPlan, Plan, SourcePlan, SourceSetup};
use mappings::MappingSet;
use state::Store;
use tokio::sync::watch;

use super::shown::Shown;
use crate::check::Checking;
use crate::config::{Config, Flat, SourceConfig};
use crate::map::Shadow;
use crate::{disk, fit, reconcile};

/// Settings that were found good, and what is made of them.
pub(super) struct Prepared {
    pub(super) plan: Plan,
    pub(super) reloads: Reloads,
    pub(super) said: Flat,
    pub(super) shown: Shown,
    pub(super) reconciling: reconcile::Serving,
    pub(super) shadows: Vec<Shadow>,
    pub(super) checking: Checking,
}

pub(super) type Reloads = Vec<(SourceConfig, watch::Sender<SourceSetup>)>;

/// Builds what the settings name. Nothing where that cannot be: why is said.
pub(super) async fn prepare(config: Config, shown: Shown, store: &Arc<Store>) -> Option<Prepared> {
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
        chance: engine::Chance::default(),
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
pub(super) async fn changed(
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
pub(super) fn warn<'f>(findings: impl IntoIterator<Item = &'f Finding>) {
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
