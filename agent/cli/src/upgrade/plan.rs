//! What would change: two versions and a folder, compared.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use contract::Finding;
use contract::look::bytes;

use super::described::{Described, Rule};
use super::folder::Stands;

/// A disk that is not fast copies so much in a second.
const BYTES_PER_SECOND: u64 = 50 << 20;
/// Left free beside a copy.
const MARGIN: u64 = 16 << 20;
/// Things of a kind that are named.
const NAMED_MAX: usize = 12;

/// What `new` would change. `own` = what stands there now, where that is another one.
pub(super) fn compare(own: Option<&Described>, new: &Described, stands: &Stands) -> Vec<Finding> {
    let mut findings = vec![running(stands)];
    findings.extend(state(new, stands));
    if let Some(own) = own {
        findings.push(language(own, new));
        findings.extend(shipped(own, new));
    }
    findings.extend(rules(own, new, stands));
    findings.extend(settings(own, new));
    findings
}

/// Refuses what is not newer.
pub(super) fn newer(own: &Described, new: &Described, allowed: bool) -> Result<(), Finding> {
    let what = "version";
    let fix = "--allow-older, if that is what you want";
    match order(&own.version, &new.version) {
        Some(Ordering::Less) => Ok(()),
        _ if allowed => Ok(()),
        Some(Ordering::Equal) => {
            let found = format!("{} is what stands here already", new.version);
            Err(Finding::fail(what, found).fix(fix))
        }
        Some(Ordering::Greater) => {
            let found = format!("{} is older than {}", new.version, own.version);
            let fix = format!("lighterman rollback goes back to what was before an upgrade; {fix}");
            Err(Finding::fail(what, found).fix(fix))
        }
        None => {
            let found = format!("{} and {} cannot be compared", own.version, new.version);
            Err(Finding::fail(what, found).fix(fix))
        }
    }
}

/// Three numbers, and whether it is a release or something before it.
fn parts(version: &str) -> Option<([u64; 3], bool, &str)> {
    let version = version.split('+').next().unwrap_or_default();
    let (numbers, before) = match version.split_once('-') {
        Some((numbers, before)) => (numbers, before),
        None => (version, ""),
    };
    let mut found = [0; 3];
    let mut parts = numbers.split('.');
    for number in &mut found {
        *number = parts.next()?.parse().ok()?;
    }
    parts
        .next()
        .is_none()
        .then_some((found, before.is_empty(), before))
}

/// Of what comes before a release: whether it is a word, and the number or the word.
type Part<'a> = (bool, u64, &'a str);

/// What versions are ordered by: of what comes before a release, numbers are compared as such and stand before words
/// (<https://semver.org/#spec-item-11>).
fn key(version: &str) -> Option<([u64; 3], bool, Vec<Part<'_>>)> {
    let (numbers, release, before) = parts(version)?;
    let part = |one| match str::parse(one) {
        Ok(number) => (false, number, ""),
        Err(_) => (true, 0, one),
    };
    Some((numbers, release, before.split('.').map(part).collect()))
}

fn order(a: &str, b: &str) -> Option<Ordering> {
    Some(key(a)?.cmp(&key(b)?))
}

fn running(stands: &Stands) -> Finding {
    let what = "agent";
    match &stands.running {
        None => Finding::pass(what, "does not run here"),
        Some(running) => {
            let of = running
                .version
                .as_deref()
                .unwrap_or("a version that cannot be asked");
            Finding::pass(what, format!("runs as process {}: {of}", running.pid))
        }
    }
}

