//! `skus` and `skus_file`: items whose SKU is another one at the channel.

use contract::{NodeKind, Section};
use mappings::channel::Skus;

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
    let read = std::fs::read_to_string(&file)
        .map_err(|error| format!("read {file}: {error}"))
        .and_then(|text| lines(&mut skus, &file, &text));
    if let (Err(found), Some(node)) = (read, section.get("skus_file")) {
        let fix = "in each line our SKU and the channel's, with a tab, `;` or `,` between them";
        section.wrong("skus_file", node, found, Some(fix.to_owned()));
    }
    skus
}

/// The first line says what stands between the two: a tab, else a semicolon, else a comma.
fn lines(skus: &mut Skus, file: &str, text: &str) -> Result<(), String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let first = text.lines().find(|line| !line.trim().is_empty());
    let between = ['\t', ';', ',']
        .into_iter()
        .find(|one| first.is_some_and(|line| line.contains(*one)));
    for (n, line) in (1..).zip(text.lines()) {
        if line.trim().is_empty() {
            continue;
        }
        let pair = between.and_then(|between| line.split_once(between));
        let (ours, theirs) = pair
            .map(|(ours, theirs)| (ours.trim(), theirs.trim()))
            .filter(|(ours, theirs)| !ours.is_empty() && !theirs.is_empty())
            .ok_or_else(|| format!("{file}:{n}: is no pair of SKUs"))?;
        skus.add(ours, theirs)
            .map_err(|found| format!("{file}:{n}: {found}"))?;
    }
    Ok(())
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
        for (text, found) in [
            ("A,1\nB", "skus.csv:2: is no pair of SKUs"),
            ("A,1\nB,", "skus.csv:2: is no pair of SKUs"),
            ("A\t1\nA\t2", "skus.csv:2: SKU A stands there twice"),
            ("A,1\nB,1", "skus.csv:2: two SKUs would be 1 at the channel"),
        ] {
            assert_eq!(read(text), Err(found.to_owned()));
        }
    }
}
