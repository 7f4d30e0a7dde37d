//! Numbers of things, as people say them.

/// "1 event", "2 events".
pub(crate) fn counted(count: u64, what: &str) -> String {
    counted_as(count, (what, &format!("{what}s")))
}

/// The same with a word that has a plural of its own.
pub(crate) fn counted_as(count: u64, (one, many): (&str, &str)) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What one of them does, or several do.
pub(crate) fn does<'w>(count: u64, one: &'w str, several: &'w str) -> &'w str {
    if count == 1 { one } else { several }
}
