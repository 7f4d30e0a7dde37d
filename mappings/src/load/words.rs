//! Reading the words that several blocks share.

use contract::finding::nearest;
use contract::{Node, Section};
use jiff::tz::TimeZone;

use crate::rule::Trim;
use crate::zones;

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

/// A zone, or a finding.
pub(crate) fn zone_named(section: &Section<'_>, node: &Node, name: &str) -> Option<TimeZone> {
    match zones::named(name) {
        Ok(zone) => Some(zone),
        Err((found, fix)) => {
            section.wrong("zone", node, found, Some(fix));
            None
        }
    }
}
