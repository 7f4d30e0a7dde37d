//! The door of the agent's local server: whoever asks badly, slowly or from elsewhere stops nothing.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use harness::local::{ask, get, get_as};
use harness::receiver::{Faults, Receiver};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::metrics::{SOON, holds, site, until};

/// Clients that take all connections and say nothing, or too much.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_and_rude_clients_stop_nothing() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(&receiver, "");
    let agent = site.agent();
    until(port, "/health/ready", &agent, |status, _| status == 200).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\n")
            .await
            .unwrap();
        silent.push(stream);
    }
    site.run("UPDATE stock SET qty = 77 WHERE sku = 'A'");
    assert!(holds(&receiver, "A", "77").await, "{}", agent.log());
    // They are put out, and others come in.
    until(port, "/health/live", &agent, |status, _| status == 200).await;

    let long = format!(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(64 << 10)
    );
    let answer = ask(port, long.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer}"
    );
    let (status, body) = get_as(port, "/metrics", "evil.example").await;
    assert!(
        status == 421 && !body.contains("lighterman_"),
        "{status} {body}"
    );
    let (status, _) = get_as(port, "/health/live", &format!("LOCALHOST:{port}")).await;
    assert_eq!(status, 200);
    let (status, body) = get(port, "/metric").await;
    assert!(
        status == 404 && body.contains("/metrics"),
        "{status} {body}"
    );
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_stops_nothing_else_and_an_open_one_is_refused() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(&receiver, "");
    let other = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let mut agent = site.agent();
    assert!(
        agent.logged("the local server cannot listen", SOON).await,
        "{}",
        agent.log()
    );
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());
    drop(other);
    until(port, "/health/ready", &agent, |status, _| status == 200).await;
    assert!(agent.terminate(SOON).await.is_some(), "{}", agent.log());

    let file = site.path().join("lighterman.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("127.0.0.1:", "0.0.0.0:")).unwrap();
    let (code, said) = site.command(&["check"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("can be reached from other machines"),
        "{said}"
    );
}
