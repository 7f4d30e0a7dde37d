//! The source is tried with what was written.

use std::path::Path;

use contract::{Finding, Level, Preparation};
use serde_json::{Value as Json, json};

use crate::{check, config, say};

/// What a try told.
pub(super) struct Tested {
    pub(super) findings: Vec<Finding>,
    /// By the source's name: what must be done there.
    prepared: Vec<(String, Preparation)>,
}

/// Looks at the source, and asks what must be done there. The settings' folder becomes the working folder.
pub(super) async fn test(folder: &Path) -> Tested {
    let mut tested = Tested {
        findings: Vec::new(),
        prepared: Vec::new(),
    };
    let here = std::env::current_dir();
    if let Err(error) = std::env::set_current_dir(folder) {
        let what = format!("open folder {}", folder.display());
        tested.findings.push(Finding::fail(what, error.to_string()));
        return tested;
    }
    match config::load_sources(Path::new("lighterman.toml")) {
        Ok(sources) => {
            for source in sources {
                tested.source(source).await;
            }
        }
        Err(findings) => tested.findings = findings,
    }
    // Paths of the command line are meant from where it was given.
    if let Ok(here) = here {
        let _ = std::env::set_current_dir(here);
    }
    tested
}

impl Tested {
    /// Nothing could be done there: where there is something to do, a fault is what that mends.
    pub(super) fn failed(&self) -> bool {
        let fails = self.findings.iter().any(|one| one.level == Level::Fail);
        fails && self.prepared.is_empty()
    }

    async fn source(&mut self, source: config::SourceConfig) {
        // Where nothing can be done, the look says why.
        if let Ok((setup, _)) = source.setup()
            && let Ok(preparation) = setup.source.prepare(false).await
        {
            self.prepared.push((source.name.clone(), preparation));
        }
        self.findings.extend(check::of_source(source).await);
    }

    pub(super) fn show(&self) {
        say(&self.findings);
        for (name, preparation) in &self.prepared {
            check::show(name, preparation);
        }
    }

    pub(super) fn json(&self) -> Json {
        let fails = self.findings.iter().any(|one| one.level == Level::Fail);
        let prepared: Vec<Json> = self
            .prepared
            .iter()
            .map(|(name, preparation)| json!({ "source": name, "preparation": preparation }))
            .collect();
        json!({ "passes": !fails, "findings": self.findings, "prepare": prepared })
    }
}
