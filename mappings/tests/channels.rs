//! Destination files: what is shipped is right, what is broken is told with its place.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::channel::{AUTHS, BROKEN, WHOLE, with_auth};
use crate::common::golden;
use mappings::channel::{self as channels, Answers, SHIPPED, declared, load, offline};

fn found(text: &str) -> String {
    let loaded = declared("broken.yaml", text)
        .and_then(|settings| load("broken.yaml", text, &Answers::open(settings)));
    match loaded {
        Ok(_) => "loads\n".to_owned(),
        Err(findings) => findings.iter().fold(String::new(), |mut all, finding| {
            let _ = writeln!(all, "{finding}");
            all
        }),
    }
}

/// `WHOLE` with one text replaced by another.
fn broken(from: &str, to: &str) -> String {
    assert!(WHOLE.contains(from), "{from}");
    WHOLE.replacen(from, to, 1)
}

#[test]
fn broken_files_are_told_with_their_place() {
    let mut all = String::new();
    for (name, from, to) in BROKEN {
        let _ = write!(all, "== {name}\n{}\n", found(&broken(from, to)));
    }
    assert!(!all.contains("\nloads"), "{all}");
    assert!(BROKEN.len() >= 30);
    golden("broken_channels.txt", &all);
}

#[test]
fn the_whole_file_loads_and_its_tests_pass() {
    assert_eq!(found(WHOLE), "loads\n");
    for (name, judged) in offline("whole.yaml", WHOLE).unwrap() {
        judged.unwrap_or_else(|finding| panic!("{name}: {finding}"));
    }
}

