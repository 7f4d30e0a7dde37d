//! What runs beside the loops, so that somebody sees or hears how they stand.

use std::sync::Arc;
use std::time::Duration;

use engine::Reserve;
use engine::observe::Meters;
use state::Store;
use tokio::task::JoinHandle;

use crate::alerts::{AlertSettings, Watch};
use crate::beside::Beside;
use crate::config::Config;
use crate::local::{LocalSettings, Seen, Watched};
use crate::otlp::OtlpSettings;
use crate::status::Place;
use crate::{local, otlp, service};

/// What the local server shows, and to whom; and what alerts are told about.
pub(super) struct Shown {
    pub(super) seen: Arc<Seen>,
    pub(super) meters: Arc<Meters>,
    pub(super) local: Option<LocalSettings>,
    otlp: Option<OtlpSettings>,
    alerts: AlertSettings,
    agent: String,
    reserve: Reserve,
    place: Place,
}

impl Shown {
    pub(super) fn of(config: &Config) -> Self {
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
    pub(super) fn serve(&self, beside: &Beside) -> Part {
        let serving = local::serve(self.local.clone()?, Arc::clone(&self.seen));
        Some(beside.spawn("local server", serving))
    }

    /// Begins to send it, where somebody wants it sent.
    pub(super) fn export(&self, beside: &Beside) -> Part {
        let exporting = otlp::export(self.otlp.clone()?, Arc::clone(&self.seen));
        Some(beside.spawn("otlp", exporting))
    }

    /// Begins to watch it, where somebody wants to be told.
    pub(super) fn watch(&self, beside: &Beside, store: &Arc<Store>) -> Part {
        let watch = Watch {
            settings: self.alerts.clone(),
            agent: self.agent.clone(),
            folder: self.seen.watched.folder.clone(),
            reserve: self.reserve,
        };
        let watching = watch.run(Arc::clone(&self.seen), Arc::clone(store));
        let asked = self.alerts.is_asked();
        asked.then(|| beside.spawn("alerts", watching))
    }

    /// Begins to tell the service manager how it stands, where that wants to know.
    pub(super) fn tell(&self, beside: &Beside, store: &Arc<Store>) -> Part {
        let telling = service::notify::watch(&self.seen, self.place.clone(), store)?;
        Some(beside.spawn("service manager", telling))
    }
}

/// What runs beside the loops, where somebody wants it.
type Part = Option<JoinHandle<Option<()>>>;

/// Ends what runs beside the loops.
pub(super) async fn end(beside: [&mut Part; 4]) {
    for one in beside {
        if let Some(one) = one.take() {
            one.abort();
            let _ = one.await;
        }
    }
}
