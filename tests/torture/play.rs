//! One history, played: a database, the agent as a process, somebody who is told, and what goes wrong between them.
//! When it is over, everything is mended, what a person would do is done, and the judge has the word.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::agent::{Agent, command};
use harness::proxy::Proxy;
use judge::{Class, Ledger, PositionSeen, Receiver, Repeats, Verdict, judge};
use serde_json::Value;
use tokio::time::Instant;

use crate::account::Account;
use crate::database::{self, Database};
use crate::destination::{self, Destination};
use crate::fault::network;
use crate::model::{Model, SOURCE};
use crate::servers::Servers;
use crate::step::{Ddl, Statement, Step, changes};

pub const BINARY: &str = env!("CARGO_BIN_EXE_lighterman");
/// How long a person waits for the agent to say what is wrong.
const SAID_MAX: Duration = Duration::from_mins(2);
/// An agent that has said nothing until then may have nothing to say.
const NUDGE_AFTER: Duration = Duration::from_secs(5);
/// A step that waits for arrivals waits no longer.
const ARRIVALS_MAX: Duration = Duration::from_millis(1_500);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Between two times that a person has what is held sent again.
const RETRY_EVERY: Duration = Duration::from_secs(2);

/// What is played.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub seed: u64,
    pub source: database::Kind,
    pub destination: destination::Kind,
    /// Nothing has come for so long: nothing more does, on the slowest machine either.
    pub quiet: Duration,
}

/// A play that is going on.
pub struct Game<'a> {
    plan: Plan,
    folder: PathBuf,
    pub database: Database,
    pub source_proxy: Option<Proxy>,
    pub destination: Destination<'a>,
    pub agent: Option<Agent>,
    pub model: Model,
    ledger: Ledger,
    pub kills: u64,
    resyncs: u64,
    /// Steps until what lasts is over.
    pub thaw_in: Option<u32>,
    pub mend_in: Option<u32>,
    pub lose_log_in: Option<u32>,
    /// What the copy holds, after how many commits it was made, and in how many steps it is put back.
    pub backup: Option<(Model, usize, u32)>,
    /// Where the source began to keep its log when that was prepared anew: nobody told it so.
    made_at: Option<String>,
}

