//! Reading the words that several blocks share.

use contract::finding::nearest;
use contract::{Node, Section};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::rule::Trim;

/// The nearest allowed name as a suggestion.
pub(crate) fn did_you_mean<'a>(
    name: &str,
    allowed: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(name, allowed).map(|name| format!("did you mean `{name}`?"))
}

/// The `trim` key of a section.
pub(crate) fn trim(section: &mut Section<'_>) -> Option<Trim> {
    Some(
        match section.word("trim", &["none", "left", "right", "both"])? {
            "left" => Trim::Left,
            "right" => Trim::Right,
            "both" => Trim::Both,
            _ => Trim::None,
        },
    )
}

/// The `zone` key of a section.
pub(crate) fn zone(section: &mut Section<'_>) -> Option<TimeZone> {
    let name = section.text("zone")?;
    let node = section.get("zone")?;
    zone_named(section, node, name)
}

/// A zone, or a finding. Zones come from the database inside the binary: a mapping means the same
/// on every machine.
pub(crate) fn zone_named(section: &Section<'_>, node: &Node, name: &str) -> Option<TimeZone> {
    let database = TimeZoneDatabase::bundled();
    let zone = database.get(name);
    if zone.is_err() {
        let names: Vec<String> = database.available().map(|n| n.to_string()).collect();
        let fix = did_you_mean(name, names.iter().map(String::as_str))
            .unwrap_or_else(|| "a name such as Europe/Berlin or America/Chicago".to_owned());
        let found = format!("there is no time zone `{name}`");
        section.wrong("zone", node, found, Some(fix));
    }
    zone.ok()
}
