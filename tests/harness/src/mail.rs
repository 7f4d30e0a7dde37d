//! A real mail server (aiosmtpd) that keeps what it is sent, and refuses as it is told.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::certificates::Certificates;
use crate::server::{Ready, Server};

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A running mail server.
pub struct Mail {
    server: Server,
    certificates: Certificates,
}

impl Mail {
    /// Starts one: `settings` as `tests/smtp/server.py` reads them, `tls` among them.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    pub fn start(settings: &Value) -> Self {
        let certificates = Certificates::new();
        let server = Server::start(
            "aiosmtpd",
            |folder| {
                fs::write(folder.join("settings.json"), settings.to_string()).unwrap();
                for name in ["server.crt", "server.key"] {
                    fs::copy(certificates.file(name), folder.join(name)).unwrap();
                }
            },
            launch,
            Ready::Says("ready"),
        );
        Self {
            server,
            certificates,
        }
    }

    /// One that takes every letter, without encryption.
    ///
    /// # Panics
    /// As [`Mail::start`].
    pub fn plain() -> Self {
        Self::start(&json!({ "tls": "none" }))
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// The authority that signed its certificate.
    pub fn authority(&self) -> String {
        self.certificates.file("ca.crt").display().to_string()
    }

    /// Stops it at once.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Starts it again, where it was.
    ///
    /// # Panics
    /// When it does not start again.
    pub fn start_again(&mut self) {
        self.server.start_again();
    }

    /// What it was sent, oldest first.
    pub fn letters(&self) -> Vec<Value> {
        let file = self.server.folder().join("letters.jsonl");
        let text = fs::read_to_string(file).unwrap_or_default();
        // The last line may be half written.
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        whole
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Waits until its letters are as wanted; what they are when `limit` passed first.
    ///
    /// # Errors
    /// The letters, where they are not as wanted.
    pub async fn wait(
        &self,
        limit: Duration,
        wanted: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>, Vec<Value>> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            let letters = self.letters();
            if wanted(&letters) {
                return Ok(letters);
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(letters);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn launch(_: &Path, port: u16) -> Command {
    // The system's own, which has the package.
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../smtp/server.py"))
        .arg(port.to_string());
    command
}
