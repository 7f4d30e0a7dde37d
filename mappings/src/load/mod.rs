//! Loading a mapping file: every problem at once, each with its place and a suggestion.

mod becomes;
mod blocks;
mod constant;
mod event;
mod field;
mod history;
mod links;
mod made_of;
mod nested;
mod read;
mod scope;
mod settings;
mod site;
mod tests;
mod words;

use std::collections::HashSet;
use std::sync::Arc;

use contract::event::digest;
use contract::finding::Level;
use contract::section::{Key, Problems};
use contract::{BodySchema, Finding, MappingRef, Node, NodeKind, Section};

use crate::catalogue::Catalogue;
use crate::rule::{Field, Rule};
use crate::set::Mapping;
use crate::yaml::{FINDINGS_MAX, parse_yaml};
use made_of::made_of;
use scope::Shared;
pub(crate) use words::did_you_mean;

/// Kinds of sources a file may be written for.
const SOURCES: &[&str] = &["postgres", "sqlite", "sqlserver", "mariadb", "mysql"];

/// Finds a pack by what `extends` says: its file's name and text, or why there is none.
pub type FindPack<'a> = &'a dyn Fn(&str) -> Result<(String, String), String>;

/// Which of a file's companies is meant, where each has a database of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// There must be only one.
    Only,
    /// The first: for looking at the file itself.
    First,
    /// That one.
    Named(&'a str),
}

/// What loading a file may know beside the file.
#[derive(Clone, Copy)]
pub struct LoadContext<'a> {
    /// Which company the source captures, where the file lists several databases.
    pub company: Which<'a>,
    /// What the live database says about its tables.
    pub catalogue: &'a Catalogue,
    /// Where packs come from.
    pub packs: FindPack<'a>,
}

impl Mapping {
    /// Loads and checks one mapping file offline. `file` is its name as the user gave it.
    ///
    /// # Errors
    /// Every problem found, with file, line, column and a suggestion where there is one.
    pub fn load(file: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let context = LoadContext {
            company: Which::Only,
            catalogue: &Catalogue::default(),
            packs: &crate::packs::shipped,
        };
        Self::load_with(file, text, context)
    }

    /// Loads and checks one mapping file.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub fn load_with(
        file: &str,
        text: &str,
        context: LoadContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        load_answered(file, text, context, &Problems::new(file), &[])
    }

    /// As [`Mapping::load_with`], with other answers to its settings than the file's own.
    ///
    /// # Errors
    /// As [`Mapping::load`].
    pub(crate) fn load_with_answers(
        file: &str,
        text: &str,
        context: LoadContext<'_>,
        answers: &[(Key, Node)],
    ) -> Result<Self, Vec<Finding>> {
        load_answered(file, text, context, &Problems::new(file), answers)
    }
}

/// As [`Mapping::load_with`]; whoever watches sees what the sections are asked for.
pub(crate) fn load_watched(
    file: &str,
    text: &str,
    context: LoadContext<'_>,
    problems: &Problems,
) -> Result<Mapping, Vec<Finding>> {
    load_answered(file, text, context, problems, &[])
}

fn load_answered(
    file: &str,
    text: &str,
    context: LoadContext<'_>,
    problems: &Problems,
    answers: &[(Key, Node)],
) -> Result<Mapping, Vec<Finding>> {
    let own = parse_yaml(file, text)?;
    let mut texts = vec![text.to_owned()];
    let mut root = site::extended(own, problems, context.packs, &mut texts)?;
    if let NodeKind::Map(entries) = &mut root.kind {
        site::answer(entries, answers, problems);
    }
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mapping = load(&root, problems, &texts, context);
    let findings = problems.take();
    // Two fields that use one dictionary find the same mistake in it; so do two companies.
    let mut said: HashSet<String> = HashSet::new();
    let mut findings: Vec<Finding> = findings
        .into_iter()
        .filter(|finding| said.insert(finding.to_string()))
        .collect();
    let failed = findings.iter().any(|finding| finding.level == Level::Fail);
    if failed {
        // A warning about a broken file is mostly an echo of what is broken.
        findings.retain(|finding| finding.level == Level::Fail);
    }
    findings.truncate(FINDINGS_MAX);
    match mapping {
        Some(mapping) if !failed => Ok(Mapping {
            warnings: findings,
            ..mapping
        }),
        _ => Err(findings),
    }
}

