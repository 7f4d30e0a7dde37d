//! A broker that answers as told, for what no real one does on demand.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use contract::gate::Open;
use contract::{Destination, Level, Outcome};
use harness::settings;
use harness::suite::destination::event;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const TOPIC: &str = "lighterman.product.v1";

/// What it does with the next request to produce.
#[derive(Debug, Clone, Copy)]
enum Produce {
    /// Closes the connection without an answer.
    Break,
    /// Answers with this error.
    Say(i16),
}

fn destination(port: u16, more: Value) -> Arc<dyn Destination> {
    let mut settings = more;
    settings["servers"] = json!([format!("127.0.0.1:{port}")]);
    settings::destination(destination_kafka::read, &settings)
}

fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
    out.extend(text.as_bytes());
}

type Script = Arc<Mutex<VecDeque<Produce>>>;

/// A broker that says it is at `host`, and does these things with requests to produce, one after the
/// other.
async fn broker(host: &'static str, produce: &[Produce]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Script::new(Mutex::new(produce.iter().copied().collect()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, host, port, Arc::clone(&script)));
        }
    });
    port
}

async fn serve(mut stream: TcpStream, host: &str, port: u16, script: Script) -> Option<()> {
    loop {
        let size = stream.read_i32().await.ok()?;
        let mut request = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut request).await.ok()?;
        let kind = i16::from_be_bytes([request[0], request[1]]);
        let mut out = request[4..8].to_vec();
        match kind {
            18 => {
                out.extend(0_i16.to_be_bytes());
                out.extend(3_i32.to_be_bytes());
                for (kind, version) in [(0_i16, 7_i16), (3, 4), (22, 1)] {
                    for number in [kind, version, version] {
                        out.extend(number.to_be_bytes());
                    }
                }
            }
            22 => {
                out.extend([0; 6]);
                out.extend(7_i64.to_be_bytes());
                out.extend(0_i16.to_be_bytes());
            }
            3 => {
                out.extend([0; 4]);
                out.extend(1_i32.to_be_bytes());
                out.extend(1_i32.to_be_bytes());
                text(&mut out, host);
                out.extend(i32::from(port).to_be_bytes());
                out.extend((-1_i16).to_be_bytes());
                out.extend((-1_i16).to_be_bytes());
                out.extend(1_i32.to_be_bytes());
                out.extend(1_i32.to_be_bytes());
                out.extend(0_i16.to_be_bytes());
                text(&mut out, TOPIC);
                out.push(0);
                out.extend(1_i32.to_be_bytes());
                out.extend(0_i16.to_be_bytes());
                for number in [0_i32, 1, 0, 0] {
                    out.extend(number.to_be_bytes());
                }
            }
            0 => {
                let next = script.lock().unwrap().pop_front();
                let Some(Produce::Say(error)) = next else {
                    return None;
                };
                out.extend(1_i32.to_be_bytes());
                text(&mut out, TOPIC);
                out.extend(1_i32.to_be_bytes());
                out.extend(0_i32.to_be_bytes());
                out.extend(error.to_be_bytes());
                out.extend([0; 24]);
                out.extend([0; 4]);
            }
            other => panic!("nobody asks for {other}"),
        }
        stream
            .write_i32(i32::try_from(out.len()).unwrap())
            .await
            .ok()?;
        stream.write_all(&out).await.ok()?;
    }
}

async fn one(destination: &Arc<dyn Destination>) -> Outcome {
    let batch = [event(1)];
    destination
        .deliver(&batch, &Open)
        .await
        .outcomes()
        .remove(0)
}

#[tokio::test]
async fn a_refusal_after_a_broken_connection_says_nothing_of_what_was_sent_first() {
    for error in [6, 19] {
        let port = broker("127.0.0.1", &[Produce::Break, Produce::Say(error)]).await;
        let outcome = one(&destination(port, json!({ "ignore_advertised": true }))).await;
        assert!(
            matches!(outcome, Outcome::Unknown { .. }),
            "{error}: {outcome:?}"
        );

        let port = broker("127.0.0.1", &[Produce::Say(error)]).await;
        let outcome = one(&destination(port, json!({ "ignore_advertised": true }))).await;
        assert!(
            matches!(outcome, Outcome::Retry { .. }),
            "{error}: {outcome:?}"
        );
    }
}

/// 0.0.0.0 is this machine to whoever dials it, and no loopback address.
#[tokio::test]
async fn a_broker_that_sends_us_to_another_machine_is_not_followed_there_in_plain() {
    let told = "broker 1 says that it is at 0.0.0.0:";
    let port = broker("0.0.0.0", &[Produce::Say(0)]).await;
    let refusing = destination(port, json!({}));
    let Outcome::Retry { cause, .. } = one(&refusing).await else {
        panic!("it must wait")
    };
    assert!(
        cause.contains(told) && cause.contains("ignore_advertised"),
        "{cause}"
    );
    drop(refusing);
    let finding = destination(port, json!({})).check().await.remove(0);
    assert!(
        finding.level == Level::Fail && finding.found.contains(told),
        "{finding}"
    );
    let outcome = one(&destination(port, json!({ "ignore_advertised": true }))).await;
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
}
