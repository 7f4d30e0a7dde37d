//! Wherever an upgrade or the way back dies, or its disk fails: the binary is the one or the other, whole; who starts it
//! then goes on, or is told what to do; and the same command brings it to its end. Nothing is lost and nothing told twice.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::Duration;

use failpoint::{NAMES, VARIABLE};
use harness::agent::command_with;
use harness::receiver::{Faults, Receiver};

use crate::upgrade::{FORMAT_BEFORE, Installed, STOCK, stop, text, until};

const SOON: Duration = Duration::from_mins(1);
const BEFORE: &str = "the one before";
const NEWER: &str = "the newer one";

/// Which binary is there when the command died at a point. A point whose name is not here fails the test.
fn is_there(point: &str) -> &'static str {
    match point {
        "upgrade.noted" | "upgrade.kept" | "rollback.replaced" => BEFORE,
        "upgrade.replaced"
        | "rollback.state"
        | "state.restore.marked"
        | "state.rollback.aside"
        | "state.rollback.placed" => NEWER,
        other => panic!("{other} is walked by no test"),
    }
}

/// The points whose names begin so, in the order in which they are passed.
fn points(begins: &[&str]) -> Vec<&'static str> {
    const ORDER: [&str; 8] = [
        "upgrade.noted",
        "upgrade.kept",
        "upgrade.replaced",
        "state.restore.marked",
        "state.rollback.aside",
        "state.rollback.placed",
        "rollback.state",
        "rollback.replaced",
    ];
    let of = |point: &&&str| begins.iter().any(|begin| point.starts_with(begin));
    let mut found: Vec<&str> = NAMES.iter().filter(of).copied().collect();
    let place = |point: &&str| ORDER.iter().position(|known| known == point);
    found.sort_by_key(place);
    found
}

/// A shop with an agent of its own, and what it was to be told until now.
struct Shop {
    receiver: Receiver,
    installed: Installed,
    moves: usize,
}

impl Shop {
    async fn new() -> Self {
        let receiver = Receiver::start(1, Faults::default()).await;
        let installed = Installed::new(receiver.url());
        // Two stand in its tables from the beginning.
        let mut shop = Self {
            receiver,
            installed,
            moves: 2,
        };
        shop.goes_on("the beginning").await;
        shop
    }

