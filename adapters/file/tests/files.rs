//! Files as readers find them, after crashes and after others have been at them.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use contract::gate::Open;
use contract::{Destination, Level, Outcome, Outgoing};
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};

fn destination(folder: &Path, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["folder"] = json!(folder);
    settings::destination(destination_file::read, &settings)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with('.'))
        .filter(|path| path.extension().unwrap() != "torn")
        .collect();
    files.sort();
    files
}

async fn applied(shop: &Arc<dyn Destination>, events: &[Outgoing]) {
    for outcome in shop.deliver(events, &Open).await.outcomes() {
        assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    }
}

fn ids(text: &str) -> Vec<String> {
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    let parse = |line| serde_json::from_str::<Value>(line).unwrap();
    text.lines()
        .map(|line| parse(line)["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_line_is_the_event_byte_for_byte_whatever_stands_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let odd = Outgoing {
        key: "ACME|a\nb\"c".to_owned(),
        json: Bytes::from_static(b"{\"n\":1.10,\n\"t\":\"\\n\"}"),
        ..event(1)
    };
    applied(
        &destination(folder.path(), json!({})),
        &[odd.clone(), event(2)],
    )
    .await;
    let text = fs::read_to_string(&files(folder.path())[0]).unwrap();
    let first = text.lines().next().unwrap();
    // A line end between the parts of JSON is a space; all else stays.
    assert!(
        first.ends_with("\"data\":{\"n\":1.10, \"t\":\"\\n\"}}"),
        "{first}"
    );
    assert_eq!(ids(&text).len(), 2);

    applied(
        &destination(folder.path(), json!({ "format": "csv" })),
        &[odd],
    )
    .await;
    let csv = fs::read_to_string(&files(folder.path())[0]).unwrap();
    assert_eq!(
        csv,
        "\"id\",\"type\",\"subject\",\"op\",\"time\",\"source\",\"idempotencykey\",\"data\"\r\n\
         \"evt_00000000000000000000000000000001\",\"product.v1\",\"ACME|a\nb\"\"c\",\"upsert\",\
         \"1970-01-01T00:00:00Z\",\"/lighterman/acme/erp\",\"evt_00000000000000000000000000000001\",\
         \"{\"\"n\"\":1.10, \"\"t\"\":\"\"\\n\"\"}\"\r\n"
    );
}

/// What a crash may leave: the last line cut at any byte, or a page that never reached the disk.
#[tokio::test]
async fn a_torn_end_is_mended_and_the_event_that_was_torn_comes_again() {
    for format in ["json-lines", "csv"] {
        let more = || json!({ "format": format });
        let folder = tempfile::tempdir().unwrap();
        let odd = Outgoing {
            key: "ACME|x\n\"y".to_owned(),
            ..event(1)
        };
        applied(
            &destination(folder.path(), more()),
            std::slice::from_ref(&odd),
        )
        .await;
        let path = files(folder.path())[0].clone();
        let one = fs::read(&path).unwrap();
        applied(
            &destination(folder.path(), more()),
            &[Outgoing {
                offset: 2,
                ..odd.clone()
            }],
        )
        .await;
        let two = fs::read(&path).unwrap();
        applied(&destination(folder.path(), more()), &[event(3)]).await;
        let whole = fs::read(&path).unwrap();
        let third = &whole[two.len()..];
        let cuts = (one.len()..two.len())
            .step_by(29)
            .chain([two.len() - 1, two.len()]);
        for length in cuts {
            for hole in [false, true] {
                let mut torn = two[..length].to_vec();
                if hole {
                    torn.extend_from_slice(&[0; 40]);
                    torn.extend_from_slice(b"lost page\r\n");
                }
                fs::write(&path, &torn).unwrap();
                applied(&destination(folder.path(), more()), &[event(3)]).await;
                let left = if length == two.len() { &two } else { &one };
                let expected = [left.as_slice(), third].concat();
                let shown = String::from_utf8(fs::read(&path).unwrap()).unwrap();
                assert_eq!(
                    shown.as_bytes(),
                    expected,
                    "cut at {length}, {hole}: {shown}"
                );
            }
        }
        let torn = fs::read(path.with_extension(if format == "csv" {
            "csv.torn"
        } else {
            "jsonl.torn"
        }));
        assert!(!torn.unwrap().is_empty(), "what was cut off is kept");
        let findings = destination(folder.path(), more()).check().await;
        assert_eq!(findings[1].level, Level::Warn, "{findings:?}");
    }
}

#[tokio::test]
async fn a_file_that_is_full_is_followed_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let more = json!({ "file_megabytes_max": 1, "file_name": "a.b-c" });
    let shop = destination(folder.path(), more.clone());
    let large = Bytes::from(format!("{{\"t\":\"{}\"}}", "x".repeat(300_000)));
    let events: Vec<_> = (0..9)
        .map(|n| Outgoing {
            json: large.clone(),
            ..event(n)
        })
        .collect();
    applied(&shop, &events[..5]).await;
    drop(shop);
    applied(&destination(folder.path(), more), &events[5..]).await;
    let files = files(folder.path());
    let counts = files
        .iter()
        .map(|path| ids(&fs::read_to_string(path).unwrap()).len());
    assert_eq!(counts.collect::<Vec<_>>(), [3, 3, 3]);
    assert!(
        files[2].to_str().unwrap().ends_with("-0003.jsonl"),
        "{files:?}"
    );
}