fn load(
    root: &Node,
    problems: &Problems,
    texts: &[&str],
    context: LoadContext<'_>,
) -> Option<Mapping> {
    let digest = digest(texts);
    let mut top = Section::new(root, "", problems);
    if top.number("mapping", 1, 1).is_none() && top.get("mapping").is_none() {
        top.missing(
            "mapping",
            "`mapping: 1`, the version of the mapping language",
        );
    }
    let pack = top.required_name("pack", "`pack: my-erp-stock`");
    let version = top.required_name("pack_version", "`pack_version: \"1.0.0\"`");
    let source = top.word("source", SOURCES);
    let settings = settings::settings(&mut top, problems);
    let clean = blocks::clean(&mut top, &settings);
    let fold = clean.cleaning.fold;
    let (dictionaries, dictionary_places) = blocks::dictionaries(&mut top, problems, fold);
    let units = blocks::units(&mut top, problems, fold);
    let (split, companies) = blocks::companies(&mut top, problems, context.company);
    let schema = blocks::default_schema(&mut top, source, &settings);
    let none = Catalogue::default();
    // A company's own tables have other names than those that stand in the file.
    let plain = split == blocks::Split::Database || split == blocks::Split::Column;
    let catalogue = if plain { context.catalogue } else { &none };
    let (tables, table_places) = blocks::tables(&mut top, problems, &schema, catalogue);
    let of_company = |code: Option<&str>| {
        let named = companies
            .iter()
            .flatten()
            .find(|company| Some(&*company.code) == code);
        let company = named.or(companies.first().and_then(Option::as_ref));
        blocks::of_company(&tables, split, company)
    };
    let tests = tests::load(&mut top, problems, &settings, &of_company);
    test_companies(&mut top, problems);
    let reference = MappingRef {
        pack: pack.unwrap_or_default().to_owned(),
        version: version.unwrap_or_default().to_owned(),
        digest: digest.clone(),
        rule: String::new(),
    };
    let several = companies.len() > 1;
    let mut rules: Vec<Arc<Rule>> = Vec::new();
    let (mut used_tables, mut used_dictionaries) = (Vec::new(), Vec::new());
    for company in &companies {
        let tables = blocks::of_company(&tables, split, company.as_ref());
        let shared = Shared {
            problems,
            clean: &clean,
            settings: &settings,
            dictionaries: &dictionaries,
            units: units.clone(),
            tables: &tables,
            company: company.as_ref(),
            catalogue: context.catalogue,
            texts,
        };
        for section in events(&mut top) {
            let mut loaded = event::load(&shared, section, &reference, source);
            let id = loaded.rule.as_ref().map(|rule| &*rule.reference.rule);
            let digest = id.map(|id| made_of(root, id, &loaded, &tables, company.as_ref()));
            if let (Some(rule), Some(digest)) = (&mut loaded.rule, digest) {
                rule.digest = digest;
            }
            used_tables.extend(loaded.used_tables);
            used_dictionaries.extend(loaded.used_dictionaries);
            let Some(mut rule) = loaded.rule else {
                continue;
            };
            if several && let Some(company) = company {
                let reference = Arc::make_mut(&mut rule.reference);
                reference.rule = format!("{}@{}", reference.rule, company.code);
            }
            rule.name_answers();
            rules.push(Arc::new(rule));
        }
    }
    warn_unused(problems, "tables", table_places, &used_tables);
    warn_unused(
        problems,
        "dictionaries",
        dictionary_places,
        &used_dictionaries,
    );
    top.finish();
    Some(Mapping {
        pack: pack?.to_owned(),
        digest,
        rules,
        tests,
        warnings: Vec::new(),
    })
}

/// A test is about a company that the file lists; nothing is said of files that list none.
fn test_companies(top: &mut Section<'_>, problems: &Problems) {
    let inside = |node: &'_ Node, key: &str| match &node.kind {
        NodeKind::Map(entries) => {
            let mut found = entries.iter().filter(|(known, _)| known.name == key);
            found.next().map(|(_, node)| node.clone())
        }
        _ => None,
    };
    let items = |node: Option<Node>| match node.map(|node| node.kind) {
        Some(NodeKind::List(items)) => items,
        _ => Vec::new(),
    };
    let listed = items(top.get("companies").and_then(|node| inside(node, "list")));
    let codes = listed.iter().filter_map(|company| inside(company, "code"));
    let codes: Vec<String> = codes
        .filter_map(|node| match node.kind {
            NodeKind::Text(code) => Some(code),
            _ => None,
        })
        .collect();
    if codes.is_empty() {
        return;
    }
    for (n, test) in items(top.get("tests").cloned()).iter().enumerate() {
        let given = inside(test, "given").and_then(|given| inside(&given, "company"));
        if let Some(node) = given
            && let NodeKind::Text(code) = &node.kind
            && !codes.contains(code)
        {
            let fix = did_you_mean(code, codes.iter().map(String::as_str))
                .unwrap_or_else(|| format!("one of {}", codes.join(", ")));
            let found = format!("`{code}` is not one of companies");
            let path = format!("tests[{}].given.company", n + 1);
            problems.add(node.line, node.column, &path, found, Some(fix));
        }
    }
}

