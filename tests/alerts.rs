//! Alerts of a running agent, by mail, to chats and to a dead man's switch, all of them real servers.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::io::Write as _;

use harness::hook::Hook;
use harness::local::value;
use harness::mail::Mail;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::{Value, json};

use crate::metrics::{SOON, holds, site, until};

/// Rules that are judged each second, and nothing that is gathered.
const QUICK: &str = "[alerts]\nevery_seconds = 1\ngather_seconds = 0\n";

/// More lines in the settings of a site, before it runs.
fn add(site: &Site, lines: &str) {
    let file = site.path().join("lighterman.toml");
    let mut file = std::fs::File::options().append(true).open(file).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
}

fn smtp(mail: &Mail, more: &str) -> String {
    format!(
        "[alerts.smtp]\nhost = \"localhost\"\nport = {}\nfrom = \"Lighterman <agent@example.com>\"\n\
         to = [\"it@example.com\"]\n{more}\n",
        mail.port()
    )
}

fn json_hook(hook: &Hook) -> String {
    let url = hook.url("/alerts");
    format!("[[alerts.webhook]]\nshape = \"json\"\nname = \"hook\"\nurl = \"{url}\"\n")
}

fn subjects(letters: &[Value]) -> Vec<String> {
    let subjects = letters
        .iter()
        .map(|letter| letter["subject"].as_str().unwrap());
    subjects.map(str::to_owned).collect()
}

/// What is held begins above two and ends at one: two of it are neither. A restart in between tells nothing twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_is_told_once_when_it_begins_and_once_when_it_ends() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let keys = ["A", "B", "C"].map(|sku| format!("ACME|{sku}|MAIN"));
    receiver.held().rejected.extend(keys.clone());
    let mail = Mail::start(&json!({ "tls": "starttls", "user": "agent", "password": "MailMark7" }));
    let (site, port) = site(&receiver, "");
    std::fs::write(site.path().join("mail-password"), "MailMark7\n").unwrap();
    let login = format!(
        "tls = \"starttls\"\nca_file = \"{}\"\nuser = \"agent\"\npassword = {{ file = \"mail-password\" }}",
        mail.authority()
    );
    add(
        &site,
        &format!(
            "{QUICK}{}[[alert]]\nname = \"held\"\non = false\n[[alert]]\nname = \"many-held\"\n\
             metric = \"lighterman_held_items\"\nlabels = {{ by = \"shop\" }}\nabove = 2\nclear = 1\n\
             clear_for_seconds = 0\nsay = \"{{value}} are held by {{by}}: {{cause}}\"\nlevel = \"page\"\n",
            smtp(&mail, &login)
        ),
    );
    let mut agent = site.agent();
    let letters = mail.wait(SOON, |letters| !letters.is_empty()).await;
    let letters = letters.unwrap_or_else(|found| panic!("{found:?}\n{}", agent.log()));
    let first = &letters[0];
    assert_eq!(
        first["subject"], "[page] Lighterman default: 3 are held by shop: rejected",
        "{first}"
    );
    assert_eq!(
        (&first["tls"], &first["login"]),
        (&json!(true), &json!(true)),
        "{first}"
    );
    assert_eq!(first["to"], json!(["it@example.com"]));
    assert_eq!(first["headers"]["auto-submitted"], "auto-generated");
    let text = first["text"].as_str().unwrap();
    assert!(
        text.contains("- 3 are held by shop: rejected many-held, page, since ")
            && text.contains("look: lighterman"),
        "{text}"
    );
    let (code, shown) = site.command(&["alert", "list", "--json"]);
    let listed: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(code, Some(1), "{shown}");
    let mut all = listed["alerts"].as_array().unwrap().iter();
    let own = all.find(|one| one["alert"] == "many-held").unwrap();
    assert_eq!(own["firing"].as_array().unwrap().len(), 1, "{shown}");
    assert_eq!(
        listed["channels"][0]["failing_since"],
        Value::Null,
        "{shown}"
    );

    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    // Tells that two were seen by the rules: by this one behind the other.
    add(
        &site,
        "[[alert]]\nname = \"two-held\"\nmetric = \"lighterman_held_items\"\nlabels = { by = \"shop\" }\nbelow = 3\n\
         say = \"fewer than three\"\n",
    );
    let mut agent = site.agent();
    let fires = "lighterman_alerts_firing{alert=\"many-held\"}";
    let held = "lighterman_held_items{by=\"shop\",cause=\"rejected\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, fires) == Some(1.0) && value(body, held) == Some(3.0)
    })
    .await;
    let drop = |key: &str| {
        let (code, shown) = site.command(&["held", "drop", "--key", key, "--why", "a test"]);
        assert_eq!(code, Some(0), "{shown}");
    };
    drop(&keys[0]);
    let letters = mail.wait(SOON, |letters| letters.len() > 1).await;
    assert!(letters.is_ok(), "{letters:?}\n{}", agent.log());
    let body = until(port, "/metrics", &agent, |_, body| {
        value(body, held) == Some(2.0)
    })
    .await;
    assert_eq!(value(&body, fires), Some(1.0), "{body}");
    drop(&keys[1]);
    let letters = mail.wait(SOON, |letters| letters.len() > 2).await;
    let letters = letters.unwrap_or_else(|found| panic!("{found:?}\n{}", agent.log()));
    assert_eq!(
        subjects(&letters)[1..],
        [
            "Lighterman default: fewer than three",
            "Lighterman default: over: 2 are held by shop: rejected"
        ]
    );
    until(port, "/metrics", &agent, |_, body| {
        value(body, fires) == Some(0.0)
    })
    .await;
    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    let log = agent.log();
    assert_eq!(
        log.matches("code=\"alert.began\" alert=\"many-held\"")
            .count(),
        1,
        "{log}"
    );
    assert_eq!(
        log.matches("code=\"alert.ended\" alert=\"many-held\"")
            .count(),
        1,
        "{log}"
    );
    assert!(
        !log.contains("MailMark7") && !log.contains("it@example.com"),
        "{log}"
    );
}