fn state(new: &Described, stands: &Stands) -> Vec<Finding> {
    let what = "state file";
    let Some(format) = stands.format else {
        return vec![Finding::pass(
            what,
            "is not there yet: nothing to bring up to date",
        )];
    };
    let to = new.state_format;
    let size = bytes(stands.bytes);
    if to < format {
        let found = format!(
            "is of format {format}, and {} knows up to {to}",
            new.version
        );
        let fix =
            "lighterman rollback goes back to a state that it knows, and tells what that means";
        return vec![Finding::fail(what, found).fix(fix)];
    }
    if to == format {
        let found = format!("stays of format {format} ({size})");
        return vec![Finding::pass(what, found), backup(stands, 1)];
    }
    let seconds = (stands.bytes.saturating_mul(2) / BYTES_PER_SECOND).max(1);
    let steps: Vec<&str> = new.migration.iter().map(String::as_str).collect();
    let brings = if steps.is_empty() {
        String::new()
    } else {
        format!(": {}", steps.join("; "))
    };
    let found = format!(
        "of format {format} ({size}) is brought to format {to} at the first start, about {seconds} s with a \
         checked copy before{brings}"
    );
    // One before the upgrade, and one before the migration.
    vec![Finding::pass(what, found), backup(stands, 2)]
}

/// Whether there is room to go back.
fn backup(stands: &Stands, copies: u64) -> Finding {
    let what = "state folder: room for copies";
    let needed = stands.bytes.saturating_mul(copies).saturating_add(MARGIN);
    let kept = stands
        .backups
        .iter()
        .filter(|one| one.before_upgrade)
        .count();
    let kept = match kept {
        0 => String::new(),
        kept => format!("; {kept} of earlier upgrades are there"),
    };
    match stands.room {
        None => Finding::pass(what, format!("{} are needed{kept}", bytes(needed))),
        Some(room) if room.free_bytes < needed => {
            let found = format!(
                "{} are needed, and {} are free{kept}",
                bytes(needed),
                bytes(room.free_bytes)
            );
            let fix = format!(
                "free disk space: replaced-* folders and old backups in {} first",
                stands.folder.display()
            );
            Finding::fail(what, found).fix(fix)
        }
        Some(room) => {
            let found = format!(
                "{} are needed, {} are free{kept}",
                bytes(needed),
                bytes(room.free_bytes)
            );
            Finding::pass(what, found)
        }
    }
}

fn language(own: &Described, new: &Described) -> Finding {
    let what = "mapping language";
    let (was, is) = (own.mapping_language, new.mapping_language);
    let gone: Vec<&String> = own.words.difference(&new.words).collect();
    let come: Vec<&String> = new.words.difference(&own.words).collect();
    let mut found = if was == is {
        format!("stays version {is}")
    } else {
        format!("was version {was} and is version {is}")
    };
    for (word, names) in [("new", &come), ("gone", &gone)] {
        if !names.is_empty() {
            let _ = write!(found, "; {word}: {}", listed(names));
        }
    }
    if gone.is_empty() && was == is {
        Finding::pass(what, found)
    } else {
        let fix = "what your mappings use of it is a FAIL below; lighterman map diff shows what becomes of rows";
        Finding::warn(what, found).fix(fix)
    }
}

/// What is shipped and used here, and is another.
fn shipped(own: &Described, new: &Described) -> Vec<Finding> {
    let mut findings = Vec::new();
    let used: BTreeSet<&String> = own.used.union(&new.used).collect();
    for name in &used {
        let found = match (own.shipped.get(*name), new.shipped.get(*name)) {
            (Some(was), Some(is)) if was == is => continue,
            (_, None) => "is used here, and is not shipped any more",
            (None, Some(_)) => "is new, and a file here has its name",
            (Some(_), Some(_)) => "is used here, and is another",
        };
        let fix =
            "read its changes in CHANGELOG.md; try it in shadow first (docs/operating/upgrade.md)";
        findings.push(Finding::warn(name.as_str(), found).fix(fix));
    }
    if findings.is_empty() && !used.is_empty() {
        let found = format!("{} that are used here stay as they are", used.len());
        findings.push(Finding::pass("shipped packs and channels", found));
    }
    findings
}

