//! Looks beside the stream, and the server that a checkpoint came from.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "tests"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use contract::{
    Behind, ChangeBatch, ChangeStream, Clock, Finding, Heartbeat, KeptFor, LogKept, LogPos, Look,
    Position, Preparation, Resume, SnapshotReader, Source, SourceError,
};
use engine::{Plan, SourcePlan, SourceSetup};
use jiff::Timestamp;
use mappings::MappingSet;
use state::{LookStatus, Retention, SourceStatus, StateReader, Store};
use tokio::sync::watch;
use tokio::time::Instant;

/// Time as the paused runtime has it.
struct Paused(Instant);

#[async_trait]
impl Clock for Paused {
    fn now(&self) -> Timestamp {
        contract::clock::after(Timestamp::UNIX_EPOCH, self.0.elapsed())
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// What the source answers, and what it was asked.
#[derive(Default)]
struct World {
    /// The answer to a look; `None` = none ever comes.
    look: Option<Result<Look, SourceError>>,
    /// Why the stream cannot be opened.
    shut: Option<SourceError>,
    resumed: Vec<Resume>,
    looks: usize,
    /// What the server calls itself.
    server: &'static str,
    /// The stream ends before it has told anything.
    breaks: bool,
}

#[derive(Clone)]
struct Quiet(Arc<Mutex<World>>);

#[async_trait]
impl Source for Quiet {
    async fn check(&self) -> Vec<Finding> {
        Vec::new()
    }

    async fn prepare(&self, _: bool) -> Result<Preparation, SourceError> {
        Ok(Preparation::default())
    }

    async fn stream(
        &self,
        _: u32,
        _: Option<&Position>,
    ) -> Result<Box<dyn ChangeStream>, SourceError> {
        unreachable!("the engine resumes")
    }

    async fn resume(&self, from: &Resume) -> Result<Box<dyn ChangeStream>, SourceError> {
        let mut world = self.0.lock().unwrap();
        world.resumed.push(from.clone());
        let at = from.after.as_ref().and_then(|after| after.pos.number());
        match world.shut.clone() {
            Some(error) => Err(error),
            None => Ok(Box::new(Border {
                at: at.unwrap_or(1_000),
                server: world.server,
                breaks: world.breaks,
            })),
        }
    }

    async fn look(&self) -> Result<Option<Look>, SourceError> {
        let look = {
            let mut world = self.0.lock().unwrap();
            world.looks += 1;
            world.look.clone()
        };
        match look {
            Some(look) => look.map(Some),
            None => std::future::pending().await,
        }
    }

    async fn snapshot(&self, _: u32) -> Result<Box<dyn SnapshotReader>, SourceError> {
        unreachable!("there is no table")
    }
}

/// A stream of borders. Each takes two seconds from when it is asked for, as one does for which the
/// database must be asked something first: who gives up before never has it.
struct Border {
    at: u64,
    server: &'static str,
    breaks: bool,
}

#[async_trait]
impl ChangeStream for Border {
    async fn next(&mut self) -> Result<ChangeBatch, SourceError> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        if self.breaks {
            return Err(SourceError::Disconnected("it broke".to_owned()));
        }
        self.at += 1;
        Ok(ChangeBatch {
            changes: Vec::new(),
            end: border(self.at),
        })
    }

    async fn acknowledge(&mut self, _: &Position) -> Result<(), SourceError> {
        Ok(())
    }

    fn server(&self) -> Option<String> {
        Some(self.server.to_owned())
    }
}

fn border(number: u64) -> Position {
    Position::border(1, LogPos::from_number(number))
}

struct Running {
    world: Arc<Mutex<World>>,
    folder: tempfile::TempDir,
    store: Arc<Store>,
    _stop: watch::Sender<bool>,
    _setup: watch::Sender<SourceSetup>,
    engine: tokio::task::JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.engine.abort();
    }
}