/// Forty rules are crossed at once: one letter. No more than one letter leaves within the hour, whatever comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_one_letter_and_letters_are_bounded() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let hook = Hook::start().await;
    let (site, port) = site(&receiver, "");
    let mut rules = format!("{QUICK}letters_per_hour = 1\n{}", json_hook(&hook));
    for number in 0..40 {
        let _ = write!(
            rules,
            "[[alert]]\nname = \"rule-{number}\"\nmetric = \"lighterman_agent_info\"\nabove = 0\n"
        );
    }
    rules.push_str("[[alert]]\nname = \"held\"\nfor_seconds = 0\n");
    add(&site, &rules);
    let mut agent = site.agent();
    let letters = hook.wait(SOON, |letters| !letters.is_empty()).await;
    let letter = letters.unwrap_or_else(|_| panic!("{}", agent.log()))[0].json();
    let began = letter["began"].as_array().unwrap();
    let rules = began
        .iter()
        .filter(|one| one["alert"].as_str().unwrap().starts_with("rule-"));
    assert_eq!(rules.count(), 40, "{letter}");
    assert!(
        letter["subject"]
            .as_str()
            .unwrap()
            .ends_with("alerts began"),
        "{letter}"
    );
    // One more comes, and waits.
    receiver.held().rejected.push("ACME|A|MAIN".to_owned());
    site.run("UPDATE stock SET qty = 9 WHERE sku = 'A'");
    let fires = "lighterman_alerts_firing{alert=\"held\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, fires) == Some(1.0)
    })
    .await;
    assert!(agent.logged("alert.many", SOON).await, "{}", agent.log());
    // A restart forgets neither the letter nor the bound.
    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    let before = agent.log().matches("alert.many").count();
    let mut agent = site.agent();
    until(port, "/metrics", &agent, |_, body| {
        value(body, fires) == Some(1.0)
    })
    .await;
    let deadline = tokio::time::Instant::now() + SOON;
    while agent.log().matches("alert.many").count() == before {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(hook.asked().len(), 1, "{:?}", hook.asked());
    assert!(agent.terminate(SOON).await.is_some());
}

