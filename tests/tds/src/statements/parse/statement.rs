//! Statements that are no SELECT and change no data.

use super::{Parser, Result};
use crate::statements::ast::{Expr, On, Statement};
use crate::statements::token::Token;
use crate::wire::{Isolation, ServerError};

/// SET options that are taken.
const OPTIONS: [&str; 19] = [
    "XACT_ABORT",
    "LOCK_TIMEOUT",
    "NOCOUNT",
    "DEADLOCK_PRIORITY",
    "TEXTSIZE",
    "DATEFORMAT",
    "DATEFIRST",
    "LANGUAGE",
    "ROWCOUNT",
    "ARITHABORT",
    "ANSI_NULLS",
    "ANSI_PADDING",
    "ANSI_WARNINGS",
    "ANSI_NULL_DFLT_ON",
    "ANSI_DEFAULTS",
    "CONCAT_NULL_YIELDS_NULL",
    "QUOTED_IDENTIFIER",
    "NUMERIC_ROUNDABORT",
    "IMPLICIT_TRANSACTIONS",
];

impl Parser<'_> {
    pub(super) fn statement(&mut self) -> Result<Statement> {
        self.deeper(Self::one)
    }

    fn one(&mut self) -> Result<Statement> {
        let Token::Word(word) = self.peek().clone() else {
            return self.wrong();
        };
        match word.to_uppercase().as_str() {
            "SELECT" => self.query().map(Statement::Query),
            "WITH" => self.with().map(Statement::Query),
            "SET" => self.set(),
            "BEGIN" => self.begin(),
            "COMMIT" => Ok(self.end_of_transaction(Statement::Commit)),
            "ROLLBACK" => Ok(self.end_of_transaction(Statement::Rollback)),
            "IF" => {
                self.next();
                let when = self.expr()?;
                let then = Box::new(self.statement()?);
                let here = self.here();
                while self.sign(";") {}
                let other = if self.word("ELSE") {
                    Some(Box::new(self.statement()?))
                } else {
                    self.back_to(here);
                    None
                };
                Ok(Statement::If(when, then, other))
            }
            "USE" => {
                self.next();
                self.name().map(Statement::Use)
            }
            "DECLARE" => {
                self.next();
                let Token::Variable(name) = self.next() else {
                    self.back_to(self.here() - 1);
                    return self.wrong();
                };
                self.word("AS");
                let (kind, _) = self.kind()?;
                let value = if self.sign("=") {
                    Some(self.expr()?)
                } else {
                    None
                };
                Ok(Statement::Declare(name, kind, value))
            }
            "PRINT" => {
                self.next();
                self.expr().map(Statement::Print)
            }
            "EXEC" | "EXECUTE" => self.execute(),
            "GRANT" | "REVOKE" | "DENY" => self.grant(),
            _ => self.change(),
        }
    }

    fn set(&mut self) -> Result<Statement> {
        self.need("SET")?;
        if let Token::Variable(name) = self.peek().clone() {
            self.next();
            self.need_sign("=")?;
            return Ok(Statement::Assign(name, self.expr()?));
        }
        if self.words(&["TRANSACTION", "ISOLATION", "LEVEL"]) {
            let level = if self.words(&["READ", "UNCOMMITTED"]) {
                Isolation::ReadUncommitted
            } else if self.words(&["READ", "COMMITTED"]) {
                Isolation::ReadCommitted
            } else if self.words(&["REPEATABLE", "READ"]) {
                Isolation::RepeatableRead
            } else if self.word("SERIALIZABLE") {
                Isolation::Serializable
            } else if self.word("SNAPSHOT") {
                Isolation::Snapshot
            } else {
                return self.wrong();
            };
            return Ok(Statement::SetIsolation(level));
        }
        let mut names = vec![self.any_word()?];
        while self.sign(",") {
            names.push(self.any_word()?);
        }
        for name in &names {
            if !OPTIONS.contains(&name.as_str()) {
                return Err(ServerError::new(
                    195,
                    15,
                    format!("'{name}' is not a recognized SET option."),
                ));
            }
        }
        let minus = if self.sign("-") { "-" } else { "" };
        let value = match self.next() {
            Token::Word(value) => value.to_uppercase(),
            Token::Number(value) => format!("{minus}{value}"),
            Token::Text(value, _) => value,
            _ => {
                self.back_to(self.here() - 1);
                return self.wrong();
            }
        };
        Ok(Statement::Set(names.join(","), value))
    }

    fn begin(&mut self) -> Result<Statement> {
        self.need("BEGIN")?;
        if self.word("TRAN") || self.word("TRANSACTION") {
            // A name may follow; a statement does not begin with a name in brackets.
            if matches!(self.peek(), Token::Name(_)) {
                self.next();
            }
            return Ok(Statement::Begin);
        }
        let mut inner = Vec::new();
        loop {
            while self.sign(";") {}
            if self.word("END") {
                break;
            }
            inner.push(self.statement()?);
        }
        if inner.is_empty() {
            self.wrong()
        } else {
            Ok(Statement::Block(inner))
        }
    }

    fn end_of_transaction(&mut self, statement: Statement) -> Statement {
        self.next();
        if !self.word("TRAN") && !self.word("TRANSACTION") {
            self.word("WORK");
        }
        statement
    }

    fn execute(&mut self) -> Result<Statement> {
        self.next();
        let path = self.path()?;
        let mut args = Vec::new();
        let mut more = !self.at_end() && !self.is_sign(";");
        while more {
            let name = match (self.peek().clone(), self.peek_at(1)) {
                (Token::Variable(name), Token::Sign("=")) => {
                    self.next();
                    self.next();
                    Some(name)
                }
                _ => None,
            };
            let value = if self.word("DEFAULT") {
                None
            } else if let Token::Word(word) = self.peek().clone()
                && !self.is("NULL")
            {
                // A bare word is a text, as in `EXEC p N, on`.
                self.next();
                Some(Expr::Literal(
                    crate::wire::Value::Text(word),
                    crate::wire::Type::NVarChar(crate::wire::Length::Of(128)),
                ))
            } else {
                Some(self.sum()?)
            };
            if let Some(value) = value {
                args.push((name, value));
            }
            more = self.sign(",");
        }
        Ok(Statement::Execute { path, args })
    }

    fn grant(&mut self) -> Result<Statement> {
        let grant = match self.any_word()?.as_str() {
            "GRANT" => true,
            "REVOKE" => false,
            _ => {
                self.back_to(self.here() - 1);
                return self.wrong();
            }
        };
        let mut permissions = Vec::new();
        loop {
            let mut words = Vec::new();
            while !self.is("ON") && !self.is("TO") && !self.is("FROM") && !self.is_sign(",") {
                if self.is_sign("(") {
                    self.list(Self::name)?;
                    continue;
                }
                words.push(self.any_word()?);
            }
            if words.is_empty() {
                return self.wrong();
            }
            permissions.push(words.join(" "));
            if !self.sign(",") {
                break;
            }
        }
        let on = if self.word("ON") {
            self.securable()?
        } else {
            On::Whole
        };
        if !self.word("TO") {
            self.need("FROM")?;
        }
        let to = self.commas(Self::name)?;
        Ok(Statement::Grant {
            grant,
            permissions,
            on,
            to,
        })
    }

    fn securable(&mut self) -> Result<On> {
        let class = if matches!(self.peek_at(1), Token::Sign(":")) {
            self.any_word()?
        } else {
            String::new()
        };
        if !class.is_empty() {
            self.need_sign(":")?;
            self.need_sign(":")?;
        }
        match class.as_str() {
            "SCHEMA" => self.name().map(On::Schema),
            "" | "OBJECT" => self.path().map(On::Object),
            "DATABASE" => self.name().map(|_| On::Whole),
            _ => self.wrong(),
        }
    }
}
