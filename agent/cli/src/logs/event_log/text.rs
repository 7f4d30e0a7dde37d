//! A line as the Event Log's reader shows it: the sentence, then what else it says, each on a line of its own.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};

use super::super::line::{CODE, LIBRARY, MESSAGE};

/// Longest value, and longest text: the Event Log takes about 31,000 characters.
const VALUE_CHARS_MAX: usize = 4_000;
const TEXT_CHARS_MAX: usize = 16_000;

/// What a line says.
#[derive(Debug, Default)]
pub(super) struct Text {
    message: String,
    code: Option<String>,
    fields: String,
}

impl Text {
    pub(super) fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// The sentence first: the list of events shows its beginning.
    pub(super) fn whole(self) -> String {
        let code = self.code.as_deref().unwrap_or(LIBRARY);
        let whole = format!("{}\r\n\r\ncode: {code}\r\n{}", self.message, self.fields);
        cut(&whole, TEXT_CHARS_MAX)
    }
}

/// What cannot be seen could end the text early, or look like another line of it.
fn plain(value: &str) -> String {
    let mut plain = String::new();
    let mut percent = false;
    for letter in value.chars().take(VALUE_CHARS_MAX + 1) {
        // The Event Log reads %1 and %%1 as places for other texts.
        if percent && (letter == '%' || letter.is_ascii_digit()) {
            plain.push(' ');
        }
        percent = letter == '%';
        plain.push(if letter.is_control() { ' ' } else { letter });
    }
    cut(&plain, VALUE_CHARS_MAX)
}

fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            CODE => self.code = Some(plain(value)),
            MESSAGE => self.message = plain(value),
            name => {
                // Writing to a text cannot fail.
                let _ = write!(self.fields, "{name}: {}\r\n", plain(value));
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_steer_the_reader_is_left_out() {
        assert_eq!(plain("a\nb\0c"), "a b c");
        assert_eq!(plain("5 % of %1"), "5 % of % 1");
        let long = plain(&"x".repeat(VALUE_CHARS_MAX + 7));
        assert_eq!(long.len(), VALUE_CHARS_MAX + 2);
    }
}
