//! From text to a syntax tree.

use sqlparser::ast;
use sqlparser::dialect::Dialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use super::Wrong;

/// Longer expressions are refused: they belong into a view, a dictionary or several fields.
const TOKENS_MAX: usize = 2_000;
/// Brackets, cases and calls inside each other.
const DEPTH_MAX: usize = 40;
/// What to do about what cannot be read.
const SUCH_AS: &str = "as in SQL: alias.column, 'a text', 12.5, upper(alias.column), case when .. then .. else .. end";
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

/// What is wrong with a text, and where: line and character, from 1.
pub(super) type Misread = (Wrong, Option<(u64, u64)>);

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<ast::Expr, Misread> {
    // The parser takes tens of kilobytes of stack for each level of brackets; our caller's stack
    // may be small.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || read(text))
            .map_err(|error| nowhere(format!("cannot be read: {error}"), None))?
            .join()
            .unwrap_or_else(|_| Err(nowhere("cannot be read by the SQL parser", None)))
    })
}

fn nowhere(found: impl Into<String>, fix: Option<&str>) -> Misread {
    ((found.into(), fix.map(str::to_owned)), None)
}

fn read(text: &str) -> Result<ast::Expr, Misread> {
    let tokens = Tokenizer::new(&Sql, text)
        .tokenize_with_location()
        .map_err(|error| {
            let found = format!("is no expression: {}", plain(&error.message, None));
            (
                (found, Some(SUCH_AS.to_owned())),
                Some((error.location.line, error.location.column)),
            )
        })?;
    let solid = |token: &&TokenWithSpan| !matches!(token.token, Token::Whitespace(_) | Token::EOF);
    match tokens.iter().filter(solid).count() {
        0 => {
            let fix = "a column, or '' for an empty text";
            return Err(nowhere("is empty", Some(fix)));
        }
        count if count > TOKENS_MAX => {
            let found = format!("is longer than {TOKENS_MAX} words and signs");
            return Err(nowhere(found, None));
        }
        _ => {}
    }
    let foreign = tokens.iter().find_map(|token| {
        let (sign, word) = foreign(&token.token)?;
        let at = token.span.start;
        let found = format!("`{sign}` is no operator of this language");
        let fix = Some(format!("`{word}`"));
        Some(((found, fix), Some((at.line, at.column))))
    });
    if let Some(foreign) = foreign {
        return Err(foreign);
    }
    let open = |keyword: Keyword| {
        let same = |token: &&TokenWithSpan| matches!(&token.token, Token::Word(word) if word.keyword == keyword);
        tokens.iter().filter(same).count()
    };
    let is_unended = open(Keyword::CASE) > open(Keyword::END);
    let lines = text.lines().count();
    let mut parser = Parser::new(&Sql)
        .with_recursion_limit(DEPTH_MAX)
        .with_tokens_with_locations(tokens);
    let unended = || {
        let fix = "case when .. then .. else .. end";
        nowhere("has a `case` without its `end`", Some(fix))
    };
    let parsed = parser.parse_expr().map_err(|error| match error {
        ParserError::RecursionLimitExceeded => nowhere(
            format!("has more than {DEPTH_MAX} brackets, cases or calls inside each other"),
            Some("put parts of it into fields of their own, or into a view of the database"),
        ),
        _ if is_unended => unended(),
        ParserError::TokenizerError(found) | ParserError::ParserError(found) => {
            let (found, at) = placed(&found);
            let shown = at.filter(|_| lines == 1);
            (
                (
                    format!("is no expression: {}", plain(found, shown)),
                    Some(SUCH_AS.to_owned()),
                ),
                at,
            )
        }
    })?;
    let rest = parser.peek_token();
    if rest.token != Token::EOF {
        if is_unended {
            return Err(unended());
        }
        // What cannot be read as `case` is taken for a column of that name.
        if matches!(&rest.token, Token::Word(word) if word.keyword == Keyword::WHEN) {
            let fix = "case when .. then .. else .. end";
            return Err(nowhere("has a `case` that is not whole", Some(fix)));
        }
        let fix = "a column with blanks is written \"\\\"its name\\\"\", a text \"'text'\"";
        let at = rest.span.start;
        let character = match lines {
            1 => format!(" (character {})", at.column),
            _ => String::new(),
        };
        let found = format!(
            "`{}` stands after a whole expression{character}",
            rest.token
        );
        return Err(((found, Some(fix.to_owned())), Some((at.line, at.column))));
    }
    Ok(parsed)
}

/// Operators of other languages, and what SQL says.
fn foreign(token: &Token) -> Option<(&'static str, &'static str)> {
    match token {
        Token::Overlap => Some(("&&", "and")),
        Token::ExclamationMark => Some(("!", "not")),
        _ => None,
    }
}

/// sqlparser's sentence without the place at its end, and that place.
fn placed(found: &str) -> (&str, Option<(u64, u64)>) {
    let split = || {
        let (said, place) = found.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        Some((said, (line.parse().ok()?, column.parse().ok()?)))
    };
    split().map_or((found, None), |(said, at)| (said, Some(at)))
}

/// sqlparser's sentence in our form: lower-case, places as characters of the text.
fn plain(found: &str, at: Option<(u64, u64)>) -> String {
    let found = found.replace("found: EOF", "found its end");
    let mut chars = found.chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    let said: String = first.into_iter().chain(chars).collect();
    match at {
        Some((_, character)) => format!("{said}, at character {character}"),
        None => said,
    }
}

/// Where an expression begins, about. Goes down its left side one by one: a tree may be higher than
/// any stack.
pub(super) fn start(node: &ast::Expr) -> Option<(u64, u64)> {
    use ast::Expr as E;
    let mut node = node;
    let span = loop {
        node = match node {
            E::Identifier(name) => break name.span,
            E::CompoundIdentifier(parts) => break parts.first()?.span,
            E::Value(value) => break value.span,
            E::Case { case_token, .. } => break case_token.0.span,
            E::Function(call) => match call.name.0.first()? {
                ast::ObjectNamePart::Identifier(name) => break name.span,
                ast::ObjectNamePart::Function(_) => return None,
            },
            E::BinaryOp { left, .. } => left,
            E::Nested(inner)
            | E::IsNull(inner)
            | E::IsNotNull(inner)
            | E::IsTrue(inner)
            | E::IsFalse(inner)
            | E::IsNotTrue(inner)
            | E::IsNotFalse(inner)
            | E::IsDistinctFrom(inner, _)
            | E::IsNotDistinctFrom(inner, _) => inner,
            E::UnaryOp { expr, .. }
            | E::In { expr, .. }
            | E::Between { expr, .. }
            | E::Like { expr, .. }
            | E::Cast { expr, .. }
            | E::Ceil { expr, .. }
            | E::Floor { expr, .. }
            | E::Substring { expr, .. }
            | E::Trim { expr, .. } => expr,
            _ => return None,
        };
    };
    (span.start.line > 0).then_some((span.start.line, span.start.column))
}
