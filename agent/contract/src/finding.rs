//! What a check found, in words a person can act on.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Pass,
    /// Works, but a person should know.
    Warn,
    /// Will not work until a person acts.
    Fail,
}

/// A place in a file, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// File name as the user gave it.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// One result of a check: what, where, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// Where in a file, for findings about files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
    /// What was looked at: `source erp: replication slot`, or a dotted path in a file.
    pub what: String,
    /// What was found, a lower-case sentence without a final stop.
    pub found: String,
    /// What to do: a command, SQL, or the nearest allowed name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// What takes the fix back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
}

/// Between a fix and its undo, where both stand in one text.
const UNDO: &str = "; undo: ";

impl Finding {
    /// A finding without place or fix.
    pub fn new(level: Level, what: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            level,
            place: None,
            what: what.into(),
            found: found.into(),
            fix: None,
            undo: None,
        }
    }

    /// As it should be.
    pub fn pass(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Pass, what, found)
    }

    /// A warning.
    pub fn warn(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Warn, what, found)
    }

    /// A failure.
    pub fn fail(what: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(Level::Fail, what, found)
    }

    /// With what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// With what takes the fix back.
    #[must_use]
    pub fn undo(mut self, undo: impl Into<String>) -> Self {
        self.undo = Some(undo.into());
        self
    }

    /// With the undo apart from the fix, where a single text says both: `GRANT ..; undo: REVOKE ..`.
    #[must_use]
    pub fn undo_apart(mut self) -> Self {
        if self.undo.is_none()
            && let Some(fix) = &mut self.fix
            && let Some(at) = fix.find(UNDO)
        {
            self.undo = fix.get(at + UNDO.len()..).map(str::to_owned);
            fix.truncate(at);
        }
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        // Keys are a file's own, and a line of a log is one line.
        for part in self.what.chars() {
            if part.is_control() {
                write!(f, "{}", part.escape_default())?;
            } else {
                write!(f, "{part}")?;
            }
        }
        write!(f, ": {}", self.found)?;
        if let Some(fix) = &self.fix {
            write!(f, "\n  hint: {fix}")?;
        }
        if let Some(undo) = &self.undo {
            write!(f, "\n  undo: {undo}")?;
        }
        Ok(())
    }
}

/// Shorter beginnings of a name say too little.
const BEGINNING_MIN: usize = 3;

/// The worst level among findings; [`Level::Pass`] when there are none.
pub fn worst(findings: &[Finding]) -> Level {
    findings
        .iter()
        .map(|f| f.level)
        .max()
        .unwrap_or(Level::Pass)
}

/// The allowed name nearest to a mistyped one, if any is near; else the only one that it begins.
pub fn nearest<'a>(name: &str, allowed: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed: Vec<&str> = allowed.into_iter().collect();
    let mut in_other_case = allowed.iter().filter(|one| one.eq_ignore_ascii_case(name));
    if let Some(one) = in_other_case.next() {
        return Some(one);
    }
    let mistyped = allowed
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().max(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate);
    let begun = || {
        let long = name.chars().count() >= BEGINNING_MIN;
        let mut begun = allowed
            .iter()
            .filter(|candidate| long && candidate.starts_with(name));
        begun.next().filter(|_| begun.next().is_none()).copied()
    };
    mistyped.or_else(begun)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_are_no_other_name() {
        assert_eq!(nearest("URL", ["host", "url"]), Some("url"));
        assert_eq!(nearest("SQLite", ["mysql", "sqlite"]), Some("sqlite"));
    }

    #[test]
    fn an_undo_stands_apart_from_its_fix() {
        let both = Finding::fail("role", "may not").fix("GRANT a; undo: REVOKE a");
        let apart = both.undo_apart();
        assert_eq!(apart.fix.as_deref(), Some("GRANT a"));
        assert_eq!(apart.undo.as_deref(), Some("REVOKE a"));
        assert_eq!(
            apart.to_string(),
            "role: may not\n  hint: GRANT a\n  undo: REVOKE a"
        );
        let none = Finding::fail("role", "may not").fix("undo it").undo_apart();
        assert_eq!((none.fix.as_deref(), none.undo), (Some("undo it"), None));
        let text = serde_json::to_string(&apart).unwrap();
        assert_eq!(serde_json::from_str::<Finding>(&text).unwrap(), apart);
    }
}