fn start(look: Option<Result<Look, SourceError>>) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(folder.path()).unwrap());
    let world = Arc::new(Mutex::new(World {
        look,
        server: "server/1",
        ..World::default()
    }));
    let (setup_sender, setup) = watch::channel(SourceSetup {
        source: Arc::new(Quiet(Arc::clone(&world))),
        mapping: Arc::new(MappingSet::new(Vec::new()).unwrap()),
        reads_per_second: 1,
        pace: engine::Pace::default(),
    });
    let (stop_sender, stop) = watch::channel(false);
    let plan = Plan {
        tenant: "t".to_owned(),
        sources: vec![SourcePlan {
            name: "erp".to_owned(),
            setup,
            tap: None,
        }],
        destinations: Vec::new(),
        retention: Retention::default(),
        disk: None,
        meters: Arc::default(),
        chance: engine::Chance::default(),
    };
    let clock = Arc::new(Paused(Instant::now()));
    let running = Arc::clone(&store);
    let engine = tokio::spawn(async move {
        engine::run(plan, running, clock, stop, Duration::from_secs(1))
            .await
            .unwrap();
    });
    Running {
        world,
        folder,
        store,
        _stop: stop_sender,
        _setup: setup_sender,
        engine,
    }
}

impl Running {
    /// Waits, in simulated time, until what `status` would show of the source fits.
    async fn until(&self, what: &str, fits: impl Fn(&SourceStatus) -> bool) {
        let shown = || {
            let reader = StateReader::open(self.folder.path()).unwrap();
            reader.sources().unwrap().into_iter().next()
        };
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            // Whatever the store has to do is done before.
            self.store.source("erp").await.unwrap();
            if shown().as_ref().is_some_and(&fits) {
                return;
            }
        }
        panic!("{what}: {:#?}", shown());
    }

    fn answer(&self, look: Result<Look, SourceError>) {
        self.world.lock().unwrap().look = Some(look);
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_look_finds_ends_the_stream_until_it_is_mended() {
    let running = start(Some(Ok(Look::default())));
    let begun = |source: &SourceStatus| source.checkpoint.is_some();
    running.until("captures", begun).await;
    let trouble = SourceError::Denied {
        what: "the table is not published any more".to_owned(),
        hint: "publish it".to_owned(),
    };
    running.world.lock().unwrap().shut = Some(trouble.clone());
    running.answer(Ok(Look {
        trouble: Some(trouble),
        ..Look::default()
    }));
    let said = "the table is not published any more; to mend it: publish it";
    running
        .until("says the problem", |source| {
            source.problem.as_deref() == Some(said)
        })
        .await;
    running.world.lock().unwrap().shut = None;
    running.answer(Ok(Look::default()));
    running
        .until("goes on", |source| source.problem.is_none())
        .await;
    // The checkpoint came back with the server it came from.
    let (first, last) = {
        let world = running.world.lock().unwrap();
        let last = world.resumed.last().unwrap().clone();
        (world.resumed[0].clone(), last)
    };
    assert_eq!((first.after, first.server), (None, None));
    assert!(last.after.is_some());
    assert_eq!(last.server.as_deref(), Some("server/1"));
}

/// Nothing that the new server told is stored yet: the checkpoint is still the old one's.
#[tokio::test(start_paused = true)]
async fn a_checkpoint_belongs_to_the_server_that_told_it() {
    let running = start(Some(Ok(Look::default())));
    let begun = |source: &SourceStatus| source.checkpoint.is_some();
    running.until("captures", begun).await;
    let opened = {
        let mut world = running.world.lock().unwrap();
        (world.server, world.breaks) = ("server/2", true);
        world.look = Some(Ok(Look {
            trouble: Some(SourceError::Disconnected("the server is gone".to_owned())),
            ..Look::default()
        }));
        world.resumed.len()
    };
    let opened_more = |more| {
        let world = Arc::clone(&running.world);
        move |_: &SourceStatus| world.lock().unwrap().resumed.len() >= opened + more
    };
    running.until("the first is left", opened_more(1)).await;
    running.answer(Ok(Look::default()));
    running
        .until("the other breaks, twice", opened_more(3))
        .await;
    let servers = |from: usize| -> Vec<String> {
        let world = running.world.lock().unwrap();
        let resumed = world.resumed.iter().skip(from);
        resumed.map(|from| from.server.clone().unwrap()).collect()
    };
    let old = servers(opened);
    assert!(old.iter().all(|server| server == "server/1"), "{old:?}");
    let at = {
        let mut world = running.world.lock().unwrap();
        world.breaks = false;
        world
            .resumed
            .last()
            .unwrap()
            .after
            .clone()
            .unwrap()
            .to_string()
    };
    running
        .until("the other tells something", |source| {
            source.checkpoint.as_ref().is_some_and(|now| *now > at)
        })
        .await;
    let stored = running.store.source("erp").await.unwrap().server;
    assert_eq!(stored.as_deref(), Some("server/2"));
}

#[tokio::test(start_paused = true)]
async fn capture_waits_for_no_look() {
    let at_least = |number: u64| {
        let far = border(number).to_string();
        move |source: &SourceStatus| source.checkpoint.as_ref().is_some_and(|at| *at >= far)
    };
    let hanging = start(None);
    hanging
        .until("captures beside a look that hangs", at_least(1_010))
        .await;
    // A look that fails is no failure of the stream.
    let failing = start(Some(Err(SourceError::Disconnected("no answer".to_owned()))));
    failing
        .until("captures beside looks that fail", at_least(1_050))
        .await;
    let world = failing.world.lock().unwrap();
    assert_eq!(world.resumed.len(), 1);
    assert!(world.looks > 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_looked_at_stands_in_the_state_file() {
    let kept = LogKept {
        state: "reserved".to_owned(),
        kept_bytes: 5 << 30,
        warn_bytes: 1 << 30,
        hint: "drop the slot".to_owned(),
        ..LogKept::default()
    };
    let sent_at = "2026-11-26T12:00:00Z".parse().unwrap();
    let look = |took| Look {
        kept: Some(kept.clone()),
        heartbeat: Some(Heartbeat { sent_at, took }),
        ..Look::default()
    };
    let seen = |fits: fn(&LookStatus) -> bool| {
        move |source: &SourceStatus| source.look.as_ref().is_some_and(fits)
    };
    let running = start(Some(Ok(look(None))));
    let much = seen(|look| {
        let text = look.sentence.as_deref().unwrap_or_default();
        look.alarm.as_deref() == Some("drop the slot")
            && text.contains("keeps 5120 MiB")
            && look.heartbeat_took_ms.is_none()
    });
    running.until("says the kept log", much).await;
    running.answer(Ok(look(Some(Duration::from_millis(7)))));
    let met = seen(|look| look.heartbeat_took_ms == Some(7));
    running.until("says the round trip", met).await;
    let measured = seen(|look| look.growth_per_hour == Some(0));
    running.until("measures the growth", measured).await;
}

/// A database that counts what it keeps in time.
#[tokio::test(start_paused = true)]
async fn how_far_behind_a_source_is_stands_in_the_state_file() {
    let look = |hours| Look {
        behind: Some(Behind {
            by: Some(Duration::from_hours(hours)),
            kept_for: KeptFor::Time(Duration::from_hours(72)),
            hint: "keep changes for longer".to_owned(),
        }),
        ..Look::default()
    };
    let seen = |fits: fn(&LookStatus) -> bool| {
        move |source: &SourceStatus| source.look.as_ref().is_some_and(fits)
    };
    let running = start(Some(Ok(look(5))));
    let well = seen(|look| {
        let text = look.sentence.as_deref().unwrap_or_default();
        text.contains("5 h behind") && text.contains("in 2 days") && look.alarm.is_none()
    });
    running.until("says how far behind it is", well).await;
    running.answer(Ok(look(60)));
    let alarm = seen(|look| {
        let text = look.sentence.as_deref().unwrap_or_default();
        text.contains("in 12 h")
            && look.alarm.as_deref() == Some("keep changes for longer")
            // No bytes are made up.
            && (look.kept_bytes, look.left_bytes) == (None, None)
    });
    running.until("alarms", alarm).await;
    running.answer(Ok(look(0)));
    let well = seen(|look| {
        let text = look.sentence.as_deref().unwrap_or_default();
        text.contains("read all that the server keeps") && look.alarm.is_none()
    });
    running.until("is well again", well).await;
}
