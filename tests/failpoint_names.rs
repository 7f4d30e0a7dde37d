//! Points at which tests have the agent fail: each has a name of its own, and nothing that is released has one.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use cargo_metadata::{DependencyKind, MetadataCommand};

use super::root;

/// The names in the code below a folder, in the order of the files.
fn used(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            used(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            for call in ["failpoint::at!(\"", "failpoint::crash!(\""] {
                let calls = text.split(call).skip(1);
                found.extend(calls.map(|rest| rest.split('"').next().unwrap().to_owned()));
            }
        }
    }
}

#[test]
fn every_point_has_a_name_of_its_own_that_is_listed() {
    let mut found = Vec::new();
    for folder in ["agent/engine/src", "agent/cli/src", "state/src"] {
        used(&root().join(folder), &mut found);
    }
    let names: BTreeSet<&str> = found.iter().map(String::as_str).collect();
    let listed: BTreeSet<&str> = failpoint::NAMES.iter().copied().collect();
    assert_eq!(names, listed, "agent/failpoint/src/names.rs");
    assert_eq!(found.len(), names.len(), "a name stands twice: {found:?}");
    assert_eq!(listed.len(), failpoint::NAMES.len());
}

/// What is built for others has none: only tests turn them on.
#[test]
fn nothing_that_is_released_can_be_made_to_fail() {
    let metadata = MetadataCommand::new()
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .unwrap();
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let of = package.dependencies.iter();
        for dependency in of.filter(|one| one.name == "failpoint") {
            let tests = dependency.kind == DependencyKind::Development;
            if !tests && !dependency.features.is_empty() {
                wrong.push(format!("{} turns them on", package.name));
            }
        }
        for (feature, asks) in &package.features {
            let ours = package.name.as_str() == "failpoint" && feature == "on";
            let on = |ask: &String| ask.contains("failpoint/") || ask.contains("failpoint?/");
            if asks.iter().any(on) || feature == "default" && asks.contains(&"on".to_owned()) {
                wrong.push(format!("{}: feature {feature} turns them on", package.name));
            }
            assert!(!ours || asks == &["dep:rustix"], "{asks:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // And the resolver's own word.
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "lighterman"])
        .args(["--edges", "normal,features", "--invert", "failpoint"])
        .current_dir(root())
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&tree.stdout);
    assert!(tree.status.success(), "{tree:?}");
    assert!(shown.contains("failpoint v"), "{shown}");
    assert!(!shown.contains("failpoint feature \"on\""), "{shown}");
}