/// The entries of `events`, with what is wrong with the list.
fn events<'a>(top: &mut Section<'a>) -> Vec<Section<'a>> {
    let node = top.get("events");
    let events = top.sections("events");
    match node {
        None => top.missing("events", "an `events:` list"),
        Some(node) if events.is_empty() && matches!(node.kind, NodeKind::List(_)) => {
            let fix = Some("- {id: stock, emit: .., from: .., key: {..}, fields: {..}}".to_owned());
            top.wrong("events", node, "lists no event".to_owned(), fix);
        }
        Some(_) => {}
    }
    let mut ids: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for mut event in events {
        if let Some(node) = event.get("id")
            && let NodeKind::Text(id) = &node.kind
        {
            if ids.contains(&id.as_str()) {
                let found = format!("another event has the id `{id}`");
                event.wrong(
                    "id",
                    node,
                    found,
                    Some("each event has an id of its own".to_owned()),
                );
            }
            ids.push(id);
        }
        found.push(event);
    }
    found
}

/// Reports names that are not allowed, with the nearest that is.
fn field_names(problems: &Problems, entries: &[(Key, Node)], allowed: &[&str], path: &str) {
    let unknown = entries
        .iter()
        .filter(|(key, _)| !allowed.contains(&key.name.as_str()))
        .take(FINDINGS_MAX);
    for (key, _) in unknown {
        let fix = did_you_mean(&key.name, allowed.iter().copied())
            .unwrap_or_else(|| format!("one of {}", allowed.join(", ")));
        let found = format!("unknown field `{}`", key.name);
        problems.add(key.line, key.column, path, found, Some(fix));
    }
}

/// Reports required fields that nothing provides.
fn required_fields(
    problems: &Problems,
    schema: &BodySchema,
    entries: &[(Key, Node)],
    provided: &[&str],
    place: (usize, usize),
    path: &str,
) {
    for field in schema.fields {
        let there = entries.iter().any(|(key, _)| key.name == field.name);
        if field.required && !there && !provided.contains(&field.name) {
            let found = format!("required field `{}` is not mapped", field.name);
            let fix = Some(format!("add `{}: ..`: {}", field.name, field.meaning));
            problems.add(place.0, place.1, path, found, fix);
        }
    }
}

/// Fields so that each comes after those it reads.
fn in_order(
    problems: &Problems,
    mut fields: Vec<Field>,
    place: (usize, usize),
    path: &str,
) -> Vec<Field> {
    let mut ordered: Vec<Field> = Vec::with_capacity(fields.len());
    loop {
        let waiting: Vec<usize> = fields.iter().map(|field| field.index).collect();
        let ready = fields.iter().position(|field| {
            let reads =
                |expr: &crate::sql::Expr| expr.fields().iter().any(|read| waiting.contains(read));
            !field.expressions().into_iter().any(reads)
        });
        match ready {
            Some(at) => ordered.push(fields.remove(at)),
            None => break,
        }
    }
    if !fields.is_empty() {
        let names: Vec<&str> = fields.iter().map(|field| field.name).collect();
        let found = format!("the fields {} wait for each other", names.join(", "));
        let fix = "a column of the table is written with its alias: stock.on_hand";
        problems.add(place.0, place.1, path, found, Some(fix.to_owned()));
    }
    ordered
}

fn warn_unused(problems: &Problems, block: &str, entries: &[(Key, Node)], used: &[String]) {
    for (key, _) in entries {
        if !used.contains(&key.name) {
            let what = format!("{block}.{}", key.name);
            let finding = Finding::warn(what, "nothing uses it");
            problems.push(finding, key.line, key.column);
        }
    }
}
