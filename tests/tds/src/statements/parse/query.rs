//! SELECT.

use super::{Parser, Result};
use crate::model::same_name;
use crate::statements::ast::{Expr, From, Item, Join, Query, Select};
use crate::statements::token::Token;
use crate::wire::ServerError;

impl Parser<'_> {
    /// A SELECT with what follows it.
    pub(super) fn query(&mut self) -> Result<Query> {
        self.deeper(|parser| {
            let mut selects = vec![parser.select()?];
            while parser.is("UNION") {
                if !parser.words(&["UNION", "ALL"]) {
                    return parser.wrong();
                }
                selects.push(parser.select()?);
            }
            let mut order = Vec::new();
            let mut skip = None;
            if parser.words(&["ORDER", "BY"]) {
                order = parser.commas(|parser| {
                    let by = parser.expr()?;
                    let down = parser.word("DESC");
                    if !down {
                        parser.word("ASC");
                    }
                    Ok((by, down))
                })?;
                skip = parser.skip()?;
            }
            if parser.word("OPTION") {
                parser.list(Self::hint)?;
            }
            Ok(Query {
                selects,
                order,
                skip,
            })
        })
    }

    /// `WITH x AS (SELECT ..) SELECT ..`. None of them may name itself.
    pub(super) fn with(&mut self) -> Result<Query> {
        self.need("WITH")?;
        loop {
            let name = self.name()?;
            self.need("AS")?;
            self.need_sign("(")?;
            let query = self.query()?;
            self.need_sign(")")?;
            self.with.push((name, query));
            if !self.sign(",") {
                return self.query();
            }
        }
    }

    fn hint(&mut self) -> Result<()> {
        match self.any_word()?.as_str() {
            "RECOMPILE" | "MAXDOP" | "FAST" | "MAX_GRANT_PERCENT" => {}
            "LOOP" | "MERGE" | "HASH" => self.need("JOIN")?,
            "FORCE" | "KEEPFIXED" | "OPTIMIZE" => {
                self.any_word()?;
                self.word("UNKNOWN");
            }
            _ => {
                self.back_to(self.here() - 1);
                return self.wrong();
            }
        }
        if matches!(self.peek(), Token::Number(_)) {
            self.next();
        }
        Ok(())
    }

    fn skip(&mut self) -> Result<Option<(Expr, Option<Expr>)>> {
        if !self.word("OFFSET") {
            return Ok(None);
        }
        let skip = self.expr()?;
        if !self.word("ROWS") {
            self.need("ROW")?;
        }
        if !self.word("FETCH") {
            return Ok(Some((skip, None)));
        }
        if !self.word("NEXT") {
            self.need("FIRST")?;
        }
        let fetch = self.expr()?;
        if !self.word("ROWS") {
            self.need("ROW")?;
        }
        self.need("ONLY")?;
        Ok(Some((skip, Some(fetch))))
    }

    fn select(&mut self) -> Result<Select> {
        self.need("SELECT")?;
        let distinct = self.word("DISTINCT");
        if !distinct {
            self.word("ALL");
        }
        let (mut top, mut ties) = (None, false);
        if self.word("TOP") {
            top = Some(if self.sign("(") {
                let count = self.expr()?;
                self.need_sign(")")?;
                count
            } else {
                match self.peek() {
                    Token::Number(_) => self.expr()?,
                    _ => return self.wrong(),
                }
            });
            ties = self.words(&["WITH", "TIES"]);
        }
        let items = self.commas(Self::item)?;
        let from = if self.word("FROM") {
            Some(self.from()?)
        } else {
            None
        };
        let filter = if self.word("WHERE") {
            Some(self.expr()?)
        } else {
            None
        };
        let group = if self.words(&["GROUP", "BY"]) {
            self.commas(Self::expr)?
        } else {
            Vec::new()
        };
        let having = if self.word("HAVING") {
            Some(self.expr()?)
        } else {
            None
        };
        Ok(Select {
            distinct,
            top,
            ties,
            items,
            from,
            filter,
            group,
            having,
        })
    }

    fn item(&mut self) -> Result<Item> {
        if self.sign("*") {
            return Ok(Item::Star(None));
        }
        if matches!(self.peek(), Token::Variable(_)) && *self.peek_at(1) == Token::Sign("=") {
            // Variables are not assigned by SELECT here.
            return self.wrong();
        }
        let here = self.here();
        if let Ok(name) = self.name() {
            if self.sign(".") && self.sign("*") {
                return Ok(Item::Star(Some(name)));
            }
            if self.is_sign("=") {
                self.next();
                return Ok(Item::Expr(self.expr()?, Some(name)));
            }
        }
        self.back_to(here);
        let expr = self.expr()?;
        let name = self.alias()?;
        Ok(Item::Expr(expr, name))
    }

    /// `AS x`, `x` or nothing.
    fn alias(&mut self) -> Result<Option<String>> {
        if self.word("AS") {
            if let Token::Text(text, _) = self.peek().clone() {
                self.next();
                return Ok(Some(text));
            }
            return self.name().map(Some);
        }
        let here = self.here();
        // Words that begin another statement or clause but are no reserved words.
        let clause = ["WITH", "OFFSET", "PRINT"].iter().any(|word| self.is(word));
        if clause {
            return Ok(None);
        }
        if let Ok(name) = self.name() {
            return Ok(Some(name));
        }
        self.back_to(here);
        Ok(None)
    }

    /// `FROM ..` without its first word.
    fn from(&mut self) -> Result<From> {
        let mut left = self.joined()?;
        while self.sign(",") {
            let right = Box::new(self.joined()?);
            left = From::Join {
                kind: Join::Cross,
                left: Box::new(left),
                right,
                on: None,
            };
        }
        Ok(left)
    }

    fn joined(&mut self) -> Result<From> {
        let mut left = self.source()?;
        loop {
            let kind = if self.words(&["INNER", "JOIN"]) || self.word("JOIN") {
                Join::Inner
            } else if self.words(&["LEFT", "OUTER", "JOIN"]) || self.words(&["LEFT", "JOIN"]) {
                Join::Left
            } else if self.words(&["CROSS", "JOIN"]) {
                Join::Cross
            } else if self.words(&["CROSS", "APPLY"]) {
                Join::CrossApply
            } else if self.words(&["OUTER", "APPLY"]) {
                Join::OuterApply
            } else {
                return Ok(left);
            };
            let right = Box::new(self.deeper(Self::source)?);
            let on = if matches!(kind, Join::Inner | Join::Left) {
                self.need("ON")?;
                Some(self.expr()?)
            } else {
                None
            };
            left = From::Join {
                kind,
                left: Box::new(left),
                right,
                on,
            };
        }
    }

    fn source(&mut self) -> Result<From> {
        if self.sign("(") {
            let found = if self.is("SELECT") {
                let query = Box::new(self.query()?);
                self.need_sign(")")?;
                From::Query {
                    query,
                    alias: self.named()?,
                }
            } else if self.word("VALUES") {
                let rows = self.commas(|parser| parser.list(Self::expr))?;
                self.need_sign(")")?;
                let alias = self.named()?;
                From::Values {
                    rows,
                    alias,
                    columns: self.list(Self::name)?,
                }
            } else {
                let inner = self.deeper(Self::joined)?;
                self.need_sign(")")?;
                inner
            };
            return Ok(found);
        }
        if self.word("CHANGETABLE") {
            return self.changetable();
        }
        let path = self.path()?;
        if self.is_sign("(") {
            self.need_sign("(")?;
            let args = if self.is_sign(")") {
                Vec::new()
            } else {
                self.commas(Self::expr)?
            };
            self.need_sign(")")?;
            return Ok(From::Function {
                path,
                args,
                alias: self.alias()?,
            });
        }
        let alias = self.alias()?;
        self.hints()?;
        if let [name] = path.as_slice()
            && let Some((_, query)) = self.with.iter().find(|(of, _)| same_name(of, name))
        {
            let query = Box::new(query.clone());
            let alias = alias.unwrap_or_else(|| name.clone());
            return Ok(From::Query { query, alias });
        }
        Ok(From::Table { path, alias })
    }

    fn named(&mut self) -> Result<String> {
        match self.alias()? {
            Some(alias) => Ok(alias),
            None => self.wrong(),
        }
    }

    /// `WITH (..)` behind a table. Dirty reads are refused, though SQL Server would make them: nothing of
    /// ours may ask for them.
    fn hints(&mut self) -> Result<()> {
        if !self.is("WITH") || *self.peek_at(1) != Token::Sign("(") {
            return Ok(());
        }
        self.next();
        let hints = self.list(Self::any_word)?;
        for hint in hints {
            match hint.as_str() {
                "READCOMMITTED" | "READCOMMITTEDLOCK" | "ROWLOCK" | "FORCESEEK"
                | "REPEATABLEREAD" => {}
                "NOLOCK" | "READUNCOMMITTED" | "READPAST" | "TABLOCK" | "TABLOCKX" | "HOLDLOCK"
                | "UPDLOCK" | "XLOCK" => {
                    return Err(ServerError::new(
                        50_000,
                        16,
                        format!("The model refuses the hint {hint}: dirty reads and held locks."),
                    ));
                }
                hint => {
                    return Err(ServerError::new(
                        321,
                        15,
                        format!("\"{hint}\" is not a recognized table hints option."),
                    ));
                }
            }
        }
        Ok(())
    }

    fn changetable(&mut self) -> Result<From> {
        self.need_sign("(")?;
        let changes = self.word("CHANGES");
        if !changes {
            self.need("VERSION")?;
        }
        let path = self.path()?;
        self.need_sign(",")?;
        if changes {
            // A variable, a constant or NULL; an expression is refused, as SQL Server does.
            let negative = self.sign("-");
            let since = match self.peek() {
                Token::Variable(_) if !negative => self.primary()?,
                Token::Number(_) => self.primary()?,
                _ if self.is("NULL") && !negative => self.primary()?,
                _ => return self.wrong(),
            };
            self.need_sign(")")?;
            let since = if negative {
                Expr::Minus(Box::new(since))
            } else {
                since
            };
            return Ok(From::Changes {
                path,
                since,
                alias: self.named()?,
            });
        }
        let columns = self.list(Self::name)?;
        self.need_sign(",")?;
        let values = self.list(Self::expr)?;
        self.need_sign(")")?;
        if columns.len() != values.len() {
            return self.wrong();
        }
        Ok(From::Version {
            path,
            columns,
            values,
            alias: self.named()?,
        })
    }
}
