//! The word that says how well a thing is, in the colour that says it, too.

use std::io::IsTerminal as _;

use contract::{Finding, Level};

/// Only on a terminal that shows colours, and where nobody has said no.
pub(crate) fn wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    // A Windows console may show the codes themselves.
    let shows = cfg!(unix) && set("TERM").is_some_and(|name| name != "dumb");
    shows && set("NO_COLOR").is_none() && std::io::stdout().is_terminal()
}

/// A finding as it is said there.
pub(crate) fn line(finding: &Finding) -> String {
    let plain = crate::line(finding);
    let plain = crate::plain::lines(&plain);
    let colour = match finding.level {
        Level::Fail => 31,
        Level::Warn => 33,
        Level::Pass => 32,
    };
    // Four letters, blanks included.
    let (word, rest) = plain.split_at_checked(4).unwrap_or((&plain, ""));
    format!("\x1b[{colour}m{word}\x1b[0m{rest}")
}
