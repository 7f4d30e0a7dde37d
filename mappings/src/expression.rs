//! The part of SQL's scalar expressions that this form of the language has: a column, a constant,
//! and `case when c is [not] null then 'a' else 'b' end`. Whatever is accepted here means the same
//! in SQL, so files stay valid when the rest is added.

/// What a text means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Expression {
    Text(String),
    /// A number as written.
    Number(String),
    Column(Name),
    NullCase {
        column: Name,
        when_null: String,
        when_set: String,
    },
}

/// A column's name, with the alias of its table where it was written.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) alias: Option<String>,
    pub(crate) column: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// A name or keyword without quotes.
    Word(String),
    /// A name in quotes or brackets.
    Quoted(String),
    Text(String),
    Number(String),
    Other(char),
}

/// Words that SQL reads as something else than a column.
const KEYWORDS: &[&str] = &[
    "and", "between", "case", "cast", "distinct", "else", "end", "exists", "false", "from", "in",
    "interval", "is", "like", "not", "null", "or", "select", "then", "true", "when", "where",
];

const NOT_YET: &str = "not yet supported: expressions other than a column, a constant and \
                       `case when c is [not] null then 'a' else 'b' end`";

/// Reads an expression.
///
/// # Errors
/// What is wrong with it, and what to write instead.
pub(crate) fn parse(text: &str) -> Result<Expression, (String, Option<String>)> {
    let tokens = tokens(text).map_err(|found| (found, None))?;
    match tokens.as_slice() {
        [] => Err((
            "is empty".to_owned(),
            Some("a column, or '' for an empty text".to_owned()),
        )),
        [Token::Text(text)] => Ok(Expression::Text(text.clone())),
        [Token::Number(number)] => Ok(Expression::Number(number.clone())),
        [Token::Other('-'), Token::Number(number)] => Ok(Expression::Number(format!("-{number}"))),
        [Token::Word(word)] if is_keyword(word) => {
            let fix = match word.to_ascii_lowercase().as_str() {
                "true" | "false" => format!("{word} without quotes, or \"\\\"{word}\\\"\""),
                _ => format!("if it is a column, \"\\\"{word}\\\"\""),
            };
            Err((
                format!("`{word}` is a word of SQL, not a column"),
                Some(fix),
            ))
        }
        [Token::Word(first), ..] if first.eq_ignore_ascii_case("case") => null_case(&tokens),
        other => match name(other) {
            Some((name, [])) => Ok(Expression::Column(name)),
            Some((_, [Token::Word(_) | Token::Quoted(_), ..])) => {
                let fix =
                    "write a column with blanks as \"\\\"its name\\\"\", a text as \"'text'\"";
                Err((
                    "a column and something after it".to_owned(),
                    Some(fix.to_owned()),
                ))
            }
            _ => Err((NOT_YET.to_owned(), None)),
        },
    }
}

