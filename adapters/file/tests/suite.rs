//! The file destination passes the suite of every destination, in both forms.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use contract::Destination;
use harness::settings;
use harness::suite::destination::{DestinationBackend, Fault, run};
use serde_json::json;

struct Backend {
    folder: tempfile::TempDir,
    format: &'static str,
}

fn destination(folder: &Path, format: &str) -> Arc<dyn Destination> {
    let settings = json!({ "folder": folder, "format": format });
    settings::destination(destination_file::read, &settings)
}

#[async_trait]
impl DestinationBackend for Backend {
    fn destination(&self) -> Arc<dyn Destination> {
        destination(self.folder.path(), self.format)
    }

    fn faults(&self) -> &'static [Fault] {
        &[]
    }

    fn fail_next(&self, _: Fault) {}

    fn effects(&self, id: &str) -> usize {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let texts = entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap());
        let (json, csv) = (
            format!("\"id\":\"{id}\",\"source\""),
            format!("\"{id}\",\""),
        );
        // What is told again stands there again, so a reader must know it: by the id.
        let held = |text: String| text.contains(&json) || text.contains(&csv);
        let mut texts = texts;
        usize::from(texts.any(held))
    }

    fn nobody(&self) -> Arc<dyn Destination> {
        destination(&self.folder.path().join("none"), self.format)
    }
}

#[tokio::test]
async fn passes_the_suite() {
    for format in ["json-lines", "csv"] {
        let folder = tempfile::tempdir().unwrap();
        run(&Backend { folder, format }).await;
    }
}
