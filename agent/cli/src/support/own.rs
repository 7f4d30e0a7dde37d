//! What our own commands and the running agent's local server say, each within a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use super::Had;

/// What reads files only.
pub(super) const SHORT: Duration = Duration::from_secs(15);
/// What asks sources and destinations.
pub(super) const CHECK: Duration = Duration::from_mins(1);
/// What reads all of the state file.
pub(super) const LONG: Duration = Duration::from_mins(1);

/// No answer of ours is larger.
const ANSWER_MAX: u64 = 8 << 20;
/// Where the local server listens unless the settings say otherwise.
const LISTEN: &str = "127.0.0.1:8350";

/// What a command of ours prints with `--json`.
///
/// # Errors
/// Why it is not had, in words.
pub(super) async fn json(
    settings: &Path,
    words: &[&str],
    within: Duration,
) -> Result<Value, String> {
    let name = format!("lighterman {}", words.join(" "));
    let answered = tokio::time::timeout(within, printed(settings, words)).await;
    let text = answered
        .map_err(|_| format!("{name} took longer than {} s", within.as_secs()))?
        .map_err(|error| format!("{name}: {error}"))?;
    serde_json::from_slice(&text).map_err(|_| format!("{name} printed no JSON of a size that fits"))
}

async fn printed(settings: &Path, words: &[&str]) -> std::io::Result<Vec<u8>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(words)
        .arg("--json")
        .arg("--config")
        .arg(settings)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(ANSWER_MAX).read_to_end(&mut text).await?;
    }
    // What it would still print is too much; its exit code says what the findings say.
    let _ = child.start_kill();
    let _ = child.wait().await;
    Ok(text)
}

/// What the local server tells monitoring, where there is one.
pub(super) async fn metrics(settings: &BTreeMap<String, Value>) -> Had {
    let listen = settings.get("local.listen").and_then(Value::as_str);
    if listen.is_none() && !settings.keys().any(|path| path.starts_with("local.")) {
        return Err(
            "the settings have no [local] block with a value in it, so nothing listens".to_owned(),
        );
    }
    let address = listen.unwrap_or(LISTEN);
    let address: SocketAddr = address
        .parse()
        .map_err(|_| format!("[local] listen is no address: {address}"))?;
    let asked = tokio::time::timeout(SHORT, get(address)).await;
    let text = asked
        .map_err(|_| format!("{address} did not answer within {} s", SHORT.as_secs()))?
        .map_err(|error| format!("{address}: {error}; does the agent run?"))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    if head.split(' ').nth(1) == Some("200") {
        Ok((body.to_owned(), Vec::new()))
    } else {
        let line = head.lines().next().unwrap_or_default();
        Err(format!("{address} answered {line}"))
    }
}

async fn get(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