    /// What changed while no agent ran is told by the one that starts now, and nothing is told twice.
    async fn goes_on(&mut self, when: &str) {
        self.moves += 1;
        let quantity = self.moves;
        self.installed.site.run(&format!(
            "INSERT INTO moved VALUES ({quantity}, 'a', 1); UPDATE stock SET qty = {quantity} WHERE item = 'a'"
        ));
        let agent = self.installed.agent();
        // The first of its kind says 5.
        let (main, sum) = (quantity.to_string(), (quantity + 3).to_string());
        until(&agent, &self.receiver, |held| {
            let is = |key: &str, wanted: &str| {
                let body = held.body(STOCK, key);
                body.is_some_and(|body| body["on_hand"] == *wanted)
            };
            held.facts.len() == quantity && is("ACME|a|MAIN", &main) && is("ACME|a|SUM", &sum)
        })
        .await;
        // Also when its tables have been read again, where a state went back.
        let read = "SELECT NOT EXISTS (SELECT 1 FROM snapshot WHERE NOT done)
                      AND NOT EXISTS (SELECT 1 FROM rule WHERE active AND stage <> 0)";
        let deadline = tokio::time::Instant::now() + SOON;
        while self.installed.number(read) == 0 {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{when}: {}",
                agent.log()
            );
            tokio::task::yield_now().await;
        }
        stop(agent).await;
        let held = self.receiver.held();
        assert_eq!(
            (&held.violations, held.repeated),
            (&Vec::new(), 0),
            "{when}"
        );
        for (key, ids) in &held.facts {
            assert_eq!(ids.len(), 1, "{when}: {key}");
        }
    }

    /// Gives a command that fails at a point: its code and its words.
    fn fails(&self, words: &[&str], point: &str, how: &str) -> (Option<i32>, String) {
        let (binary, folder) = (self.installed.binary(), self.installed.site.path());
        let environment = [(VARIABLE, format!("{point}={how}"))];
        command_with(text(&binary), folder, words, &environment)
    }

    /// The command is gone in the middle of it.
    fn dies(&self, words: &[&str], point: &str) {
        let (code, shown) = self.fails(words, point, "kill");
        assert_eq!(code, None, "{point} was not reached: {shown}");
        assert!(self.installed.is(is_there(point)), "{point}");
    }

    fn ends(&self, words: &[&str], with: &str) {
        let (code, shown) = self.installed.command(words);
        assert_eq!(code, Some(0), "{words:?}: {shown}");
        assert!(self.installed.is(with), "{words:?}: {shown}");
    }

    /// An agent that does not start says how to go on.
    async fn says_what_to_do(&self, when: &str) {
        let mut agent = self.installed.agent();
        let ended = agent.end(SOON).await;
        let ended = ended.unwrap_or_else(|| panic!("{when}: it runs: {}", agent.log()));
        assert_eq!(ended.code(), Some(3), "{when}: {}", agent.log());
        let said = agent.log().contains("lighterman rollback, once more");
        assert!(said, "{when}: {}", agent.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wherever_an_upgrade_or_the_way_back_dies_it_is_gone_on_with() {
    let mut shop = Shop::new().await;
    let (newer, key) = (shop.installed.newer(), shop.installed.keys.public());
    let (newer, key) = (text(&newer).to_owned(), text(&key).to_owned());
    let upgrade = [
        "upgrade",
        "--from",
        &newer,
        "--key",
        &key,
        "--apply",
        "--allow-older",
    ];
    for point in points(&["upgrade."]) {
        shop.installed.as_before();
        shop.dies(&upgrade, point);
        shop.goes_on(point).await;
    }
    assert!(shop.installed.number("PRAGMA user_version") > FORMAT_BEFORE);

    for point in points(&["state.restore.marked", "state.rollback.", "rollback."]) {
        shop.dies(&["rollback"], point);
        if point.starts_with("state.") {
            shop.says_what_to_do(point).await;
        } else {
            shop.goes_on(point).await;
        }
    }
    shop.ends(&["rollback"], BEFORE);
    assert_eq!(shop.installed.number("PRAGMA user_version"), FORMAT_BEFORE);
    shop.goes_on("the end").await;
    assert_eq!(shop.installed.beside(), ["lighterman"]);
}

/// Where the disk fails, the command says so, and is given once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_or_a_way_back_whose_disk_fails_is_done_by_the_same_command() {
    let mut shop = Shop::new().await;
    shop.installed.as_before();
    let (newer, key) = (shop.installed.newer(), shop.installed.keys.public());
    let (newer, key) = (text(&newer).to_owned(), text(&key).to_owned());
    let upgrade = [
        "upgrade",
        "--from",
        &newer,
        "--key",
        &key,
        "--apply",
        "--allow-older",
    ];
    let fails = |shop: &Shop, words: &[&str], point: &str, how: &str, says: &str| {
        let (code, shown) = shop.fails(words, point, how);
        assert!(matches!(code, Some(1 | 3)), "{point}: {code:?}: {shown}");
        assert!(shown.contains(says), "{point}: {shown}");
        assert!(shop.installed.is(is_there(point)), "{point}: {shown}");
    };
    let again = "then the same command once more";
    fails(&shop, &upgrade, "upgrade.kept", "full", again);
    let in_place = "the newer binary is in its place";
    fails(&shop, &upgrade, "upgrade.replaced", "error", in_place);
    // What it replaced is kept also then.
    shop.ends(&upgrade, NEWER);
    shop.goes_on("the upgrade").await;
    let again = "then lighterman rollback once more";
    fails(&shop, &["rollback"], "state.rollback.aside", "full", again);
    fails(
        &shop,
        &["rollback"],
        "state.rollback.placed",
        "error",
        again,
    );
    let gone_back = "the state has gone back, the binary has not";
    fails(
        &shop,
        &["rollback"],
        "rollback.replaced",
        "error",
        gone_back,
    );
    shop.ends(&["rollback"], BEFORE);
    assert_eq!(shop.installed.number("PRAGMA user_version"), FORMAT_BEFORE);
    shop.goes_on("the way back").await;
}