/// Nothing waits for a mail server that is gone; what could not be told then is told when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_mail_server_holds_up_nothing_and_is_told_later() {
    let receiver = Receiver::start(1, Faults::default()).await;
    receiver.held().rejected.push("ACME|A|MAIN".to_owned());
    let mut mail = Mail::plain();
    mail.stop();
    let (site, port) = site(&receiver, "");
    add(
        &site,
        &format!(
            "{QUICK}{}[[alert]]\nname = \"held\"\nfor_seconds = 0\nclear_for_seconds = 0\n",
            smtp(&mail, "tls = \"none\"")
        ),
    );
    let agent = site.agent();
    assert!(
        agent.logged("alert.not_sent", SOON).await,
        "{}",
        agent.log()
    );
    let failed = "lighterman_alert_letters_total{channel=\"smtp\",result=\"failed\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, failed).is_some_and(|failed| failed >= 1.0)
    })
    .await;
    site.run("UPDATE stock SET qty = 5 WHERE sku = 'B'");
    assert!(holds(&receiver, "B", "5").await, "{}", agent.log());
    let (_, shown) = site.command(&["alert", "list"]);
    assert!(
        shown.contains("takes NONE for") && shown.contains("FIRES for"),
        "{shown}"
    );
    // It comes and goes while nobody can be told.
    let (code, shown) = site.command(&["held", "drop", "--all", "--why", "a test"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(agent.logged("alert.ended", SOON).await, "{}", agent.log());
    mail.start_again();
    let letters = mail.wait(SOON, |letters| !letters.is_empty()).await;
    let letters = letters.unwrap_or_else(|_| panic!("{}", agent.log()));
    assert_eq!(letters.len(), 1, "{letters:?}");
    // A mail's lines end with two characters.
    let text = letters[0]["text"].as_str().unwrap().replace('\r', "");
    assert!(
        text.starts_with("OVER\n- 1 are held for a person by shop: rejected. held, warn, from "),
        "{text}"
    );
}

/// Each shape, and what a server answers, for whoever asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_test_says_what_each_channel_answers() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let hook = Hook::start().await;
    let mail = Mail::start(&json!({ "tls": "tls", "refuse": ["gone@example.com"] }));
    let (site, _) = site(&receiver, "");
    let (code, shown) = site.command(&["alert", "test"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(shown.contains("[alerts.smtp]"), "{shown}");
    let secure = format!("tls = \"tls\"\nca_file = \"{}\"", mail.authority());
    let mut lines = smtp(&mail, &secure).replace(
        "[\"it@example.com\"]",
        "[\"gone@example.com\", \"it@example.com\"]",
    );
    for shape in ["slack", "teams", "json"] {
        let url = hook.url(&format!("/{shape}/UrlMark"));
        let _ = write!(
            lines,
            "[[alerts.webhook]]\nname = \"{shape}\"\nshape = \"{shape}\"\nurl = \"{url}\"\n"
        );
    }
    let _ = write!(
        lines,
        "[alerts.deadman]\nurl = \"{}\"\n",
        hook.url("/ping/UrlMark")
    );
    add(&site, &lines);
    // One address is refused, and the other one gets its letter.
    let (code, shown) = site.command(&["alert", "test", "--channel", "smtp"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("it@example.com: 250 2.0.0 kept")
            && shown
                .contains("gone@example.com: permanent error (550): 5.1.1 no such mailbox here"),
        "{shown}"
    );
    let letters = mail.letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0]["subject"], "Lighterman default: this is a test");
    assert_eq!(letters[0]["tls"], true);

    for (channel, path, kind) in [
        ("slack", "/slack/UrlMark", "application/json"),
        ("teams", "/teams/UrlMark", "application/json"),
        ("json", "/json/UrlMark", "application/json"),
        ("deadman", "/ping/UrlMark", ""),
    ] {
        let (code, shown) = site.command(&["alert", "test", "--channel", channel]);
        assert_eq!(
            (code, shown.trim()),
            (Some(0), format!("{channel} took it: HTTP 200 ok").as_str())
        );
        let asked = hook.asked().pop().unwrap();
        assert_eq!(
            (asked.path.as_str(), asked.content_type.as_str()),
            (path, kind)
        );
        let body = asked.json();
        match channel {
            "slack" => {
                assert_eq!(body["text"], "Lighterman default: this is a test");
                assert_eq!(body["blocks"][0]["type"], "header");
                assert_eq!(body["blocks"][1]["text"]["type"], "mrkdwn");
            }
            "teams" => {
                assert_eq!(body["type"], "message");
                let card = &body["attachments"][0];
                assert_eq!(
                    card["contentType"],
                    "application/vnd.microsoft.card.adaptive"
                );
                assert_eq!(card["content"]["type"], "AdaptiveCard");
                assert_eq!(
                    card["content"]["body"][0]["text"],
                    "Lighterman default: this is a test"
                );
            }
            "json" => assert_eq!(body["test"], true),
            _ => assert_eq!((asked.method.as_str(), asked.body.as_str()), ("GET", "")),
        }
    }
    hook.answers(404, "no_service");
    let (code, shown) = site.command(&["alert", "test", "--json"]);
    assert_eq!(code, Some(1), "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let channels = shown["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 4, "{shown}");
    let slack = channels
        .iter()
        .find(|one| one["channel"] == "slack")
        .unwrap();
    assert_eq!(
        (&slack["ok"], &slack["answer"]),
        (&json!(false), &json!("HTTP 404 no_service"))
    );
    let (code, shown) = site.command(&["alert", "test", "--channel", "slak"]);
    assert_eq!(code, Some(2), "{shown}");
    assert!(
        shown.contains("one of smtp, slack, teams, json, deadman"),
        "{shown}"
    );
    let (_, shown) = site.command(&["config", "show"]);
    assert!(!shown.contains("UrlMark"), "{shown}");
}

/// A source in which nothing happens is proven alive again and again; one that is not captured is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_changes_and_a_dead_capture_are_told_apart() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let hook = Hook::start().await;
    let (site, port) = site(&receiver, "");
    add(
        &site,
        &format!(
            "{QUICK}{}[alerts.deadman]\nurl = \"{}\"\nfail_url = \"{}\"\nevery_seconds = 1\n\
             [[alert]]\nname = \"source-stopped\"\nfor_seconds = 3\n\
             [[alert]]\nname = \"canary-late\"\nabove = 4\nclear = 2\n",
            json_hook(&hook),
            hook.url("/ping"),
            hook.url("/fail"),
        ),
    );
    let agent = site.agent();
    let pings =
        |asked: &[harness::hook::Asked]| asked.iter().filter(|one| one.path == "/ping").count();
    // Longer without a change than the canary's bound.
    let asked = hook.wait(SOON, |asked| pings(asked) >= 8).await;
    let asked = asked.unwrap_or_else(|found| panic!("{found:?}\n{}", agent.log()));
    assert_eq!(pings(&asked), asked.len(), "{asked:?}");
    let age = "lighterman_source_canary_age_seconds{source=\"erp\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, age).is_some_and(|age| age < 4.0)
    })
    .await;
    let (code, shown) = site.command(&["status"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.contains("its log comes through, proven ")
            && shown.contains("its change log was read to the end"),
        "{shown}"
    );
    let (code, shown) = site.command(&["alert", "list"]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("No alert fires."), "{shown}");

    site.run("DROP TABLE lighterman_log");
    let told = |asked: &[harness::hook::Asked]| {
        let letters = asked.iter().filter(|one| one.path == "/alerts");
        let bodies = letters.map(|one| one.body.as_str());
        let all: String = bodies.collect();
        all.contains("\"source-stopped\"") && all.contains("\"canary-late\"")
    };
    let failed = |asked: &[harness::hook::Asked]| asked.iter().any(|one| one.path == "/fail");
    let asked = hook.wait(SOON, |asked| told(asked) && failed(asked)).await;
    let asked = asked.unwrap_or_else(|found| panic!("{found:?}\n{}", agent.log()));
    let fail = asked.iter().find(|one| one.path == "/fail").unwrap();
    assert_eq!(
        fail.body,
        "Lighterman default: Source erp is not captured.\n"
    );
    assert!(
        agent.log().contains("alert.deadman_stopped"),
        "{}",
        agent.log()
    );
    let behind = asked.iter().skip_while(|one| one.path != "/fail");
    assert!(
        behind.into_iter().all(|one| one.path != "/ping"),
        "{asked:?}"
    );
    until(port, "/metrics", &agent, |_, body| {
        value(body, age).is_some_and(|age| age > 4.0)
    })
    .await;
}

