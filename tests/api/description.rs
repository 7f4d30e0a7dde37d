//! The description of the API, compared with what there is.

use std::process::Command;

use harness::receiver::{Faults, Receiver};
use serde_json::json;

use super::{OPERATES, SOON, Said, as_token, call, get, secret, site, told, until};

/// What the description has is there, and what it does not have is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_description_says_what_there_is() {
    let receiver = Receiver::start(5, Faults::default()).await;
    let everything = format!(
        "{}\ntypes = [\"inventory.availability.v1\", \"order.v1\"]\nrequests_per_minute = 6000",
        OPERATES.replace("scopes = [", "scopes = [\"published:read\", ")
    );
    let (site, port) = site(&receiver, &[("all", &everything)]);
    let agent = site.agent();
    told(port, "all", &agent).await;
    let described = call(port, "GET", "/api/v1/openapi.json", &[], "").await;
    assert_eq!(described.status, 200, "{}", described.text);
    let paths = described.body["paths"].as_object().unwrap();
    assert!(paths.len() > 15, "{}", described.text);
    for (path, ways) in paths {
        let real = path
            .replace("{name}", "shop")
            .replace("{id}", "shop%2F999")
            .replace("{number}", "1");
        let known = ways.as_object().unwrap();
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let said = as_token(port, "all", method, &real, "").await;
            // An item has the form of an address that is posted to.
            let named = known.contains_key(&method.to_lowercase());
            let problem = said.body["type"].as_str().unwrap_or_default();
            if named {
                let there = said.status != 405 && !said.text.contains("nothing at this address");
                assert!(there, "{method} {path}: {}", said.text);
            } else {
                assert_eq!(
                    (said.status, problem),
                    (405, "urn:lighterman:problem:method"),
                    "{method} {path}"
                );
                assert!(
                    said.headers.contains_key("allow"),
                    "{method} {path}: {}",
                    said.text
                );
            }
        }
    }
    for path in [
        "/api/v1",
        "/api/v1/",
        "/api/v1/stock",
        "/api/v1/held/shop/1",
        "/api/v2",
    ] {
        assert_eq!(get(port, "all", path).await.status, 404, "{path}");
    }
}

/// Whatever is sent, the API answers as its description says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_tries_everything_finds_the_description_kept() {
    let Some(program) = harness::channels::schemathesis() else {
        eprintln!("skipped: schemathesis is not installed; tests/channels/install schemathesis");
        return;
    };
    let receiver = Receiver::start(6, Faults::default()).await;
    receiver.held().rejected.push("ACME|C|MAIN".to_owned());
    let everything = format!(
        "{}\ntypes = {}\nrequests_per_minute = 60000",
        OPERATES.replace("scopes = [", "scopes = [\"published:read\", "),
        json!(contract::EventType::ALL.map(contract::EventType::name)),
    );
    let (site, port) = site(&receiver, &[("all", &everything)]);
    // It guesses tokens, too, and wants to see each guess refused.
    let file = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let often = "[local]\nunknown_tokens_per_minute = 60000\n";
    std::fs::write(&file, text.replace("[local]\n", often)).unwrap();
    let mut agent = site.agent();
    let held = |said: &Said| said.body["held"][0]["id"].is_string();
    until(port, "all", "/api/v1/held", &agent, held).await;
    let folder = tempfile::tempdir().unwrap();
    let tried = tokio::task::spawn_blocking(move || {
        Command::new(program)
            .args([
                "run",
                &format!("http://127.0.0.1:{port}/api/v1/openapi.json"),
            ])
            .args([
                "--header",
                &format!("Authorization: Bearer {}", secret("all")),
            ])
            .args([
                "--checks",
                "all",
                "--max-examples",
                "15",
                "--seed",
                "20261127",
            ])
            .args([
                "--phases",
                "examples,coverage,fuzzing",
                "--request-timeout",
                "15",
                "--continue-on-failure",
            ])
            .args(["--no-color", "--generation-database", "none"])
            .current_dir(folder.path())
            .output()
            .unwrap()
    });
    let tried = tried.await.unwrap();
    let said = String::from_utf8_lossy(&tried.stdout);
    let words = String::from_utf8_lossy(&tried.stderr);
    assert!(tried.status.success(), "{said}\n{words}\n{}", agent.log());
    assert!(
        said.contains("Test cases:") && !said.contains("Failures"),
        "{said}"
    );
    // And the agent has gone on.
    let said = get(port, "all", "/api/v1/status").await;
    assert_eq!(said.status, 200, "{}", said.text);
    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());
}