#[test]
fn shipped_channels_load_and_their_tests_pass() {
    let mut wrong = String::new();
    for (file, text) in SHIPPED {
        match offline(file, text) {
            Err(findings) => findings
                .iter()
                .for_each(|finding| writeln!(wrong, "{finding}").unwrap()),
            Ok(all) => {
                assert!(!all.is_empty(), "{file} has no tests");
                for (_, judged) in all {
                    if let Err(finding) = judged {
                        writeln!(wrong, "{finding}").unwrap();
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_page_says_what_is_so() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/channels.md"))
        .unwrap();
    let file = docs
        .split_once("```yaml\n")
        .unwrap()
        .1
        .split_once("```")
        .unwrap()
        .0;
    assert_eq!(found(file), "loads\n");
    // Every form and every key of the file has a place on the page.
    let schema: serde_json::Value = serde_json::from_str(channels::SCHEMA).unwrap();
    let mut keys = Vec::new();
    names(&schema, &mut keys);
    for form in [
        "$text", "$keep", "$items", "$each", "$join", "$when", "$member", "$pick", "$keys",
    ] {
        keys.push(form.to_owned());
    }
    keys.retain(|key| !docs.contains(key.as_str()));
    assert!(keys.is_empty(), "{keys:?}");
}

fn names(json: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(properties) = json
        .get("properties")
        .and_then(serde_json::Value::as_object)
    {
        found.extend(properties.keys().cloned());
    }
    match json {
        serde_json::Value::Object(members) => members.values().for_each(|one| names(one, found)),
        serde_json::Value::Array(items) => items.iter().for_each(|one| names(one, found)),
        _ => {}
    }
}

#[test]
fn a_test_that_is_wrong_is_told() {
    let text = WHOLE.replace("outcomes: [applied]", "outcomes: [rejected]");
    let judged = offline("whole.yaml", &text).unwrap();
    assert!(
        judged.iter().any(|(_, judged)| judged
            .as_ref()
            .is_err_and(|finding| finding.found.contains("outcome 1 is `applied`"))),
        "{judged:?}"
    );
}

/// A second half would be put over the first, and the first be taken for done.
#[test]
fn what_is_put_as_one_document_is_never_halved() {
    let text = r#"channel: documents
title: Documents
proven: documentation
resend: safe
settings: {url: {type: url, ask: where?}}
url: setting.url
auth: none
limits: {bytes: 1KiB}
events:
  product.v1:
    batch: 10
    steps:
      - send: {post: /documents, group: "'all'", done: place, take: {place: place}}
      - send: {put: "{found.place}", away: [files.example], group: found.place, body: {items: {$items: {name: name}}}, done: {status: 200}}
    delete: same
tests:
  - name: refused
    given: [{type: product.v1, key: {sku: A}, body: {name: a}}, {type: product.v1, key: {sku: B}, body: {name: b}}]
    exchanges:
      - answer: {body: {place: "https://files.example/1"}}
      - {request: {put: "https://files.example/1", body: {items: [{name: a}, {name: b}]}}, answer: {status: 400}}
    outcomes: [rejected, rejected]
  - name: too large
    given: [{type: product.v1, key: {sku: A}, body: {name: LONG}}, {type: product.v1, key: {sku: B}, body: {name: LONG}}]
    exchanges: [{answer: {body: {place: "https://files.example/1"}}}]
    outcomes: [{rejected: larger than}, {rejected: larger than}]
"#;
    let text = text.replace("LONG", &"x".repeat(600));
    for (name, judged) in offline("documents.yaml", &text).unwrap() {
        judged.unwrap_or_else(|finding| panic!("{name}: {finding}"));
    }
}

/// One key that an API cannot even be asked about must not take the others of its request with it.
#[test]
fn a_look_up_that_is_refused_as_a_whole_is_asked_in_halves() {
    let file = r#"
channel: halves
title: Halves
proven: documentation
resend: safe
url: "'https://shop.example'"
auth: none
events:
  product.v1:
    batch: 10
    steps:
      - find: {name: item, by: sku, get: /items, query: {skus: {$keys: true, join: ","}}, list: items, key: sku, take: {item: id}, missing: missing}
      - send: {post: /items, body: {items: {$items: {id: found.item}}}, done: ok}
    delete: same
tests:
  - name: one is refused
    given: [{type: product.v1, key: {sku: A}}, {type: product.v1, key: {sku: B}}, {type: product.v1, key: {sku: BAD}}]
    exchanges:
      - {request: {get: "/items?skus=A%2CB%2CBAD"}, answer: {status: 400, body: {message: too long}}}
      - {request: {get: "/items?skus=A"}, answer: {body: {items: [{sku: A, id: 1}]}}}
      - {request: {body: {items: [{id: 1}]}}, answer: {body: {ok: true}}}
      - {request: {get: "/items?skus=B%2CBAD"}, answer: {status: 400, body: {message: too long}}}
      - {request: {get: "/items?skus=B"}, answer: {body: {items: [{sku: B, id: 2}]}}}
      - {request: {body: {items: [{id: 2}]}}, answer: {body: {ok: true}}}
      - {request: {get: "/items?skus=BAD"}, answer: {status: 400, body: {message: too long}}}
    outcomes: [applied, applied, {rejected: too long}]
"#;
    for (name, judged) in offline("halves.yaml", file).unwrap() {
        judged.unwrap_or_else(|finding| panic!("{name}: {finding}"));
    }
}

/// `BLESS=1` writes it anew.
#[test]
fn the_schema_is_what_the_loader_asks_for() {
    let mut asked = vec![
        channels::watch("whole.yaml", WHOLE).unwrap_or_else(|findings| panic!("{findings:?}")),
    ];
    for auth in AUTHS {
        let text = with_auth(auth);
        asked.push(
            channels::watch("least.yaml", &text)
                .unwrap_or_else(|findings| panic!("{auth}: {findings:?}")),
        );
    }
    for (file, text) in SHIPPED {
        asked.push(channels::watch(file, text).unwrap_or_else(|findings| panic!("{findings:?}")));
    }
    let made = format!("{:#}\n", channels::schema(&asked));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("channel.schema.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        made,
        "set BLESS=1 to write channel.schema.json anew"
    );
    let json: serde_json::Value = serde_json::from_str(channels::SCHEMA).unwrap();
    assert_eq!(
        json["properties"]["proven"]["enum"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}
