//! What is shown at a terminal: a text that came from a row, a server or a file steers nothing there.
//!
//! A letter that could is written as JSON writes it, `\u001b`: it can be seen, and in JSON it means the same.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Control characters move the cursor and more, whatever else they mean; the others turn the text around that
/// follows them.
pub(crate) fn steers(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, wanted: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&wanted) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if wanted(letter) {
            // All of them have four digits at most. A String takes whatever is written.
            let _ = write!(plain, "\\u{:04x}", u32::from(letter));
        } else {
            plain.push(letter);
        }
    }
    Cow::Owned(plain)
}

/// Lines of ours, which may hold such a text.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| steers(letter) && !"\n\t".contains(letter))
}

/// Such a text within a line of ours, which it must not end.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |letter| {
        steers(letter) || matches!(letter, '\u{2028}' | '\u{2029}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_is_seen_and_what_does_not_stays() {
        for text in ["", "Ärmel \"5 %\" \u{200d} 日本", "a\n\tb"] {
            assert!(matches!(lines(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(lines("\u{1b}[2J\r\u{9b}1m"), "\\u001b[2J\\u000d\\u009b1m");
        assert_eq!(lines("\u{202e}txt\u{2069}"), "\\u202etxt\\u2069");
        assert_eq!(line("a\nFAIL b\u{2028}"), "a\\u000aFAIL b\\u2028");
        // What JSON holds is the same behind it.
        let json = serde_json::Value::from("\u{1b}\u{85}\u{7f}\u{202e}a\n").to_string();
        let read: serde_json::Value = serde_json::from_str(&lines(&json)).unwrap();
        assert_eq!(read, "\u{1b}\u{85}\u{7f}\u{202e}a\n");
    }
}
