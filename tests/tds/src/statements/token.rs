//! T-SQL text cut into words.

use std::fmt;

use crate::wire::ServerError;

/// A word of the text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A bare word: a keyword or a name.
    Word(String),
    /// A name in brackets or double quotes: never a keyword.
    Name(String),
    /// `@name`, with its at sign.
    Variable(String),
    /// `@@name`, without its at signs.
    Global(String),
    /// `N'..'` or `'..'`; whether it is Unicode.
    Text(String, bool),
    /// Digits, perhaps with a point or an exponent.
    Number(String),
    /// `0x..`
    Bytes(Vec<u8>),
    /// A sign, such as `<=`.
    Sign(&'static str),
    /// Nothing more.
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(text)
            | Self::Name(text)
            | Self::Variable(text)
            | Self::Number(text)
            | Self::Text(text, _) => f.write_str(text),
            Self::Global(text) => write!(f, "@@{text}"),
            Self::Bytes(bytes) => {
                f.write_str("0x")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
            }
            Self::Sign(sign) => f.write_str(sign),
            Self::End => f.write_str("<end of text>"),
        }
    }
}

/// A word and where it begins and ends in the text.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) token: Token,
    pub(crate) from: usize,
    pub(crate) to: usize,
}

const SIGNS: [&str; 25] = [
    "<>", "<=", ">=", "!=", "!<", "!>", "+=", "-=", "(", ")", ",", ".", ";", "=", "<", ">", "+",
    "-", "*", "/", "%", "&", "|", "^", ":",
];

fn letter(c: char) -> bool {
    c.is_alphabetic() || c == '_' || c == '#'
}

fn inner(c: char) -> bool {
    letter(c) || c.is_ascii_digit() || c == '$' || c == '@'
}

/// Cuts a text into words.
pub(crate) fn tokens(sql: &str) -> Result<Vec<Placed>, ServerError> {
    let mut found = Vec::new();
    let mut rest = sql;
    loop {
        rest = after_blanks(rest)?;
        let from = sql.len() - rest.len();
        let Some(first) = rest.chars().next() else {
            found.push(Placed {
                token: Token::End,
                from,
                to: from,
            });
            return Ok(found);
        };
        let (token, next) = one(first, rest)?;
        rest = next;
        found.push(Placed {
            token,
            from,
            to: sql.len() - rest.len(),
        });
    }
}

fn after_blanks(mut rest: &str) -> Result<&str, ServerError> {
    loop {
        rest = rest.trim_start();
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, next)| next);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            let (_, next) = comment
                .split_once("*/")
                .ok_or_else(|| ServerError::new(113, 15, "Missing end comment mark '*/'."))?;
            rest = next;
        } else {
            return Ok(rest);
        }
    }
}

fn one(first: char, rest: &str) -> Result<(Token, &str), ServerError> {
    if let Some(text) = rest.strip_prefix("N'").or_else(|| rest.strip_prefix("n'")) {
        let (text, next) = quoted(text, '\'')?;
        return Ok((Token::Text(text, true), next));
    }
    match first {
        '\'' => quoted(&rest[1..], '\'').map(|(text, next)| (Token::Text(text, false), next)),
        '[' => quoted(&rest[1..], ']').map(|(name, next)| (Token::Name(name), next)),
        '"' => quoted(&rest[1..], '"').map(|(name, next)| (Token::Name(name), next)),
        '@' => {
            let global = rest.starts_with("@@");
            let body = &rest[if global { 2 } else { 1 }..];
            let end = body.find(|c| !inner(c)).unwrap_or(body.len());
            let (name, next) = body.split_at(end);
            if name.is_empty() {
                return Err(ServerError::syntax("@"));
            }
            let token = if global {
                Token::Global(name.to_owned())
            } else {
                Token::Variable(format!("@{name}"))
            };
            Ok((token, next))
        }
        '0' if rest[1..].starts_with(['x', 'X']) => bytes(&rest[2..]),
        c if c.is_ascii_digit() => Ok(number(rest)),
        '.' if rest[1..].starts_with(|c: char| c.is_ascii_digit()) => Ok(number(rest)),
        c if letter(c) => {
            let end = rest.find(|c| !inner(c)).unwrap_or(rest.len());
            let (word, next) = rest.split_at(end);
            Ok((Token::Word(word.to_owned()), next))
        }
        c => SIGNS
            .iter()
            .find_map(|sign| {
                rest.strip_prefix(sign)
                    .map(|next| (Token::Sign(sign), next))
            })
            .ok_or_else(|| ServerError::syntax(&c.to_string())),
    }
}

fn quoted(text: &str, end: char) -> Result<(String, &str), ServerError> {
    let mut found = String::new();
    let mut rest = text;
    loop {
        let Some((part, next)) = rest.split_once(end) else {
            return Err(ServerError::new(
                105,
                15,
                format!("Unclosed quotation mark after the character string '{text}'."),
            ));
        };
        found.push_str(part);
        match next.strip_prefix(end) {
            Some(next) => {
                found.push(end);
                rest = next;
            }
            None => return Ok((found, next)),
        }
    }
}

fn bytes(rest: &str) -> Result<(Token, &str), ServerError> {
    let end = rest
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(rest.len());
    let (digits, next) = rest.split_at(end);
    if next.starts_with(inner) {
        return Err(ServerError::syntax(next));
    }
    let even = if digits.len().is_multiple_of(2) {
        digits.to_owned()
    } else {
        format!("0{digits}")
    };
    let bytes = (0..even.len() / 2)
        .map(|at| u8::from_str_radix(&even[at * 2..at * 2 + 2], 16))
        .collect::<Result<_, _>>()
        .map_err(|_| ServerError::syntax(digits))?;
    Ok((Token::Bytes(bytes), next))
}

fn number(rest: &str) -> (Token, &str) {
    let digits = |text: &str, from: usize| {
        text[from..]
            .find(|c: char| !c.is_ascii_digit())
            .map_or(text.len(), |at| from + at)
    };
    let mut end = digits(rest, 0);
    if rest[end..].starts_with('.') {
        end = digits(rest, end + 1);
    }
    if rest[end..].starts_with(['e', 'E']) {
        let sign = usize::from(rest[end + 1..].starts_with(['+', '-']));
        let power = digits(rest, end + 1 + sign);
        if power > end + 1 + sign {
            end = power;
        }
    }
    let (number, next) = rest.split_at(end);
    (Token::Number(number.to_owned()), next)
}