/// Rules whose events are made in another way.
fn rules(own: Option<&Described>, new: &Described, stands: &Stands) -> Vec<Finding> {
    let what = "rules";
    let mut before: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for rule in own.map_or(&[][..], |own| own.rules.as_slice()) {
        before.insert((&rule.source, &rule.rule), &rule.digest);
    }
    // What was last in force is what was told.
    for rule in &stands.rules {
        before.insert((&rule.source, &rule.rule), &rule.digest);
    }
    if before.is_empty() || new.rules.is_empty() {
        return Vec::new();
    }
    let of = |rule: &Rule| {
        before
            .get(&(rule.source.as_str(), rule.rule.as_str()))
            .copied()
    };
    let named = |rules: Vec<&Rule>| -> Vec<String> {
        let rules = rules.into_iter();
        rules
            .map(|rule| format!("{} of {} (table {})", rule.rule, rule.source, rule.table))
            .collect()
    };
    let other = new.rules.iter();
    let other = other.filter(|rule| of(rule).is_some_and(|digest| digest != rule.digest));
    let other = named(other.collect());
    let come = new.rules.iter().filter(|rule| of(rule).is_none());
    let come = named(come.collect());
    let there: BTreeSet<(&str, &str)> = new
        .rules
        .iter()
        .map(|rule| (rule.source.as_str(), rule.rule.as_str()))
        .collect();
    let gone: Vec<String> = before
        .keys()
        .filter(|key| !there.contains(*key))
        .map(|(source, rule)| format!("{rule} of {source}"))
        .collect();
    let mut findings = Vec::new();
    let fix = "lighterman map diff shows what becomes of rows; shadow = true at a destination shows it for a day \
               (docs/operating/upgrade.md)";
    for (names, says) in [
        (
            other,
            "make their events in another way: their tables are read again, and what differs is told",
        ),
        (come, "are new: their tables are read"),
        (
            gone,
            "are gone: what they told stays as it is, unless another rule takes it over",
        ),
    ] {
        if !names.is_empty() {
            let found = format!("{} {says}", listed(&names));
            findings.push(Finding::warn(what, found).fix(fix));
        }
    }
    if findings.is_empty() {
        let found = format!("all {} make the same events", new.rules.len());
        findings.push(Finding::pass(what, found));
    }
    findings
}

/// What the new version says of settings and mappings.
fn settings(own: Option<&Described>, new: &Described) -> Vec<Finding> {
    let mut findings = Vec::new();
    for failure in new.failures() {
        // Said of this version, too: that is how it is here, such as a secret that only the agent has.
        let both = own.is_some_and(|own| own.failures().any(|one| one == failure));
        let mut finding = failure.clone();
        if both {
            finding.level = contract::Level::Warn;
            finding.found.push_str(" (this version says the same)");
        }
        findings.push(finding);
    }
    let warnings = new
        .findings
        .iter()
        .filter(|one| one.level == contract::Level::Warn);
    for warning in warnings {
        if own.is_none_or(|own| !own.findings.contains(warning)) {
            findings.push(warning.clone());
        }
    }
    if findings.is_empty() {
        findings.push(Finding::pass(
            "settings and mappings",
            "are read without anything new to say",
        ));
    }
    findings
}

/// Names, not more than one wants to read.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED_MAX).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let shown = shown.join(", ");
    if more == 0 {
        shown
    } else {
        format!("{shown} and {more} more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_their_numbers_and_a_release_is_behind_what_came_before_it() {
        let order = |a, b| order(a, b);
        assert_eq!(order("0.2.0", "0.10.0"), Some(Ordering::Less));
        assert_eq!(order("1.0.0", "1.0.0+build"), Some(Ordering::Equal));
        assert_eq!(order("1.0.0-rc.1", "1.0.0"), Some(Ordering::Less));
        assert_eq!(order("1.0.1-rc.1", "1.0.0"), Some(Ordering::Greater));
        assert_eq!(order("1.0", "1.0.0"), None);
    }
}