/// What is wrong with settings while the agent runs is an alert, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_mapping_is_told_and_so_is_its_mending() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let hook = Hook::start().await;
    let (site, port) = site(&receiver, "");
    add(
        &site,
        &format!(
            "{QUICK}{}[[alert]]\nname = \"mapping-refused\"\nclear_for_seconds = 0\n",
            json_hook(&hook)
        ),
    );
    let agent = site.agent();
    let up = "lighterman_source_up{source=\"erp\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, up) == Some(1.0)
    })
    .await;
    let file = site.path().join("mapping.yaml");
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("stock.qty", "stock.quantity")).unwrap();
    let letters = hook.wait(SOON, |letters| !letters.is_empty()).await;
    let letters = letters.unwrap_or_else(|_| panic!("{}", agent.log()));
    assert_eq!(
        letters[0].json()["began"][0]["sentence"],
        "A changed mapping of source erp is refused; the one before it is in force."
    );
    std::fs::write(&file, good).unwrap();
    let letters = hook.wait(SOON, |letters| letters.len() > 1).await;
    let letters = letters.unwrap_or_else(|_| panic!("{}", agent.log()));
    assert_eq!(letters[1].json()["ended"][0]["alert"], "mapping-refused");
}

/// What the state file has of rules that left the settings is nobody's alert.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alert_whose_rule_left_the_settings_fires_no_more() {
    let receiver = Receiver::start(1, Faults::default()).await;
    receiver.held().rejected.push("ACME|A|MAIN".to_owned());
    let (site, port) = site(&receiver, "");
    let file = site.path().join("lighterman.toml");
    let before = std::fs::read_to_string(&file).unwrap();
    let rule = "[[alert]]\nname = \"own-held\"\nmetric = \"lighterman_held_items\"\nabove = 0\nsay = \"is held\"\n";
    add(&site, &format!("{QUICK}{rule}"));
    let mut agent = site.agent();
    let fires = "lighterman_alerts_firing{alert=\"own-held\"}";
    until(port, "/metrics", &agent, |_, body| {
        value(body, fires) == Some(1.0)
    })
    .await;
    let listed = || site.command(&["alert", "list"]);
    let (code, shown) = listed();
    assert_eq!(code, Some(1), "{shown}");
    assert!(
        shown.contains("FIRES for") && shown.contains("(own-held"),
        "{shown}"
    );
    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());

    // The rule is gone; then all of it is.
    for (settings, said) in [
        (
            format!("{before}{QUICK}[[alert]]\nname = \"held\"\non = false\n"),
            "No alert fires.",
        ),
        (before.clone(), "Nothing is watched"),
    ] {
        std::fs::write(&file, settings).unwrap();
        let (code, shown) = listed();
        assert_eq!(code, Some(1), "the agent does not run: {shown}");
        assert!(!shown.contains("FIRES"), "{shown}");
        let mut agent = site.agent();
        until(port, "/health/live", &agent, |status, _| status == 200).await;
        let (code, shown) = listed();
        assert_eq!(code, Some(0), "{shown}");
        assert!(shown.contains(said) && !shown.contains("FIRES"), "{shown}");
        assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
    }
}
