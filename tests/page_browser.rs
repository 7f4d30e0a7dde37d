//! The status page in a real browser: seen, used by mouse, by keyboard and without a script, in light and
//! in dark, on a desk and on a phone. `SHOTS=1` writes the pictures of `docs/operating/page.md` anew.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::agent::Agent;
use harness::browser::Browser;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use rusqlite::Connection;
use serde_json::{Value, json};

use crate::metrics::{holds, site, until};

const SECRET: &str = "correct horse battery";
const USER: &str =
    "[[local.user]]\nname = \"anna\"\nrole = \"operator\"\nsecret = {file = \"anna\"}\n";

struct Walks {
    browser: Browser,
    receiver: Receiver,
    site: Site,
    agent: Agent,
    port: u16,
}

impl Walks {
    /// A site whose receiver refuses these SKUs, until that many are held.
    async fn begin(test: &str, skus: &[&str]) -> Option<Self> {
        let browser = Browser::installed(test)?;
        let receiver = Receiver::start(1, Faults::default()).await;
        let keys = skus.iter().map(|sku| format!("ACME|{sku}|MAIN"));
        receiver.held().rejected.extend(keys);
        let (site, port) = site(&receiver, USER);
        std::fs::write(site.path().join("anna"), SECRET).unwrap();
        for sku in skus {
            site.run(&format!("INSERT INTO stock VALUES ('{sku}', 4)"));
        }
        let agent = site.agent();
        let count = skus.len();
        let series = format!("lighterman_held_items{{by=\"shop\",cause=\"rejected\"}} {count}\n");
        until(port, "/metrics", &agent, |_, body| body.contains(&series)).await;
        Some(Self {
            browser,
            receiver,
            site,
            agent,
            port,
        })
    }

    async fn walk(&self, walk: &str, more: Value) {
        let mut words = json!({
            "url": format!("http://127.0.0.1:{}", self.port), "name": "anna", "secret": SECRET,
        });
        for (name, value) in more.as_object().unwrap() {
            words[name] = value.clone();
        }
        self.browser.walk(walk, words).await;
    }

    /// What was wrong with a SKU is mended at the receiver.
    fn mend(&self, sku: &str) {
        let wanted = format!("ACME|{sku}|MAIN");
        self.receiver.held().rejected.retain(|key| *key != wanted);
    }
}

fn key(sku: &str) -> Value {
    json!({ "key": format!("ACME|{sku}|MAIN") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_used_in_a_browser() {
    let test = "the_page_is_used_in_a_browser";
    let Some(walks) = Walks::begin(test, &["RED", "BLUE", "GREEN", "GONE"]).await else {
        return;
    };
    walks
        .walk("sentence", json!({ "sentence": "Everything flows." }))
        .await;
    for (walk, sku) in [("retry", "RED"), ("keyboard", "BLUE")] {
        walks.mend(sku);
        walks.walk(walk, key(sku)).await;
        assert!(
            holds(&walks.receiver, sku, "4").await,
            "{}",
            walks.agent.log()
        );
    }
    walks.walk("drop", key("GONE")).await;
    walks.walk("pause", json!({})).await;
    walks.mend("GREEN");
    let mut words = key("GREEN");
    words["sentence"] = json!("Everything flows.");
    walks.walk("noscript", words).await;
    walks.walk("trace", json!({ "key": "ACME|A|MAIN" })).await;
}

/// axe-core finds nothing on any page, nothing is wider than the screen, and no browser complains.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_open_to_everybody() {
    let test = "every_page_is_open_to_everybody";
    let Some(walks) = Walks::begin(test, &["RED", "BLUE"]).await else {
        return;
    };
    remember_a_day(&walks.site);
    walks.walk("look", json!({ "key": "RED" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documents_pictures_are_of_this_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating/images");
    if std::env::var_os("SHOTS").is_some() {
        let skus = ["100XLG", "128 SDRAM", "WIRE-SCD-0001", "FAXX-FG3-0001"];
        let walks = Walks::begin("shots", &skus).await.unwrap();
        for (sku, quantity) in [("A", 7), ("B", 12), ("C", 3)] {
            walks.site.run(&format!(
                "UPDATE stock SET qty = {quantity} WHERE sku = '{sku}'"
            ));
            assert!(holds(&walks.receiver, sku, &quantity.to_string()).await);
        }
        // One of them was wrong for a while, and has a story.
        walks.mend("100XLG");
        walks.walk("retry", key("100XLG")).await;
        assert!(
            holds(&walks.receiver, "100XLG", "4").await,
            "{}",
            walks.agent.log()
        );
        remember_a_day(&walks.site);
        let phone = walks.site.path().join("phone.png");
        let phone = std::env::var_os("SHOTS_PHONE").map_or(phone, PathBuf::from);
        std::fs::create_dir_all(&folder).unwrap();
        let words = json!({ "key": "100XLG", "folder": folder, "phone": phone });
        walks.walk("shots", words).await;
    }
    let page = std::fs::read_to_string(folder.join("../page.md")).unwrap();
    for name in ["status-light", "status-dark", "held", "trace"] {
        let picture = std::fs::read(folder.join(format!("{name}.png"))).unwrap();
        assert!(
            picture.starts_with(b"\x89PNG") && picture.len() < 150_000,
            "{name}"
        );
        assert!(page.contains(&format!("images/{name}.png")), "{name}");
    }
}

/// A day as it might have been: mostly a second behind, once an API that did not answer for a while.
fn remember_a_day(site: &Site) {
    let db = Connection::open(site.path().join("state/lighterman.db")).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    let all = "WITH RECURSIVE day (minute, n) AS (
         SELECT unixepoch() / 60 - 1, 1
         UNION ALL SELECT minute - 1, n + 1 FROM day WHERE n < 1440)
       INSERT OR REPLACE INTO sample (minute, series, value)
         SELECT minute, 'lag:erp', 300 + (n * 7919) % 900 + (n BETWEEN 400 AND 430) * n * 9 FROM day
         UNION ALL
         SELECT minute, 'oldest:shop', (n * 104729) % 700
           + (n BETWEEN 700 AND 790) * (790 - n) * 4000 FROM day
         UNION ALL
         SELECT minute, 'delivered:shop', 0 FROM day WHERE n > 60";
    db.execute_batch(all).unwrap();
}