#[tokio::test]
async fn files_that_others_move_cut_or_lock_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let shop = destination(folder.path(), json!({}));
    applied(&shop, &[event(1)]).await;
    let path = files(folder.path())[0].clone();
    // Moved away, as log rotation does: the next event is in a file that readers look for.
    let moved = folder.path().join("moved.old");
    fs::rename(&path, &moved).unwrap();
    applied(&shop, &[event(2)]).await;
    assert_eq!(ids(&fs::read_to_string(&path).unwrap()), [event(2).id]);
    // Cut in place: what follows begins at the beginning, without a hole.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    applied(&shop, &[event(3)]).await;
    assert_eq!(ids(&fs::read_to_string(&path).unwrap()), [event(3).id]);
    // A second agent with the same files would cut off what the first is writing.
    let second = destination(folder.path(), json!({}));
    let outcome = second
        .deliver(&[event(4)], &Open)
        .await
        .outcomes()
        .remove(0);
    let Outcome::Retry { cause, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert!(cause.contains("another process writes shop-*"), "{cause}");
    drop(shop);
    applied(&second, &[event(4)]).await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_said_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let finding = destination(&none, json!({})).check().await.remove(0);
    assert_eq!(finding.level, Level::Fail);
    assert!(finding.found.contains("none does not exist"), "{finding}");
    fs::write(&none, "a file").unwrap();
    let finding = destination(&none, json!({})).check().await.remove(0);
    assert!(finding.found.contains("is not a folder"), "{finding}");
    let outcome = destination(&none, json!({}))
        .deliver(&[event(1)], &Open)
        .await;
    let outcome = outcome.outcomes().remove(0);
    assert!(
        matches!(&outcome, Outcome::Retry { cause, .. } if cause.contains("none")),
        "{outcome:?}"
    );
    let finding = destination(folder.path(), json!({}))
        .check()
        .await
        .remove(0);
    assert_eq!(finding.level, Level::Pass, "{finding}");

    let wrong = settings::problems(
        destination_file::read,
        &json!({ "folder": "/x", "file_name": "../x", "format": "xml", "megabytes": 1 }),
    );
    for part in [
        "file_name: may have letters",
        "format: `xml` is not one of",
        "unknown key `megabytes`",
    ] {
        assert!(wrong.contains(part), "{wrong}");
    }
}
