//! Reads T-SQL text. What it does not know is error 102, as SQL Server says it.

mod change;
mod expr;
mod kinds;
mod query;
mod statement;

use super::ast::{Path, Query, Statement};
use super::token::{Placed, Token, tokens};
use crate::wire::ServerError;

pub(super) type Result<T> = std::result::Result<T, ServerError>;

/// A statement of a batch and its own text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Read {
    pub(crate) statement: Statement,
    pub(crate) text: String,
}

/// Reads all statements of a batch.
pub(crate) fn batch(sql: &str) -> Result<Vec<Read>> {
    let tokens = tokens(sql)?;
    let mut parser = Parser {
        sql,
        tokens,
        at: 0,
        depth: 0,
        with: Vec::new(),
    };
    let mut found = Vec::new();
    loop {
        while parser.sign(";") {}
        if parser.at_end() {
            return Ok(found);
        }
        let from = parser.place();
        let statement = parser.statement()?;
        parser.with.clear();
        let text = sql[from..parser.end_before()].to_owned();
        found.push(Read { statement, text });
    }
}

/// Words that are no alias and no column unless in brackets.
const RESERVED: [&str; 78] = [
    "ADD",
    "ALL",
    "ALTER",
    "AND",
    "ANY",
    "AS",
    "ASC",
    "BEGIN",
    "BETWEEN",
    "BY",
    "CASE",
    "COLLATE",
    "COLUMN",
    "COMMIT",
    "CONSTRAINT",
    "CONVERT",
    "CREATE",
    "CROSS",
    "DATABASE",
    "DECLARE",
    "DEFAULT",
    "DELETE",
    "DESC",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "ESCAPE",
    "EXCEPT",
    "EXEC",
    "EXECUTE",
    "EXISTS",
    "FETCH",
    "FOR",
    "FROM",
    "FULL",
    "FUNCTION",
    "GRANT",
    "GROUP",
    "HAVING",
    "IF",
    "IN",
    "INDEX",
    "INNER",
    "INSERT",
    "INTERSECT",
    "INTO",
    "IS",
    "JOIN",
    "KEY",
    "LEFT",
    "LIKE",
    "NOT",
    "NULL",
    "ON",
    "OPTION",
    "OR",
    "ORDER",
    "OUTER",
    "PERCENT",
    "PRIMARY",
    "REVOKE",
    "RIGHT",
    "ROLLBACK",
    "SELECT",
    "SET",
    "TABLE",
    "THEN",
    "TO",
    "TOP",
    "TRUNCATE",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USE",
    "VALUES",
    "WHEN",
    "WHERE",
];

/// How deep expressions and queries may be in one another.
const DEPTH_MAX: usize = 64;

pub(super) struct Parser<'a> {
    sql: &'a str,
    tokens: Vec<Placed>,
    at: usize,
    depth: usize,
    /// Queries that the statement named before it began.
    with: Vec<(String, Query)>,
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> &Token {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> &Token {
        self.tokens
            .get(self.at + ahead)
            .map_or(&Token::End, |placed| &placed.token)
    }

    pub(super) fn next(&mut self) -> Token {
        let token = self.peek().clone();
        if self.at < self.tokens.len() {
            self.at += 1;
        }
        token
    }

    pub(super) fn at_end(&self) -> bool {
        *self.peek() == Token::End
    }

    fn place(&self) -> usize {
        self.tokens
            .get(self.at)
            .map_or(self.sql.len(), |placed| placed.from)
    }

    fn end_before(&self) -> usize {
        self.at
            .checked_sub(1)
            .and_then(|at| self.tokens.get(at))
            .map_or(0, |placed| placed.to)
    }

    pub(super) fn wrong<T>(&self) -> Result<T> {
        Err(match self.peek() {
            Token::End => match self.at.checked_sub(1).and_then(|at| self.tokens.get(at)) {
                Some(last) => ServerError::syntax(&last.token.to_string()),
                None => ServerError::syntax(""),
            },
            Token::Word(word) if reserved(word) => ServerError::new(
                156,
                15,
                format!("Incorrect syntax near the keyword '{word}'."),
            ),
            token => ServerError::syntax(&token.to_string()),
        })
    }

    /// Whether the word `ahead` words from here is this keyword.
    pub(super) fn is_at(&self, ahead: usize, word: &str) -> bool {
        matches!(self.peek_at(ahead), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    pub(super) fn is(&self, word: &str) -> bool {
        self.is_at(0, word)
    }

    /// Takes a keyword if it is there.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.is(word);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes several keywords if all are there.
    pub(super) fn words(&mut self, words: &[&str]) -> bool {
        let found = words
            .iter()
            .enumerate()
            .all(|(ahead, word)| self.is_at(ahead, word));
        if found {
            self.at += words.len();
        }
        found
    }

    pub(super) fn need(&mut self, word: &str) -> Result<()> {
        if self.word(word) {
            Ok(())
        } else {
            self.wrong()
        }
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Token::Sign(found) if *found == sign)
    }

    pub(super) fn sign(&mut self, sign: &str) -> bool {
        let found = self.is_sign(sign);
        if found {
            self.at += 1;
        }
        found
    }

    pub(super) fn need_sign(&mut self, sign: &str) -> Result<()> {
        if self.sign(sign) {
            Ok(())
        } else {
            self.wrong()
        }
    }

    /// A name: in brackets anything, bare no reserved word.
    pub(super) fn name(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Name(name) => {
                self.at += 1;
                Ok(name)
            }
            Token::Word(word) if !reserved(&word) => {
                self.at += 1;
                Ok(word)
            }
            _ => self.wrong(),
        }
    }

    /// A bare word of any kind, in upper case.
    pub(super) fn any_word(&mut self) -> Result<String> {
        match self.peek().clone() {
            Token::Word(word) => {
                self.at += 1;
                Ok(word.to_uppercase())
            }
            _ => self.wrong(),
        }
    }

    /// A name of several parts. An empty part (`db..t`) is the default schema.
    pub(super) fn path(&mut self) -> Result<Path> {
        let mut path = vec![self.name()?];
        while self.sign(".") {
            if self.is_sign(".") {
                path.push("dbo".to_owned());
                continue;
            }
            path.push(self.name()?);
        }
        if path.len() > 4 {
            return self.wrong();
        }
        Ok(path)
    }

    /// `one, two, ..` between brackets.
    pub(super) fn list<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.need_sign("(")?;
        let found = self.commas(one)?;
        self.need_sign(")")?;
        Ok(found)
    }

    /// `one, two, ..`
    pub(super) fn commas<T>(&mut self, one: impl Fn(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut found = vec![one(self)?];
        while self.sign(",") {
            found.push(one(self)?);
        }
        Ok(found)
    }

    /// One level deeper, as far as allowed.
    pub(super) fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth == DEPTH_MAX {
            return Err(ServerError::new(
                191,
                15,
                "Some part of your SQL statement is nested too deeply. Rewrite the query or break \
                 it up into smaller queries.",
            ));
        }
        self.depth += 1;
        let found = inner(self);
        self.depth -= 1;
        found
    }

    pub(super) fn back_to(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn here(&self) -> usize {
        self.at
    }
}

fn reserved(word: &str) -> bool {
    RESERVED
        .iter()
        .any(|reserved| reserved.eq_ignore_ascii_case(word))
}
