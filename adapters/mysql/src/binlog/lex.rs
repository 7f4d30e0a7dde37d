//! The words of a statement
//! (<https://dev.mysql.com/doc/refman/8.4/en/language-structure.html>,
//! <https://mariadb.com/kb/en/comment-syntax/>).

/// A word of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A keyword, or a name that is not quoted.
    Word(&'a str),
    /// A name in quotation marks, without them.
    Name(String),
    /// A text in quotation marks, without them.
    Text(String),
    /// Any other character.
    Symbol(char),
}

impl Token<'_> {
    /// The keyword is this one.
    pub(super) fn is(&self, keyword: &str) -> bool {
        matches!(self, Self::Word(word) if word.eq_ignore_ascii_case(keyword))
    }
}

/// How the session that ran the statement reads it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Mode {
    /// `"` quotes a name instead of a text.
    pub(super) ansi_quotes: bool,
    /// `\` is a character like others.
    pub(super) no_escapes: bool,
}

/// The words of a statement, one after the other. Comments are left out, but for those whose
/// content the server runs (`/*! */`, `/*M! */`).
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a str,
    mode: Mode,
    /// Inside a comment whose content is run.
    commented: bool,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(text: &'a str, mode: Mode) -> Self {
        Self {
            rest: text,
            mode,
            commented: false,
        }
    }

    /// Leaves out spaces and comments.
    fn skip(&mut self) {
        loop {
            let rest = self
                .rest
                .trim_start_matches(|c: char| c.is_whitespace() || c == '\0');
            self.rest = rest;
            if self.commented
                && let Some(behind) = rest.strip_prefix("*/")
            {
                self.commented = false;
                self.rest = behind;
            } else if let Some(inside) = run(rest) {
                // Comments inside such a comment end it for older servers; newer ones nest them.
                self.commented = true;
                self.rest = inside;
            } else if let Some(inside) = rest.strip_prefix("/*") {
                self.rest = inside.split_once("*/").map_or("", |(_, behind)| behind);
            } else if rest.starts_with('#') || is_dashes(rest) {
                self.rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
            } else {
                return;
            }
        }
    }

    /// A text up to the same mark; the mark doubled is itself.
    fn quoted(&mut self, mark: char, escapes: bool) -> String {
        let mut text = String::new();
        let mut chars = self.rest.char_indices();
        // The opening one.
        chars.next();
        while let Some((at, char)) = chars.next() {
            if char == '\\' && escapes {
                text.extend(chars.next().map(|(_, char)| char));
            } else if char == mark {
                let behind = self.rest.get(at + mark.len_utf8()..).unwrap_or_default();
                if !behind.starts_with(mark) {
                    self.rest = behind;
                    return text;
                }
                text.push(mark);
                chars.next();
            } else {
                text.push(char);
            }
        }
        self.rest = "";
        text
    }
}

/// What is inside a comment whose content is run.
fn run(rest: &str) -> Option<&str> {
    let inside = rest
        .strip_prefix("/*!")
        .or_else(|| rest.strip_prefix("/*M!"))?;
    Some(inside.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Two dashes begin a comment only where a space follows.
fn is_dashes(rest: &str) -> bool {
    let behind = rest.strip_prefix("--");
    behind.is_some_and(|behind| behind.chars().next().is_none_or(char::is_whitespace))
}

fn in_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_' || char == '$' || !char.is_ascii()
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.skip();
        let first = self.rest.chars().next()?;
        let ansi = self.mode.ansi_quotes;
        Some(match first {
            '`' => Token::Name(self.quoted('`', false)),
            '"' if ansi => Token::Name(self.quoted('"', false)),
            '\'' | '"' => Token::Text(self.quoted(first, !self.mode.no_escapes)),
            _ if in_word(first) => {
                let end = self.rest.find(|char| !in_word(char));
                let (word, rest) = self
                    .rest
                    .split_at_checked(end.unwrap_or(self.rest.len()))
                    .unwrap_or((self.rest, ""));
                self.rest = rest;
                Token::Word(word)
            }
            _ => {
                self.rest = self.rest.get(first.len_utf8()..).unwrap_or_default();
                Token::Symbol(first)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(text: &str, mode: Mode) -> String {
        let shown = |token: Token<'_>| match token {
            Token::Word(word) => word.to_owned(),
            Token::Name(name) => format!("[{name}]"),
            Token::Text(text) => format!("<{text}>"),
            Token::Symbol(char) => char.to_string(),
        };
        Tokens::new(text, mode)
            .map(shown)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn words_comments_and_quotes() {
        let usual = Mode::default();
        let ansi = Mode {
            ansi_quotes: true,
            no_escapes: true,
        };
        for (text, mode, expected) in [
            ("a/*c*/b -- d\nc#d\nd--e", usual, "a b c d - - e"),
            (
                "/*!40005 drop*/ /*M!100100 table */x",
                usual,
                "drop table x",
            ),
            ("a /*!b */*/", usual, "a b * /"),
            ("`a``b`.`c d`", usual, "[a`b] . [c d]"),
            ("'a''b\\'c' \"d\"", usual, "<a'b'c> <d>"),
            ("'a\\' \"d\"\"e\"", ansi, "<a\\> [d\"e]"),
            ("ümlaut$1_2", usual, "ümlaut$1_2"),
            ("`never ends", usual, "[never ends]"),
            ("/* never ends", usual, ""),
            ("", usual, ""),
        ] {
            assert_eq!(words(text, mode), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_ends(text in "(\\PC|[`'\"\\\\/*!#\n -]){0,60}", ansi_quotes: bool, no_escapes: bool) {
            let mode = Mode { ansi_quotes, no_escapes };
            let count = Tokens::new(&text, mode).count();
            prop_assert!(count <= text.len());
        }
    }
}