/// Counts down; true when it is over.
fn over(steps: &mut Option<u32>) -> bool {
    match steps {
        Some(0) => {
            *steps = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl<'a> Game<'a> {
    async fn begin(plan: Plan, folder: &Path, opening: &[Statement], servers: &'a Servers) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = Database::start(plan.source, plan.seed, number, folder, servers).await;
        let source_proxy = match database.port() {
            Some(port) => Some(Proxy::start(port).await),
            None => None,
        };
        let destination =
            Destination::start(plan.destination, plan.seed, number, folder, servers).await;
        let port = source_proxy.as_ref().map(Proxy::port).unwrap_or_default();
        let settings = format!(
            "tenant = \"t\"\n{}\n{}",
            database.settings(port),
            destination.settings(plan.seed)
        );
        std::fs::write(folder.join("lighterman.toml"), settings).unwrap();
        std::fs::write(folder.join("mapping.yaml"), database.mapping()).unwrap();
        std::fs::write(folder.join("password"), "Secret-1").unwrap();
        std::fs::write(folder.join("guest"), "guest").unwrap();
        let mut game = Self {
            plan,
            folder: folder.to_owned(),
            database,
            source_proxy,
            destination,
            agent: None,
            model: Model::default(),
            ledger: Ledger::new(),
            kills: 0,
            resyncs: 0,
            thaw_in: None,
            mend_in: None,
            lose_log_in: None,
            backup: None,
            made_at: None,
        };
        if game.database.reads_ahead() {
            game.ledger.reads_ahead();
        }
        game.ledger
            .receiver(Receiver::new("shop", Repeats::PassedOn));
        game.commit(opening).await;
        game.done(&["source", "prepare", "--apply"]);
        if let Database::Sqlserver(scripted) = &game.database {
            let (_, shown) = command(BINARY, folder, &["check"]);
            assert!(shown.contains(scripted.mode()), "{shown}");
        }
        game.start();
        game
    }

    /// A copy of the database as it is, to be put back in so many steps.
    pub fn back_up(&mut self, steps: u32) {
        self.database.back_up();
        self.backup = Some((self.model.clone(), self.ledger.commits(), steps));
    }

    /// A command that must end well.
    fn done(&self, words: &[&str]) -> String {
        let (code, shown) = command(BINARY, &self.folder, words);
        assert_eq!(code, Some(0), "{words:?}: {shown}\n{}", self.log());
        shown
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("agent.log")).unwrap_or_default()
    }

    pub fn start(&mut self) {
        self.agent = Some(Agent::start(BINARY, &self.folder));
    }

    pub fn thaw(&mut self) {
        if self.thaw_in.take().is_some()
            && let Some(agent) = &self.agent
        {
            agent.signal("CONT");
        }
    }

    fn mend_network(&mut self) {
        self.mend_in = None;
        let proxies = [self.source_proxy.as_ref(), self.destination.proxy()];
        proxies.into_iter().flatten().for_each(network::mend);
    }

    async fn commit(&mut self, statements: &[Statement]) {
        self.database
            .transaction(statements, &self.model, true)
            .await;
        for statement in statements {
            for change in self.model.apply(statement) {
                self.ledger.committed(change);
            }
        }
    }

    async fn step(&mut self, step: &Step) {
        self.what_is_over().await;
        match step {
            Step::Commit(statements) => self.commit(statements).await,
            Step::Rollback(statements) => {
                self.database
                    .transaction(statements, &self.model, false)
                    .await;
            }
            Step::Alter(ddl) => {
                // Its triggers name columns. A person prepares it again for one that comes; one that goes would take
                // the triggers away first, which is another play.
                let triggers = self.plan.source == database::Kind::Sqlite;
                let can = !triggers || matches!(ddl, Ddl::Add { .. });
                if can && self.model.alter(*ddl) {
                    self.database.alter(*ddl).await;
                    if triggers {
                        self.done(&["source", "prepare", "--apply"]);
                    }
                }
            }
            Step::Wait(arrivals) => {
                if self.thaw_in.is_none() && self.agent.is_some() {
                    self.destination.wait(*arrivals, ARRIVALS_MAX).await;
                }
            }
            Step::Fault(fault) => fault.happen(self).await,
        }
        if let Some(agent) = &mut self.agent
            && let Some(ended) = agent.ended()
        {
            panic!("the agent ended by itself ({ended})\n{}", self.log());
        }
    }

    /// What lasts comes to its end.
    async fn what_is_over(&mut self) {
        if over(&mut self.thaw_in) {
            self.thaw_in = Some(0);
            self.thaw();
        }
        if over(&mut self.mend_in) {
            self.mend_network();
        }
        if over(&mut self.lose_log_in) {
            self.database.lose_log().await;
            // Whoever has no position yet misses nothing of a log, and some sources read anew by themselves.
            if self.shown("checkpoint").is_some() && !self.database.heals() {
                self.resync().await;
            } else {
                self.goes_on();
            }
            if self.database.is_prepared_anew() {
                self.done(&["source", "prepare", "--apply"]);
                self.made_at = self.database.told().await;
            }
        }
        if let Some((model, commits, steps)) = &mut self.backup {
            if *steps > 0 {
                *steps -= 1;
                return;
            }
            let (model, commits) = (std::mem::take(model), *commits);
            self.put_back(model, commits).await;
        }
    }

    async fn put_back(&mut self, earlier: Model, commits: usize) {
        self.backup = None;
        self.thaw();
        if let Some(mut agent) = self.agent.take() {
            let ended = agent.terminate(SAID_MAX).await;
            assert!(ended.is_some(), "it does not stop\n{}", agent.log());
        }
        self.database.put_back();
        // Its log came back with it, and is read from where it begins.
        self.ledger.again(commits);
        let (changes, facts) = self.model.back_to(&earlier);
        for change in changes {
            self.ledger.committed(change);
        }
        for (event_type, key) in facts {
            self.ledger.forgotten(event_type, &key);
        }
        self.model = earlier;
        self.resync().await;
    }

    /// As a person does whose agent says that its log is lost. Where it reads on instead, there is nothing to do: nothing
    /// that it had not read was in what is gone, or it reads those tables again by itself. The judge sees whether that
    /// was true.
    async fn resync(&mut self) {
        let before = self.shown("checkpoint");
        self.goes_on();
        let began = Instant::now();
        let mut nudged = false;
        loop {
            let problem = self.shown("problem").unwrap_or_default();
            if problem.contains("resync") {
                break;
            }
            if nudged && self.shown("checkpoint") != before {
                return;
            }
            assert!(
                began.elapsed() <= SAID_MAX,
                "it neither says what is lost nor reads on: {problem}\n{}",
                self.log()
            );
            // It is seen to read on by what is written now.
            if !nudged && began.elapsed() >= NUDGE_AFTER {
                nudged = true;
                let sku = "NUDGE".to_owned();
                let name = format!("nudge {}", self.ledger.commits());
                self.commit(&[Statement::PutItem { sku, name }]).await;
                self.database.catch_up();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.done(&["source", "resync", SOURCE, "--new-epoch"]);
        self.resyncs += 1;
    }

    /// The agent runs, and reaches its source.
    fn goes_on(&mut self) {
        self.mend_network();
        if self.agent.is_none() {
            self.start();
        }
    }

    /// What `status` says of the source.
    fn shown(&self, what: &str) -> Option<String> {
        let (_, shown) = command(BINARY, &self.folder, &["status", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap_or_default();
        shown["sources"][0][what].as_str().map(str::to_owned)
    }

    /// After an end of the agent: what its source was told, beside what is on the disk.
    pub async fn look_at_positions(&mut self) {
        let Some(told) = self.database.told().await else {
            return;
        };
        if self.made_at.as_ref() == Some(&told) {
            return;
        }
        // Before the first checkpoint nothing was told.
        let position = self.shown("checkpoint");
        let Some(durable) = position.as_deref().and_then(|at| at.split('/').nth(1)) else {
            return;
        };
        self.ledger.position(PositionSeen {
            source: SOURCE.to_owned(),
            told,
            durable: durable.to_owned(),
        });
    }

    async fn verdict(&self) -> Verdict {
        let mut ledger = self.ledger.clone();
        for event in self.destination.received().await {
            ledger.received("shop", event);
        }
        judge(&ledger)
    }

    /// Everything is mended, and a person does what is left to do.
    async fn end(&mut self) -> Verdict {
        if self.lose_log_in.is_some() {
            self.lose_log_in = Some(0);
        }
        if let Some((.., steps)) = &mut self.backup {
            *steps = 0;
        }
        self.what_is_over().await;
        self.thaw();
        self.mend_network();
        if let Some(hook) = self.destination.hook() {
            hook.mend();
        }
        if self.agent.is_none() {
            self.start();
        }
        self.database.catch_up();
        for (event_type, rows) in self.database.rows().await {
            assert_eq!(
                rows,
                self.model.rows(event_type),
                "the model of the database is wrong"
            );
        }
        let mut arrivals = self.destination.arrivals().await;
        let mut moved = Instant::now();
        let mut retried = Instant::now();
        loop {
            let verdict = self.verdict().await;
            let account = Account::ask(&self.folder);
            if verdict.is_clean() && account.is_ok_and(|account| account.at_rest()) {
                break;
            }
            let now = self.destination.arrivals().await;
            if now != arrivals {
                (arrivals, moved) = (now, Instant::now());
            }
            // A busy machine is slow; what is lost does not come however long it takes.
            if moved.elapsed() > self.plan.quiet {
                break;
            }
            if retried.elapsed() > RETRY_EVERY {
                command(BINARY, &self.folder, &["held", "retry", "--all"]);
                retried = Instant::now();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.ledger.mended();
        match Account::ask(&self.folder) {
            Ok(account) => {
                self.ledger.balance("shop", account.balance);
                for item in account.held {
                    self.ledger.held(item);
                }
            }
            // That there is none is the judge's finding.
            Err(said) => eprintln!("no account of shop: {said}"),
        }
        if let Some(mut agent) = self.agent.take() {
            if let Some(ended) = agent.ended() {
                panic!("the agent ended by itself ({ended})\n{}", self.log());
            }
            agent.kill();
        }
        self.look_at_positions().await;
        let mut verdict = self.verdict().await;
        let (code, shown) = command(BINARY, &self.folder, &["state", "verify"]);
        if code != Some(0) {
            verdict.found(Class::Unexplained, format!("the state file: {shown}"));
        }
        verdict
    }
}

/// What came of a play, and what the agent logged.
pub struct Played {
    pub verdict: Verdict,
    pub log: String,
}

/// Plays a history.
pub async fn play(plan: Plan, opening: &[Statement], steps: &[Step], servers: &Servers) -> Played {
    let folder = tempfile::tempdir().unwrap();
    let mut game = Game::begin(plan, folder.path(), opening, servers).await;
    for step in steps {
        game.step(step).await;
    }
    let mut verdict = game.end().await;
    verdict.did("changes", changes(steps));
    verdict.did("kills", game.kills);
    verdict.did("resyncs", game.resyncs);
    let faults = steps.iter().filter(|step| matches!(step, Step::Fault(_)));
    verdict.did("faults", faults.count() as u64);
    let log = game.log();
    let Game {
        database,
        destination,
        ..
    } = game;
    database.clean().await;
    destination.clean().await;
    Played { verdict, log }
}
