//! What the tree itself must keep.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod failpoint_names;
mod log_codes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

/// Which of our crates a crate may use. A source or destination may use the contract only; those that
/// speak HTTP share its client, and the one that does what destination files say reads them.
fn allowed(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "contract" | "failpoint" => &[],
        "mappings" | "harness" | "http-client" => &["contract"],
        "state" => &["contract", "failpoint"],
        "destination-webhook" => &["contract", "http-client"],
        "destination-channel" => &["contract", "http-client", "mappings"],
        "engine" => &["contract", "failpoint", "mappings", "state"],
        "lighterman" => &[
            "contract",
            "engine",
            "failpoint",
            "http-client",
            "mappings",
            "registry",
            "state",
        ],
        // What destinations of brokers share; no other adapter uses it.
        "broker" => &["contract"],
        "destination-nats" | "destination-redis" | "destination-mqtt" | "destination-kafka"
        | "destination-amqp" => &["contract", "broker"],
        // The registry is the one place that knows adapters.
        "registry" => return None,
        name if name.starts_with("source-") || name.starts_with("destination-") => &["contract"],
        _ => return None,
    })
}

#[test]
fn crates_depend_in_one_direction_only() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let ours: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|package| (package.name.to_string(), package))
        .collect();
    let names: BTreeSet<_> = ours.keys().cloned().collect();
    let mut wrong = Vec::new();
    for (name, package) in &ours {
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development || !names.contains(&dependency.name) {
                continue;
            }
            let adapter = dependency.name.starts_with("source-")
                || dependency.name.starts_with("destination-");
            let fine = allowed(name).map_or_else(
                || name == "registry" && (adapter || dependency.name == "contract"),
                |allowed| allowed.contains(&dependency.name.as_str()),
            );
            if !fine {
                wrong.push(format!("{name} uses {}", dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_contract_has_no_runtime_and_no_io() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let contract = metadata
        .packages
        .iter()
        .find(|p| p.name.as_str() == "contract")
        .unwrap();
    for banned in ["tokio", "rusqlite", "reqwest", "axum", "notify", "tracing"] {
        assert!(
            !contract.dependencies.iter().any(|d| d.name == banned),
            "{banned}"
        );
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A crate's tests are one program, whose root names its files: a file that it forgets would be compiled
/// by nobody.
#[test]
fn no_file_of_tests_is_left_out() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let mut roots = BTreeSet::new();
    let mut folders = BTreeSet::new();
    for package in &metadata.packages {
        for target in &package.targets {
            roots.insert(target.src_path.canonicalize().unwrap());
        }
        let own = package.manifest_path.parent().unwrap().join("tests");
        folders.extend(own.canonicalize());
    }
    // The product's own.
    folders.extend(root().join("tests").canonicalize());
    let mut wrong = Vec::new();
    for folder in &folders {
        let mut named = String::new();
        for root in roots.iter().filter(|root| root.parent() == Some(folder)) {
            named.push_str(&std::fs::read_to_string(root).unwrap());
        }
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let root = path.join("main.rs");
            let module = path.file_stem().unwrap().to_string_lossy().into_owned();
            let missing = if path.is_dir() {
                root.exists() && !roots.contains(&root)
            } else {
                path.extension().is_some_and(|end| end == "rs")
                    && !roots.contains(&path)
                    && !named.lines().any(|line| line == format!("mod {module};"))
            };
            if missing {
                wrong.push(path);
            }
        }
    }
    assert!(wrong.is_empty(), "no test program has {wrong:#?}");
}

/// Documents name files and tests; a renamed one must not leave them lying.
#[test]
fn what_the_documents_name_exists() {
    let root = root();
    let mut wrong = Vec::new();
    for document in [
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "README.md",
        "adapters/README.md",
        "docs/security.md",
    ] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let mut file = String::new();
        for word in text.split('`').skip(1).step_by(2) {
            let path = word.split([' ', '*']).next().unwrap_or("");
            let ours = [
                "agent/",
                "adapters/",
                "mappings/",
                "state/",
                "tests/",
                "docs/",
            ];
            if ours.iter().any(|folder| path.starts_with(folder)) {
                let at = root.join(path.trim_end_matches('/'));
                if !at.exists() {
                    wrong.push(format!("{document}: {path}"));
                }
                file = std::fs::read_to_string(at).unwrap_or_default();
            } else if word.matches('_').count() > 2
                && word
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit())
                && !file.contains(&format!("fn {word}()"))
            {
                wrong.push(format!(
                    "{document}: test {word} is not in the file before it"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Each workflow of the users' page is walked by some test.
#[test]
fn every_workflow_has_a_test() {
    let rows = |document: &str| -> BTreeMap<u32, String> {
        let text = std::fs::read_to_string(root().join(document)).unwrap();
        let rows = text.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
            Some((number.parse().ok()?, rest.to_owned()))
        });
        rows.collect()
    };
    let workflows = rows("docs/operating/workflows.md");
    let walked = rows("CONTRIBUTING.md");
    assert!((1..=12).all(|number| workflows.contains_key(&number)));
    let missing: Vec<_> = workflows
        .keys()
        .filter(|number| {
            walked
                .get(number)
                .is_none_or(|row| !row.contains("`tests/"))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?} is walked by no test");
}

/// The crates that we write have none: each takes the workspace's lints, and those forbid it.
#[test]
fn no_crate_of_ours_has_unsafe_code() {
    let lints = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(lints.contains("unsafe_code = \"forbid\""));
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let without = metadata.packages.iter().filter(|package| {
        let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
        !manifest.contains("[lints]\nworkspace = true")
    });
    let without: Vec<_> = without.map(|package| package.name.to_string()).collect();
    assert!(without.is_empty(), "{without:?}");
}

/// Each threat of the page has what shows that it is answered.
#[test]
fn every_threat_has_a_test() {
    let page = std::fs::read_to_string(root().join("docs/security.md")).unwrap();
    let mut in_table = false;
    let mut threats = 0;
    for line in page.lines() {
        in_table = line.starts_with('|') && (in_table || line.starts_with("| threat |"));
        if !in_table || line.starts_with("| threat |") || line.starts_with("|---") {
            continue;
        }
        let shown = line.trim_end_matches('|').rsplit('|').next().unwrap();
        assert!(
            shown.contains(".rs`") || shown.contains("the same"),
            "nothing shows: {line}"
        );
        threats += 1;
    }
    assert!(threats > 30, "{threats}");
}

/// So that whoever changes code that a planted bug stands in hears of it at once, and not when it is that bug's turn.
#[test]
fn every_planted_bug_fits_the_code() {
    let folder = root().join("tests/planted");
    let mut looked_at = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "patch") {
            continue;
        }
        let patch = std::fs::read_to_string(&path).unwrap();
        let (mut code, mut before) = (String::new(), String::new());
        // What a hunk leaves and what it takes away stands in the file, line by line.
        for line in patch.lines().chain(["@@"]) {
            let ends = line.starts_with("@@") || line.starts_with("diff ");
            if ends && !before.is_empty() {
                let found = code.contains(&before);
                assert!(found, "{}: nowhere is\n{before}", path.display());
                looked_at += 1;
                before.clear();
            }
            if let Some(file) = line.strip_prefix("+++ b/") {
                code = std::fs::read_to_string(root().join(file)).unwrap();
            } else if !code.is_empty() && !line.starts_with("--- ") {
                let kept = line.strip_prefix(' ').or(line.strip_prefix('-'));
                let empty = line.is_empty().then_some("");
                before.extend(kept.or(empty).map(|kept| format!("{kept}\n")));
            }
        }
    }
    assert!(looked_at >= 30, "only {looked_at} places");
}
