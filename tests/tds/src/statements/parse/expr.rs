//! Expressions.

use super::{Parser, Result, reserved};
use crate::statements::ast::{Expr, Op};
use crate::statements::token::Token;
use crate::wire::{Length, ServerError, Type, Value};

/// Functions whose first argument is a word and no column.
const DATED: [&str; 6] = [
    "DATEPART",
    "DATEADD",
    "DATEDIFF",
    "DATEDIFF_BIG",
    "DATENAME",
    "DATETRUNC",
];

impl Parser<'_> {
    /// A whole expression.
    pub(super) fn expr(&mut self) -> Result<Expr> {
        self.deeper(Self::or)
    }

    fn or(&mut self) -> Result<Expr> {
        let mut left = self.and()?;
        while self.word("OR") {
            left = Expr::Binary(Op::Or, Box::new(left), Box::new(self.and()?));
        }
        Ok(left)
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.not()?;
        while self.word("AND") {
            left = Expr::Binary(Op::And, Box::new(left), Box::new(self.not()?));
        }
        Ok(left)
    }

    fn not(&mut self) -> Result<Expr> {
        if self.word("NOT") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::not)?)));
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Expr> {
        let left = self.sum()?;
        let compare = match self.peek() {
            Token::Sign("=") => Some(Op::Eq),
            Token::Sign("<>" | "!=") => Some(Op::Ne),
            Token::Sign("<") => Some(Op::Lt),
            Token::Sign("<=" | "!>") => Some(Op::Le),
            Token::Sign(">") => Some(Op::Gt),
            Token::Sign(">=" | "!<") => Some(Op::Ge),
            _ => None,
        };
        if let Some(op) = compare {
            self.next();
            return Ok(Expr::Binary(op, Box::new(left), Box::new(self.sum()?)));
        }
        if self.word("IS") {
            let not = self.word("NOT");
            self.need("NULL")?;
            return Ok(Expr::IsNull(Box::new(left), not));
        }
        let not = self.word("NOT");
        if self.word("LIKE") {
            let pattern = Box::new(self.sum()?);
            let escape = if self.word("ESCAPE") {
                Some(Box::new(self.sum()?))
            } else {
                None
            };
            return Ok(Expr::Like {
                what: Box::new(left),
                pattern,
                escape,
                not,
            });
        }
        if self.word("BETWEEN") {
            let low = self.sum()?;
            self.need("AND")?;
            let high = self.sum()?;
            return Ok(Expr::Between(
                Box::new(left),
                Box::new(low),
                Box::new(high),
                not,
            ));
        }
        if self.word("IN") {
            self.need_sign("(")?;
            if self.is("SELECT") {
                let query = self.query()?;
                self.need_sign(")")?;
                return Ok(Expr::InQuery(Box::new(left), Box::new(query), not));
            }
            let list = self.commas(Self::expr)?;
            self.need_sign(")")?;
            return Ok(Expr::In(Box::new(left), list, not));
        }
        if not { self.wrong() } else { Ok(left) }
    }

    pub(super) fn sum(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Token::Sign("+") => Op::Add,
                Token::Sign("-") => Op::Sub,
                Token::Sign("&") => Op::BitAnd,
                Token::Sign("|") => Op::BitOr,
                Token::Sign("^") => Op::BitXor,
                _ => return Ok(left),
            };
            self.next();
            left = Expr::Binary(op, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.unary()?;
        loop {
            let op = match self.peek() {
                Token::Sign("*") => Op::Mul,
                Token::Sign("/") => Op::Div,
                Token::Sign("%") => Op::Mod,
                _ => return Ok(left),
            };
            self.next();
            left = Expr::Binary(op, Box::new(left), Box::new(self.unary()?));
        }
    }

    fn unary(&mut self) -> Result<Expr> {
        if self.sign("-") {
            return Ok(Expr::Minus(Box::new(self.deeper(Self::unary)?)));
        }
        if self.sign("+") {
            return self.deeper(Self::unary);
        }
        let mut inner = self.primary()?;
        while self.word("COLLATE") {
            inner = Expr::Collate(Box::new(inner), self.name()?);
        }
        Ok(inner)
    }

    pub(super) fn primary(&mut self) -> Result<Expr> {
        match self.peek().clone() {
            Token::Number(digits) => {
                self.next();
                number(&digits)
            }
            Token::Text(text, unicode) => {
                self.next();
                let length = text.encode_utf16().count().clamp(1, 4000);
                let length = Length::Of(u16::try_from(length).unwrap_or(4000));
                let kind = if unicode {
                    Type::NVarChar(length)
                } else {
                    Type::VarChar(length)
                };
                Ok(Expr::Literal(Value::Text(text), kind))
            }
            Token::Bytes(bytes) => {
                self.next();
                let length = u16::try_from(bytes.len().clamp(1, 8000)).unwrap_or(8000);
                Ok(Expr::Literal(
                    Value::Bytes(bytes),
                    Type::VarBinary(Length::Of(length)),
                ))
            }
            Token::Variable(name) => {
                self.next();
                Ok(Expr::Parameter(name))
            }
            Token::Global(name) => {
                self.next();
                Ok(Expr::Global(name.to_uppercase()))
            }
            Token::Sign("(") => {
                self.next();
                let inner = if self.is("SELECT") {
                    Expr::Query(Box::new(self.query()?))
                } else {
                    self.expr()?
                };
                self.need_sign(")")?;
                Ok(inner)
            }
            Token::Word(word) => self.from_word(&word.to_uppercase()),
            Token::Name(_) => self.column_or_call(),
            _ => self.wrong(),
        }
    }

    fn from_word(&mut self, word: &str) -> Result<Expr> {
        match word {
            "NULL" => {
                self.next();
                Ok(Expr::Literal(Value::Null, Type::Int))
            }
            "CASE" => {
                self.next();
                self.case()
            }
            "CAST" | "TRY_CAST" => {
                self.next();
                self.need_sign("(")?;
                let what = Box::new(self.expr()?);
                self.need("AS")?;
                let (to, _) = self.kind()?;
                self.need_sign(")")?;
                Ok(Expr::Cast {
                    what,
                    to,
                    style: 0,
                    lenient: word == "TRY_CAST",
                })
            }
            "CONVERT" | "TRY_CONVERT" => {
                self.next();
                self.need_sign("(")?;
                let (to, _) = self.kind()?;
                self.need_sign(",")?;
                let what = Box::new(self.expr()?);
                let style = if self.sign(",") { self.style()? } else { 0 };
                self.need_sign(")")?;
                Ok(Expr::Cast {
                    what,
                    to,
                    style,
                    lenient: word == "TRY_CONVERT",
                })
            }
            "EXISTS" => {
                self.next();
                self.need_sign("(")?;
                let query = self.query()?;
                self.need_sign(")")?;
                Ok(Expr::Exists(Box::new(query)))
            }
            "LEFT" | "RIGHT" if *self.peek_at(1) == Token::Sign("(") => {
                self.next();
                let args = self.list(Self::expr)?;
                Ok(Expr::Call {
                    name: vec![word.to_owned()],
                    args,
                    star: false,
                    distinct: false,
                })
            }
            word if reserved(word) => self.wrong(),
            _ => self.column_or_call(),
        }
    }

    fn style(&mut self) -> Result<i32> {
        match self.next() {
            Token::Number(digits) => digits.parse().or_else(|_| self.wrong()),
            _ => self.wrong(),
        }
    }

    fn case(&mut self) -> Result<Expr> {
        let of = if self.is("WHEN") {
            None
        } else {
            Some(Box::new(self.expr()?))
        };
        let mut whens = Vec::new();
        while self.word("WHEN") {
            let when = self.expr()?;
            self.need("THEN")?;
            whens.push((when, self.expr()?));
        }
        if whens.is_empty() {
            return self.wrong();
        }
        let other = if self.word("ELSE") {
            Some(Box::new(self.expr()?))
        } else {
            None
        };
        self.need("END")?;
        Ok(Expr::Case { of, whens, other })
    }

    fn column_or_call(&mut self) -> Result<Expr> {
        let name = self.path()?;
        if !self.is_sign("(") {
            return Ok(Expr::Column(name));
        }
        self.need_sign("(")?;
        let (mut args, mut star, mut distinct) = (Vec::new(), false, false);
        if self.sign("*") {
            star = true;
        } else if !self.is_sign(")") {
            distinct = self.word("DISTINCT");
            let dated = name.len() == 1 && DATED.iter().any(|f| f.eq_ignore_ascii_case(&name[0]));
            if dated {
                args.push(Expr::Word(self.any_word()?));
                self.need_sign(",")?;
            }
            args.extend(self.commas(Self::expr)?);
        }
        self.need_sign(")")?;
        if self.is("OVER") {
            // Window functions are not modelled.
            return self.wrong();
        }
        Ok(Expr::Call {
            name,
            args,
            star,
            distinct,
        })
    }
}

fn number(digits: &str) -> Result<Expr> {
    let wrong = || ServerError::syntax(digits);
    if digits.contains(['e', 'E']) {
        let value = digits.parse().map_err(|_| wrong())?;
        return Ok(Expr::Literal(Value::Float(value), Type::Float));
    }
    if let Ok(value) = digits.parse::<i32>() {
        return Ok(Expr::Literal(Value::Int(value), Type::Int));
    }
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{part}");
    let value: i128 = all.parse().map_err(|_| wrong())?;
    let scale = u8::try_from(part.len()).map_err(|_| wrong())?;
    let precision = all.trim_start_matches('0').len().max(part.len()).max(1);
    let precision = u8::try_from(precision)
        .ok()
        .filter(|p| *p <= 38)
        .ok_or_else(wrong)?;
    Ok(Expr::Literal(
        Value::Decimal(value),
        Type::Numeric(precision, scale),
    ))
}
