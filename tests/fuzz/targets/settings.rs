//! A settings file and variables above it: read as a tree with places, and as a list of what it says.
#![no_main]

use contract::finding::Level;
use contract::{Key, Node, NodeKind, Problems, Section};
use libfuzzer_sys::fuzz_target;

#[path = "../../../agent/cli/src/config/flat.rs"]
#[allow(dead_code, reason = "the rest is used by the command")]
mod flat;
#[path = "../../../agent/cli/src/config/overrides.rs"]
mod overrides;
#[path = "../../../agent/cli/src/toml_advice.rs"]
mod toml_advice;
#[path = "../../../agent/cli/src/toml_node.rs"]
mod toml_node;

// Behind a line of `===`, each line is a variable as `NAME=text`.
fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let (text, variables) = text.split_once("\n===\n").unwrap_or((text, ""));
    let problems = Problems::watched("lighterman.toml");
    let Some(mut root) = toml_node::parse(text, &problems) else {
        let findings = problems.take();
        assert!(!findings.is_empty(), "not read, and nobody says why");
        assert!(
            findings
                .iter()
                .all(|finding| finding.level == Level::Fail && finding.place.is_some())
        );
        return;
    };
    let lines = text.lines().count().max(1);
    within(&root, lines + 1);
    let variables = variables.lines().filter_map(|line| {
        let (name, text) = line.split_once('=')?;
        Some((name.to_owned(), text.to_owned()))
    });
    overrides::apply(&mut root, variables, &problems);
    sections(&root, &problems);
    let _ = flat::Flat::of(&root, &problems);
    for finding in problems.take() {
        assert!(!finding.found.is_empty() && !finding.to_string().is_empty());
    }
});

/// Every place that is told is in the file.
fn within(node: &Node, lines: usize) {
    let inside = |line: usize, column: usize| assert!((1..=lines).contains(&line) && column > 0);
    inside(node.line, node.column);
    match &node.kind {
        NodeKind::Map(entries) => {
            for (Key { line, column, .. }, node) in entries {
                inside(*line, *column);
                within(node, lines);
            }
        }
        NodeKind::List(items) => items.iter().for_each(|node| within(node, lines)),
        _ => {}
    }
}

/// Asks for what settings have, of every type; what nobody asked for is told by `finish`.
fn sections(root: &Node, problems: &Problems) {
    let mut top = Section::new(root, "", problems);
    let _ = top.text_or("state_folder", "state");
    let mut retention = top.section_or_empty("retention");
    let hours = retention.number("keep_hours", 0, 8_760);
    assert!(hours.is_none_or(|hours| hours <= 8_760));
    let _ = retention.or("events_max", hours, 1);
    retention.finish();
    for block in ["source", "destination", "alert"] {
        for mut section in top.sections(block) {
            let _ = section.required_text("name", "`name = \"erp\"`");
            let _ = section.texts("mappings");
            let _ = section.flag("allow_plain_http");
            let _ = section.word_or("mode", &["cdc", "tracking"], "cdc");
            let _ = section.number_or("port", 1, 65_535, 5_432);
            if let Some(mut inner) = section.section("snapshot") {
                let _ = inner.number("parallel", 1, 16);
                inner.finish();
            }
            section.finish();
        }
    }
    top.finish();
}
