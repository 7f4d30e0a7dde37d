//! The system's Chromium, driven over a page by what `tests/browser/install` has installed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

/// How long a walk may take: many of them load every page twice.
const WALK_MAX: Duration = Duration::from_mins(5);

/// A browser that walks as `tests/browser/walk.js` says.
#[derive(Debug)]
pub struct Browser {
    chromium: PathBuf,
    modules: PathBuf,
}

impl Browser {
    /// The one that is installed; `None`, and a line that says so, where there is none.
    pub fn installed(test: &str) -> Option<Self> {
        let chromium = ["chromium", "chromium-browser"]
            .iter()
            .map(|name| Path::new("/usr/bin").join(name))
            .find(|path| path.exists());
        let modules = crate::postgres::cache().join("browser");
        let named = |folder: &Path| std::fs::read(folder.join("package-lock.json")).ok();
        let is_current = named(&modules).is_some() && named(&modules) == named(&source());
        match chromium {
            Some(chromium) if is_current => Some(Self {
                chromium,
                modules: modules.join("node_modules"),
            }),
            Some(_) => {
                skipped(test, "run ./tests/browser/install");
                None
            }
            None => {
                skipped(test, "there is no Chromium (Debian's package chromium)");
                None
            }
        }
    }

    /// Walks, told these words.
    ///
    /// # Panics
    /// When something is not as it should be; the message says what.
    pub async fn walk(&self, walk: &str, mut words: Value) {
        words["chromium"] = json!(self.chromium);
        let walking = Command::new("node")
            .arg(source().join("walk.js"))
            .args([walk, &words.to_string()])
            .env("NODE_PATH", &self.modules)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let walked = tokio::time::timeout(WALK_MAX, walking).await;
        let walked = walked.unwrap_or_else(|_| panic!("{walk} does not end"));
        let walked = walked.unwrap_or_else(|error| panic!("node for {walk}: {error}"));
        let said = String::from_utf8_lossy(&walked.stderr);
        assert!(walked.status.success(), "{walk}: {said}");
    }
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser")
}

fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    let line = format!("skipped: {test}: {why}\n");
    // Past the test's capture, so that a run shows what it left out.
    let _ = std::io::stderr().write_all(line.as_bytes());
}
