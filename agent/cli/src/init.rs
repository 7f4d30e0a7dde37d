//! `lighterman init`: a settings file with every key explained, and a mapping to start from.

use std::path::Path;

use contract::Finding;

use crate::{Exit, out, refuse};

const HEAD: &str = r#"# Settings of the Lighterman agent. Paths are relative to this file.
tenant = "my-company"
state_folder = "state"           # positions, events on their way, what was published

# [retention]                    # how long delivered events stay readable
# keep_hours = 24
# events_max = 100000

# [log]                          # docs/operating/logs.md
# level = "info"                 # error, warn, info, debug, trace
# files = true                   # JSON lines beside what goes to standard error
# folder = "state/logs"
# keep_days = 14
# file_bytes_max = 16_777_216
# total_bytes_max = 268_435_456

# [disk]                         # sources are not read while the state folder's disk has less free
# reserve_mib = 1024             # else 5 % of it, from 64 MiB to 1 GiB

[local]                          # health and metrics for monitoring; without this block nothing listens
listen = "127.0.0.1:8350"        # only this machine reaches it
# oldest_delivery_seconds = 900  # a change that waits longer makes /health/ready say no
# behind_proxy = true            # another address: a reverse proxy with TLS and a login stands in front

# [[local.token]]                # who may ask the local API for what: docs/operating/api.md
# name = "reports"
# secret = { env = "LIGHTERMAN_REPORTS_TOKEN" }
# scopes = ["published:read"]
# types = ["inventory.availability.v1"]
"#;

/// Written for PostgreSQL; `source:` is its only line about the kind of database.
const MAPPING: &str = include_str!("../../../mappings/packs/starter/starter.yaml");

/// The settings file `init` writes.
pub(crate) fn settings(source: &str, destination: &str) -> Option<String> {
    let source = registry::SOURCES.iter().find(|kind| kind.name == source)?;
    let destination = registry::DESTINATIONS
        .iter()
        .find(|kind| kind.name == destination)?;
    Some(format!(
        "{HEAD}\n{}\n{}",
        source.example, destination.example
    ))
}

pub(crate) fn init(folder: &Path, source: &str, json: bool) -> Exit {
    let Some(settings) = settings(source, "webhook") else {
        let names: Vec<_> = registry::SOURCES.iter().map(|kind| kind.name).collect();
        let finding = Finding::fail("--source", format!("there is no source `{source}`"))
            .fix(format!("one of {}", names.join(", ")));
        return refuse(&[finding], json);
    };
    let kind = registry::SOURCES.iter().find(|kind| kind.name == source);
    let lines = kind.map_or("", |kind| kind.mapping);
    let mapping = MAPPING.replace("source: postgres", lines);
    let mut written = Vec::new();
    let mut kept = Vec::new();
    for (name, text) in [
        ("lighterman.toml", settings.as_str()),
        ("mapping.yaml", mapping.as_str()),
    ] {
        let path = folder.join(name);
        if path.exists() {
            kept.push(path.display().to_string());
            continue;
        }
        let done = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        if let Err(error) = done {
            let what = format!("write {}", path.display());
            return refuse(&[Finding::fail(what, error.to_string())], json);
        }
        written.push(path.display().to_string());
    }
    if json {
        out(&serde_json::json!({ "written": written, "kept": kept }).to_string());
    } else {
        for path in kept {
            out(&format!("{path} exists already and is left alone"));
        }
        for path in written {
            out(&format!("wrote {path}"));
        }
        out("Next: edit both, then lighterman check, lighterman source prepare, lighterman run.");
    }
    Exit::Ok
}
