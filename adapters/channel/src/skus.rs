//! `skus` and `skus_file`: items whose SKU is another one at the channel.

use contract::{NodeKind, Section};
use mappings::channel::Skus;

use crate::settings::read_text;

/// Pairs of millions of items: an export, not what a person types.
const PAIRS_BYTES_MAX: u64 = 256 << 20;

/// Reads both; what is wrong is told with its place.
pub(crate) fn read(section: &mut Section<'_>) -> Skus {
    let mut skus = Skus::default();
    if let Some(mut table) = section.section("skus") {
        for (key, node) in table.free_entries() {
            let added = match &node.kind {
                NodeKind::Text(theirs) if !theirs.trim().is_empty() => {
                    skus.add(&key.name, theirs.trim())
                }
                _ => Err("is no text: `\"100XLG\" = \"SHOP-1\"`".to_owned()),
            };
            if let Err(found) = added {
                section.wrong(&format!("skus.{}", key.name), node, found, None);
            }
        }
    }
    let Some(file) = section.text("skus_file").map(str::to_owned) else {
        return skus;
    };
    let fix = "in each line our SKU and the channel's, with a tab, `;` or `,` between them";
    let read = read_text(&file, PAIRS_BYTES_MAX)
        .and_then(|text| lines(&mut skus, &file, &text).map_err(|found| (found, fix.to_owned())));
    if let (Err((found, fix)), Some(node)) = (read, section.get("skus_file")) {
        section.wrong("skus_file", node, found, Some(fix));
    }
    skus
}

/// The first line says what stands between the two: a tab, else a semicolon, else a comma.
fn lines(skus: &mut Skus, file: &str, text: &str) -> Result<(), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty());
    let between = ['\t', ';', ',']
        .into_iter()
        .find(|one| first.is_some_and(|line| outside(line).any(|found| found == *one)));
    for (n, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let at = |found: String| format!("{file}:{n}: {found}");
        let (ours, rest) = field(line, between).map_err(at)?;
        let theirs = match rest {
            Some(rest) => field(rest, None).map_err(at)?.0,
            None => String::new(),
        };
        let (ours, theirs) = (ours.trim(), theirs.trim());
        if ours.is_empty() || theirs.is_empty() {
            return Err(at("is no pair of SKUs".to_owned()));
        }
        skus.add(ours, theirs).map_err(at)?;
    }
    Ok(())
}

/// What of a line stands in no quotes.
fn outside(line: &str) -> impl Iterator<Item = char> {
    // A field that does not begin with a quote may hold one: `3/4" NUT`.
    let quoted = line.trim_start().starts_with('"');
    let mut inside = false;
    line.chars().filter(move |found| {
        inside ^= quoted && *found == '"';
        !inside
    })
}

/// A field of a line, and what stands behind it. One in quotes is as RFC 4180 says and spreadsheets write it: what
/// stands between fields is a part of it, and a quote in it is written twice.
fn field(line: &str, between: Option<char>) -> Result<(String, Option<&str>), String> {
    let Some(mut rest) = line.trim_start_matches(' ').strip_prefix('"') else {
        return Ok(match between.and_then(|between| line.split_once(between)) {
            Some((text, rest)) => (text.to_owned(), Some(rest)),
            None => (line.to_owned(), None),
        });
    };
    let mut text = String::new();
    while let Some((part, after)) = rest.split_once('"') {
        text.push_str(part);
        if let Some(after) = after.strip_prefix('"') {
            text.push('"');
            rest = after;
            continue;
        }
        let after = after.trim_start_matches(' ');
        if after.is_empty() {
            return Ok((text, None));
        }
        match between.and_then(|between| after.strip_prefix(between)) {
            Some(after) => return Ok((text, Some(after))),
            None => break,
        }
    }
    Err("has a quote without its end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_line_by_line_and_a_bad_line_is_told() {
        let read = |text: &str| lines(&mut Skus::default(), "skus.csv", text);
        assert_eq!(
            read("\u{feff}100XLG;SHOP 1\r\n\r\n200XLG ; SHOP,2\r\n"),
            Ok(())
        );
        let mut skus = Skus::default();
        let quoted = "\"1/2\"\" BOLT\";\"A;1\"\r\n3/4\" NUT;\"B\"\"\"\r\n\" C \";D\r\n";
        assert_eq!(lines(&mut skus, "skus.csv", quoted), Ok(()));
        for (ours, theirs) in [("1/2\" BOLT", "A;1"), ("3/4\" NUT", "B\""), ("C", "D")] {
            assert!(skus.add(ours, "other").is_err(), "{ours}");
            assert!(skus.add("other", theirs).is_err(), "{theirs}");
        }
        for (text, found) in [
            ("\"A,1\nB,2", "skus.csv:1: has a quote without its end"),
            ("A,\"1\"x", "skus.csv:1: has a quote without its end"),
            ("A,1\nB", "skus.csv:2: is no pair of SKUs"),
            ("A,1\nB,", "skus.csv:2: is no pair of SKUs"),
            ("A\t1\nA\t2", "skus.csv:2: SKU A stands there twice"),
            ("A,1\nB,1", "skus.csv:2: two SKUs would be 1 at the channel"),
        ] {
            assert_eq!(read(text), Err(found.to_owned()));
        }
    }
}
