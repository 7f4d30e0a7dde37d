//! The JSON Schema for editors: what the loader asks for, and every file that loads fits it.
//!
//! `BLESS=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

use contract::{Node, NodeKind};
use mappings::{Catalogue, LoadContext, Which, editor, packs, parse_yaml};
use serde_json::{Map, Value as Json, json};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
}

/// Files that load, with their texts: packs, the language's own tests, the page's whole file.
fn corpus() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    files(&root().join("packs"), &mut paths);
    files(&root().join("tests/language"), &mut paths);
    let read = |path: PathBuf| (path.clone(), std::fs::read_to_string(path).unwrap());
    let mut all: Vec<(PathBuf, String)> = paths.into_iter().map(read).collect();
    let docs = std::fs::read_to_string(root().join("../docs/mapping.md")).unwrap();
    let whole = docs
        .split("```yaml\n")
        .find(|block| block.starts_with("mapping:"));
    let whole = whole.unwrap().split("```").next().unwrap().to_owned();
    all.push((root().join("docs.yaml"), whole));
    all
}

fn context(path: &Path, load: impl FnOnce(LoadContext<'_>)) {
    let pack = |wanted: &str| {
        let beside = path.parent().unwrap().join(wanted);
        match std::fs::read_to_string(beside) {
            Ok(text) => Ok((wanted.to_owned(), text)),
            Err(_) => packs::shipped(wanted),
        }
    };
    load(LoadContext {
        company: Which::First,
        catalogue: &Catalogue::default(),
        packs: &pack,
    });
}

fn made() -> Json {
    let mut asked = Vec::new();
    for (path, text) in corpus() {
        context(&path, |context| {
            let watched = editor::watch(&path.display().to_string(), &text, context);
            match watched {
                Ok(found) => asked.push(found),
                // Packs that ask a person what no default answers load with a site file only.
                Err(findings) => assert!(
                    findings.iter().all(|f| f.found.contains("has no answer")),
                    "{findings:?}"
                ),
            }
        });
    }
    editor::schema(&asked)
}

fn json_of(node: &Node) -> Json {
    match &node.kind {
        NodeKind::Null => Json::Null,
        NodeKind::Bool(value) => json!(value),
        NodeKind::Number(text) => serde_json::from_str(text).unwrap_or_else(|_| json!(0.5)),
        NodeKind::Text(text) => json!(text),
        NodeKind::List(items) => items.iter().map(json_of).collect(),
        NodeKind::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.name.clone(), json_of(node)))
            .collect::<Map<String, Json>>()
            .into(),
    }
}

/// What is wrong with a value, by those words of JSON Schema that ours uses.
fn wrong(schema: &Json, value: &Json, root: &Json, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, said) in schema.as_object().into_iter().flatten() {
        match word.as_str() {
            "$ref" => {
                let name = said.as_str().unwrap().trim_start_matches("#/$defs/");
                found.extend(wrong(&root["$defs"][name], value, root, path));
            }
            "type" => {
                let is = |name: &Json| match name.as_str().unwrap() {
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                if !said
                    .as_array()
                    .map_or_else(|| is(said), |all| all.iter().any(is))
                {
                    found.push(format!("{path}: no {said}"));
                }
            }
            "enum" if !said.as_array().unwrap().contains(value) => {
                found.push(format!("{path}: none of {said}"));
            }
            "const" if said != value => found.push(format!("{path}: not {said}")),
            "minimum" | "maximum" => {
                let (value, bound) = (value.as_u64().unwrap_or(0), said.as_u64().unwrap());
                if word == "minimum" && value < bound || word == "maximum" && value > bound {
                    found.push(format!("{path}: {word} {said}"));
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(wrong(said, item, root, &format!("{path}[{n}]")));
                }
            }
            "required" => {
                for name in said.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        found.push(format!("{path}: {name} is missing"));
                    }
                }
            }
            "anyOf" => {
                let all: Vec<_> = said
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|one| wrong(one, value, root, path))
                    .collect();
                if all.iter().all(|wrong| !wrong.is_empty()) {
                    found.extend(all.into_iter().flatten());
                }
            }
            "allOf" => {
                for one in said.as_array().unwrap() {
                    found.extend(wrong(one, value, root, path));
                }
            }
            "if" => {
                let branch = if wrong(said, value, root, path).is_empty() {
                    "then"
                } else {
                    "else"
                };
                if let Some(branch) = schema.get(branch) {
                    found.extend(wrong(branch, value, root, path));
                }
            }
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    if let Some(one) = said.get(name) {
                        found.extend(wrong(one, item, root, &format!("{path}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    let path = format!("{path}.{name}");
                    if schema
                        .get("properties")
                        .is_some_and(|known| known.get(name).is_some())
                    {
                        continue;
                    }
                    if *said == json!(false) {
                        found.push(format!("{path}: unknown key"));
                    } else {
                        found.extend(wrong(said, item, root, &path));
                    }
                }
            }
            "enum" | "const" | "then" | "else" | "$defs" | "$schema" | "title" | "description" => {}
            other => panic!("the schema uses `{other}`"),
        }
    }
    found
}

#[test]
fn the_schema_is_what_the_loader_asks_for() {
    let made = serde_json::to_string_pretty(&made()).unwrap() + "\n";
    let path = root().join("mapping.schema.json");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(path, made).unwrap();
        return;
    }
    assert!(
        made == editor::SCHEMA,
        "mapping.schema.json; BLESS=1 writes it anew"
    );
}

#[test]
fn every_file_that_loads_fits_the_schema() {
    let schema: Json = serde_json::from_str(editor::SCHEMA).unwrap();
    for (path, text) in corpus() {
        let node = parse_yaml(&path.display().to_string(), &text).unwrap();
        let found = wrong(&schema, &json_of(&node), &schema, "");
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
    }
}

#[test]
fn what_an_editor_should_mark_is_marked() {
    let schema: Json = serde_json::from_str(editor::SCHEMA).unwrap();
    let text = std::fs::read_to_string(root().join("tests/language/joins.yaml")).unwrap();
    for (from, to, said) in [
        ("mapping: 1", "mapping: 2", "maximum"),
        ("pack: ", "pakc: ", ".pakc: unknown key"),
        (
            "    emit: inventory",
            "    emits: inventory",
            "emits: unknown key",
        ),
        (
            "      on_hand: ",
            "      onhand: ",
            ".fields.onhand: unknown key",
        ),
        (
            "    key: {sku: ",
            "    key: {item: ",
            ".key.item: unknown key",
        ),
        (
            "missing: hold",
            "missing: keep",
            "none of [\"hold\",\"null\",\"leave_out\",null]",
        ),
        (
            "        from: need\n",
            "        form: need\n",
            "add.demand.form: unknown key",
        ),
        ("else: hold", "else: stop", "none of [\"hold\",\"warn\"]"),
    ] {
        let broken = text.replacen(from, to, 1);
        assert_ne!(broken, text, "{from}");
        let node = parse_yaml("broken.yaml", &broken).unwrap();
        let found = wrong(&schema, &json_of(&node), &schema, "");
        assert!(
            found.iter().any(|found| found.contains(said)),
            "{to}: {found:?}"
        );
    }
}
