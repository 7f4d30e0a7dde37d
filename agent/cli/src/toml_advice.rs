//! What a TOML parser complains of, in words for whoever has never read TOML's description.

use contract::section::TRUTH;

/// What was found and what to do. `said` is the parser's own sentence, `line` the line that it is about, `signs` how
/// many of its signs stand before the place.
pub(crate) fn advice(said: &str, line: &str, signs: usize) -> (String, String) {
    let (found, fix) = plain(said, line, signs);
    (found.to_owned(), fix)
}

fn plain<'a>(said: &'a str, line: &str, signs: usize) -> (&'a str, String) {
    let begins = line.trim_start();
    let rest: String = line.chars().skip(signs).collect();
    let (key, value) = line.split_once('=').unwrap_or((line, ""));
    let (key, value) = (key.trim(), value.trim());
    // A line in a list has no key: what stands there is a value, and may be a password.
    let is_key = line.contains('=')
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c));
    let key = if is_key { key } else { ".." };
    let as_value = |value: &str| format!("{key} = {value}");
    if let Some(marks) = ["<<<<<<<", "=======", ">>>>>>>"]
        .iter()
        .find(|marks| begins.starts_with(**marks))
    {
        return (
            "is left over from a merge",
            format!("take the lines with {marks} out, and keep one of the two parts"),
        );
    }
    if let Some(odd) = rest.chars().next().filter(|c| is_odd(*c)) {
        let fix = format!(
            "write the line anew: U+{:04X} came with a copied text",
            u32::from(odd)
        );
        return (
            "expected plain letters, quotes and blanks, found another sign that looks like one or is not seen",
            fix,
        );
    }
    if said.starts_with("duplicate key") {
        return (
            "stands here for the second time",
            "keep one of them; a list of blocks has two brackets: [[source]]".to_owned(),
        );
    }
    if said.starts_with("string values must be quoted") {
        let word = rest
            .split([' ', '#', ','])
            .next()
            .unwrap_or_default()
            .trim();
        if word.is_empty() {
            return ("the key has no value", as_value("\"..\""));
        }
        if ["yes", "no", "on", "off"].contains(&word.to_lowercase().as_str()) {
            return (
                "expected true or false",
                format!("{TRUTH}: {}", as_value("true")),
            );
        }
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return (NUMBER, NUMBER_FIX.to_owned());
        }
        // Not the word: it may be a password, and this stands in the log.
        return ("a text needs quotes", as_value("\"..\""));
    }
    if said.starts_with("invalid boolean") {
        return (
            "expected true or false",
            format!(
                "{TRUTH}: {}",
                as_value(if value.to_lowercase().starts_with('f') {
                    "false"
                } else {
                    "true"
                })
            ),
        );
    }
    if said.starts_with("missing escaped value")
        || said.contains("escape")
        || said.contains("unicode")
    {
        let fix = "a path of Windows stands in single quotes: 'C:\\erp\\data.db'; or write each backslash twice";
        return (
            "a backslash in double quotes means another sign",
            fix.to_owned(),
        );
    }
    if said.starts_with("invalid basic string") || said.starts_with("invalid literal string") {
        return if rest.is_empty() {
            (
                "the text's quote is not closed in its line",
                "end it with the quote that it begins with".to_owned(),
            )
        } else {
            (
                "there is a control character in the text",
                "take it out, or write it as \\u0007".to_owned(),
            )
        };
    }
    if said.starts_with("unclosed inline table") {
        return (
            "a `{` is not closed",
            "close it with `}`, on the same line".to_owned(),
        );
    }
    if said.contains("array") {
        return (
            "a `[` is not closed, or a comma is missing",
            "close the list with `]`; commas stand between its items".to_owned(),
        );
    }
    if said.starts_with("unexpected leading zero")
        || said.contains("integer")
        || said.contains("float")
        || said.contains("octal")
        || said.contains("hexadecimal")
        || said.contains("binary")
    {
        return (NUMBER, NUMBER_FIX.to_owned());
    }
    if said.starts_with("unexpected key or value") {
        let number = value.starts_with(|c: char| c.is_ascii_digit());
        return if number {
            (NUMBER, NUMBER_FIX.to_owned())
        } else {
            (
                "something stands behind the value",
                "one key in each line; text in quotes; a comment begins with #".to_owned(),
            )
        };
    }
    if said.starts_with("carriage return") {
        return (
            "the file's lines end in no way that is known",
            "save it with line ends of Linux or Windows".to_owned(),
        );
    }
    if said.contains("recurs") {
        return (
            "is nested too deeply",
            "no setting is nested so deeply: look for brackets that are too many".to_owned(),
        );
    }
    if begins.starts_with('{') && !begins.contains('=') {
        return (
            "expected TOML, found what looks like JSON",
            "lighterman init writes a file to begin with".to_owned(),
        );
    }
    if begins.starts_with([';']) || begins.starts_with("//") || begins.starts_with("--") {
        return (
            "expected a comment to begin with #",
            "# as in this line".to_owned(),
        );
    }
    if begins.contains("{{") {
        return (
            "expected a value, found a template that nobody filled in",
            as_value("\"..\""),
        );
    }
    if said.starts_with("key with no value") {
        return match begins.split_once(':') {
            Some((key, _)) if !key.contains(char::is_whitespace) && !begins.contains('=') => (
                "expected TOML, found what looks like YAML",
                format!("{} = \"..\"", key.trim()),
            ),
            _ => (
                "expected `key = value` or `[block]`",
                "a key is one word, without blanks; a comment begins with #".to_owned(),
            ),
        };
    }
    (said, "each line is `key = value`, `[block]` or `# comment`; see whether a quote or bracket above is not closed".to_owned())
}

const NUMBER: &str = "expected a number, or a text in quotes";
const NUMBER_FIX: &str = "a number has a point and no comma, no unit, no leading zeros and nothing between its thousands: 12 or 1.5";

/// Quotes, dashes and blanks of text processors, and what is not seen.
fn is_odd(c: char) -> bool {
    matches!(
        c,
        '\u{a0}' | '\u{ad}' | '\u{feff}' | '\u{2000}'
            ..='\u{206f}' | '\u{3000}' | '\u{ab}' | '\u{bb}'
    )
}