fn is_keyword(word: &str) -> bool {
    KEYWORDS
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

/// The column at the start of `tokens`, and what follows it.
fn name(tokens: &[Token]) -> Option<(Name, &[Token])> {
    let part = |token: &Token| match token {
        Token::Word(word) => Some((word.clone(), is_keyword(word))),
        Token::Quoted(word) => Some((word.clone(), false)),
        Token::Text(_) | Token::Number(_) | Token::Other(_) => None,
    };
    let (first, keyword) = part(tokens.first()?)?;
    if let [_, Token::Other('.'), second, rest @ ..] = tokens {
        // After an alias every word is a column.
        let (column, _) = part(second)?;
        let alias = Some(first);
        return Some((Name { alias, column }, rest));
    }
    if keyword {
        return None;
    }
    let name = Name {
        alias: None,
        column: first,
    };
    Some((name, tokens.get(1..)?))
}

fn null_case(tokens: &[Token]) -> Result<Expression, (String, Option<String>)> {
    let not_yet = || (NOT_YET.to_owned(), None);
    let rest = words(tokens, &["case", "when"]).ok_or_else(not_yet)?;
    let (column, rest) = name(rest).ok_or_else(not_yet)?;
    let rest = words(rest, &["is"]).ok_or_else(not_yet)?;
    let (negated, rest) = match words(rest, &["not"]) {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let rest = words(rest, &["null", "then"]).ok_or_else(not_yet)?;
    let [Token::Text(then), rest @ ..] = rest else {
        return Err(not_yet());
    };
    let rest = words(rest, &["else"]).ok_or_else(not_yet)?;
    let [Token::Text(other), rest @ ..] = rest else {
        return Err(not_yet());
    };
    if words(rest, &["end"]) != Some(&[]) {
        return Err(not_yet());
    }
    let (when_null, when_set) = if negated {
        (other, then)
    } else {
        (then, other)
    };
    Ok(Expression::NullCase {
        column,
        when_null: when_null.clone(),
        when_set: when_set.clone(),
    })
}

/// What follows these keywords.
fn words<'t>(tokens: &'t [Token], keywords: &[&str]) -> Option<&'t [Token]> {
    let (start, rest) = tokens.split_at_checked(keywords.len())?;
    let same = start.iter().zip(keywords).all(
        |(token, keyword)| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(keyword)),
    );
    same.then_some(rest)
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let mut run = |start: char, more: fn(char) -> bool| {
            let mut word = String::from(start);
            while let Some(c) = chars.next_if(|c| more(*c)) {
                word.push(c);
            }
            word
        };
        let token = match c {
            c if c.is_whitespace() => continue,
            '\'' => Token::Text(quoted(&mut chars, '\'').ok_or("a text has no closing '")?),
            '"' => Token::Quoted(quoted(&mut chars, '"').ok_or("a name has no closing \"")?),
            '[' => Token::Quoted(quoted(&mut chars, ']').ok_or("a name has no closing ]")?),
            c if c.is_ascii_digit() => Token::Number(run(c, |c| c.is_ascii_digit() || c == '.')),
            c if c.is_alphabetic() || c == '_' => Token::Word(run(c, |c| {
                c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@')
            })),
            c => Token::Other(c),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// Reads to the closing quote; a doubled one stands for itself.
fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, close: char) -> Option<String> {
    let mut text = String::new();
    loop {
        let c = chars.next()?;
        if c == close && chars.next_if_eq(&close).is_none() {
            return Some(text);
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn column(alias: Option<&str>, column: &str) -> Expression {
        Expression::Column(Name {
            alias: alias.map(str::to_owned),
            column: column.to_owned(),
        })
    }

    #[test]
    fn columns_and_constants_are_written_as_in_sql() {
        let cases = [
            ("qty", column(None, "qty")),
            (" stock . qty ", column(Some("stock"), "qty")),
            ("descrip##1", column(None, "descrip##1")),
            ("größe", column(None, "größe")),
            ("orders.order", column(Some("orders"), "order")),
            (
                "\"Outstanding Qty_ (Base)\"",
                column(None, "Outstanding Qty_ (Base)"),
            ),
            ("l.[No_]", column(Some("l"), "No_")),
            ("\"a\"\"b\".\"c.d\"", column(Some("a\"b"), "c.d")),
            ("'EA'", Expression::Text("EA".to_owned())),
            ("'it''s'", Expression::Text("it's".to_owned())),
            ("''", Expression::Text(String::new())),
            ("-1.50", Expression::Number("-1.50".to_owned())),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_null_case_takes_any_words_and_any_spelling() {
        let expected = |text: &str| {
            let Ok(Expression::NullCase {
                column,
                when_null,
                when_set,
            }) = parse(text)
            else {
                panic!("{text}: {:?}", parse(text))
            };
            (column.column, when_null, when_set)
        };
        let set = |column: &str, when_null: &str, when_set: &str| {
            (column.to_owned(), when_null.to_owned(), when_set.to_owned())
        };
        assert_eq!(
            expected("case when o.shipped is null then 'not yet' else 'then else' end"),
            set("shipped", "not yet", "then else")
        );
        assert_eq!(
            expected("CASE WHEN \"s d\" IS NOT NULL\n THEN 'shipped' ELSE '' END"),
            set("s d", "", "shipped")
        );
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        let cases = [
            ("", "is empty"),
            ("a + b", "not yet supported"),
            ("coalesce(a, 0)", "not yet supported"),
            ("case when a = 1 then 'x' else 'y' end", "not yet supported"),
            (
                "case when a is null then b else 'y' end",
                "not yet supported",
            ),
            ("case when a is null then 'x' end", "not yet supported"),
            ("null", "`null` is a word of SQL"),
            ("True", "`True` is a word of SQL"),
            ("a b", "a column and something after it"),
            ("'EA", "a text has no closing '"),
            ("\"qty", "a name has no closing \""),
            ("a.b.c", "not yet supported"),
        ];
        for (text, expected) in cases {
            let (found, _) = parse(text).unwrap_err();
            assert!(found.starts_with(expected), "{text:?} gives {found}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: String, sql in "[a-z .'\"\\[\\]0-9-]{0,40}") {
            let _ = parse(&text);
            let _ = parse(&sql);
        }

        #[test]
        fn every_quoted_name_and_text_comes_back(text: String) {
            let name = format!("\"{}\"", text.replace('"', "\"\""));
            prop_assert_eq!(parse(&name), Ok(column(None, &text)));
            let literal = format!("'{}'", text.replace('\'', "''"));
            prop_assert_eq!(parse(&literal), Ok(Expression::Text(text)));
        }
    }
}
