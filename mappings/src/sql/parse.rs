//! From text to a syntax tree.

use sqlparser::ast;
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Tokenizer};

use super::Wrong;

/// Longer expressions are refused: they belong into a view, a dictionary or several fields.
const TOKENS_MAX: usize = 2_000;
/// Brackets, cases and calls inside each other.
const DEPTH_MAX: usize = 40;
/// Bytes of stack for the parser; memory is taken only as it is used.
const PARSER_STACK: usize = 32 << 20;

/// Names as SQL Server, PostgreSQL, MySQL and SQLite write them, all at once.
#[derive(Debug)]
struct Sql;

impl Dialect for Sql {
    fn is_identifier_start(&self, c: char) -> bool {
        c.is_alphabetic() || c == '_'
    }

    fn is_identifier_part(&self, c: char) -> bool {
        c.is_alphanumeric() || matches!(c, '_' | '$' | '#' | '@')
    }

    fn is_delimited_identifier_start(&self, c: char) -> bool {
        matches!(c, '"' | '[' | '`')
    }
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<ast::Expr, Wrong> {
    // The parser takes tens of kilobytes of stack for each level of brackets; our caller's stack
    // may be small.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || read(text))
            .map_err(|error| (format!("cannot be read: {error}"), None))?
            .join()
            .unwrap_or_else(|_| Err(("cannot be read by the SQL parser".to_owned(), None)))
    })
}

fn read(text: &str) -> Result<ast::Expr, Wrong> {
    let tokens = Tokenizer::new(&Sql, text)
        .tokenize_with_location()
        .map_err(|error| (format!("is no expression: {}", plain(&error.message)), None))?;
    let solid = |token: &&sqlparser::tokenizer::TokenWithSpan| {
        !matches!(token.token, Token::Whitespace(_) | Token::EOF)
    };
    match tokens.iter().filter(solid).count() {
        0 => {
            let fix = "a column, or '' for an empty text";
            return Err(("is empty".to_owned(), Some(fix.to_owned())));
        }
        count if count > TOKENS_MAX => {
            return Err((format!("is longer than {TOKENS_MAX} words and signs"), None));
        }
        _ => {}
    }
    let mut parser = Parser::new(&Sql)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens);
    let parsed = parser.parse_expr().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => (
            format!("has more than {DEPTH_MAX} brackets, cases or calls inside each other"),
            None,
        ),
        ParserError::TokenizerError(found) | ParserError::ParserError(found) => {
            (format!("is no expression: {}", plain(&found)), None)
        }
    })?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        let fix = "a column with blanks is written \"\\\"its name\\\"\", a text \"'text'\"";
        return Err((
            format!(
                "`{}` stands after a whole expression (character {})",
                rest.token, rest.span.start.column
            ),
            Some(fix.to_owned()),
        ));
    }
    Ok(parsed)
}

/// sqlparser's sentence in our form: lower-case, places as characters of the text.
fn plain(found: &str) -> String {
    let found = found
        .replace(" at Line: 1, Column: ", ", at character ")
        .replace("found: EOF", "found its end");
    let mut chars = found.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}
