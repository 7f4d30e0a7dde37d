//! What rows mean: a mapping to begin with, or packs and a site file for each.

use contract::Finding;
use mappings::{Catalogue, LoadContext, Mapping, Which, packs};

use super::Stop;
use super::block::quoted;
use super::options::{Given, Options};
use super::pack::{COMPANY, Pack, shipped};
use super::person::{Ask, Person};
use super::sides::{Side, new};

/// Written for PostgreSQL; `source:` is its only line about the kind of database.
const STARTER: &str = include_str!("../../../../mappings/packs/starter/starter.yaml");

/// No pack: a mapping of one's own.
const OWN: &str = "own";

/// Its file.
pub(super) const OWN_FILE: &str = "mapping.yaml";

/// Whether a text is the mapping to begin with, as it was written here for whatever source and company.
pub(crate) fn is_untouched(text: &str) -> bool {
    fn same(text: &str) -> impl Iterator<Item = &str> {
        let asked = |line: &&str| {
            let begins = |key: &&str| line.starts_with(*key);
            line.trim().is_empty() || ["source:", "schema:", "company:"].iter().any(begins)
        };
        text.lines().filter(move |line| !asked(line))
    }
    same(text).eq(same(STARTER))
}

/// The files that say what rows mean.
///
/// # Errors
/// The person has gone.
pub(super) fn ask(
    person: &mut Person,
    options: &Options,
    given: &mut Given,
    source: &Side,
    lines: &str,
) -> Result<Vec<(String, String)>, Stop> {
    let shipped = shipped(source.kind);
    let mut choices = vec![(
        OWN.to_owned(),
        "a mapping of your own, to begin with one table".to_owned(),
    )];
    choices.extend(
        shipped
            .iter()
            .map(|pack| (pack.name.clone(), pack.title.clone())),
    );
    let ask = Ask {
        flag: "--pack".to_owned(),
        ask: "Which ERP's tables are in it?".to_owned(),
        help: "a pack knows what they mean; several with commas".to_owned(),
        given: (!options.pack.is_empty()).then(|| options.pack.join(",")),
        default: Some(OWN.to_owned()),
        choices,
        ..Ask::default()
    };
    let chosen = if shipped.is_empty() && ask.given.is_none() {
        OWN.to_owned()
    } else {
        let alone = |answer: &str| {
            let both = answer.contains(',') && answer.split(',').any(|one| one == OWN);
            (!both)
                .then_some(())
                .ok_or_else(|| "packs, or a mapping of your own".to_owned())
        };
        person
            .answer(&ask, alone)?
            .unwrap_or_else(|| OWN.to_owned())
    };
    let chosen: Vec<&str> = chosen.split(',').collect();
    let packs: Vec<&Pack> = shipped
        .iter()
        .filter(|pack| chosen.contains(&pack.name.as_str()))
        .collect();
    if packs.is_empty() {
        return own(person, options, given, lines);
    }
    let several = packs.len() > 1;
    let mut files = Vec::new();
    // Packs of one database are of one company.
    let mut company = None;
    for pack in &packs {
        let name = if several {
            format!("site-{}.yaml", pack.name)
        } else {
            "site.yaml".to_owned()
        };
        files.push((name, pack.ask(person, given, source, &mut company)?));
    }
    let asked = packs.iter().flat_map(|pack| &pack.settings);
    for key in asked.map(|one| one.name.as_str()).chain(COMPANY) {
        given.take(key);
    }
    for (key, _) in given.rest() {
        person.wrong(&format!("--pack-set {key}"), "the pack does not ask this");
    }
    Ok(files)
}

fn own(
    person: &mut Person,
    options: &Options,
    given: &mut Given,
    lines: &str,
) -> Result<Vec<(String, String)>, Stop> {
    for (key, _) in given.rest() {
        person.wrong(&format!("--pack-set {key}"), "there is no --pack");
    }
    let check = |text: &str, with: &str| new(&findings(text), &findings(with));
    let mut mapping = STARTER.replace("source: postgres", lines);
    let company = "company: MY-COMPANY";
    let ask = Ask {
        flag: "--company".to_owned(),
        ask: "Which company's rows are they?".to_owned(),
        help: "a code of your own; every event's key begins with it".to_owned(),
        given: options.company.clone(),
        default: Some("MY-COMPANY".to_owned()),
        ..Ask::default()
    };
    let with = |mapping: &str, answer: &str| {
        if answer == "MY-COMPANY" {
            return mapping.to_owned();
        }
        mapping.replace(company, &format!("company: {}", quoted(answer)))
    };
    let answer = person.answer(&ask, |answer| check(&mapping, &with(&mapping, answer)))?;
    mapping = with(&mapping, answer.as_deref().unwrap_or("MY-COMPANY"));
    // Where a kind of database needs one, its lines say so.
    let schema = "schema: erp";
    if mapping.contains(schema) || options.schema.is_some() {
        let ask = Ask {
            flag: "--schema".to_owned(),
            ask: "In which database do its tables stand?".to_owned(),
            help: "its name, as in show databases".to_owned(),
            given: options.schema.clone(),
            default: Some("erp".to_owned()),
            ..Ask::default()
        };
        let there = mapping.contains(schema);
        let with = |mapping: &str, answer: &str| match (there, answer) {
            (_, "erp") if there => mapping.to_owned(),
            (true, _) => mapping.replace(schema, &format!("schema: {}", quoted(answer))),
            (false, _) => mapping.replace(
                "\ntables:",
                &format!("schema: {}\n\ntables:", quoted(answer)),
            ),
        };
        let answer = person.answer(&ask, |answer| check(&mapping, &with(&mapping, answer)))?;
        mapping = with(&mapping, answer.as_deref().unwrap_or("erp"));
    }
    Ok(vec![(OWN_FILE.to_owned(), mapping)])
}

/// What is wrong with a mapping file.
pub(super) fn findings(text: &str) -> Vec<Finding> {
    let catalogue = Catalogue::default();
    let context = LoadContext {
        company: Which::Only,
        catalogue: &catalogue,
        packs: &packs::shipped,
    };
    Mapping::load_with("site.yaml", text, context)
        .err()
        .unwrap_or_default()
}
