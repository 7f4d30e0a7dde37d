//! Statements that change data or its shape.

use super::{Parser, Result};
use crate::statements::ast::{Alter, AlterDatabase, ColumnDef, Statement};
use crate::statements::token::Token;

/// What stands between the brackets of CREATE TABLE.
enum Element {
    Column(ColumnDef),
    Key(Vec<String>),
    Unique(Vec<String>),
}

impl Parser<'_> {
    pub(super) fn change(&mut self) -> Result<Statement> {
        let here = self.here();
        match self.any_word()?.as_str() {
            "INSERT" => self.insert(),
            "UPDATE" => {
                let table = self.path()?;
                self.need("SET")?;
                let set = self.commas(|parser| {
                    let column = parser.name()?;
                    parser.need_sign("=")?;
                    Ok((column, parser.expr()?))
                })?;
                let filter = if self.word("WHERE") {
                    Some(self.expr()?)
                } else {
                    None
                };
                Ok(Statement::Update { table, set, filter })
            }
            "DELETE" => {
                self.word("FROM");
                let table = self.path()?;
                let filter = if self.word("WHERE") {
                    Some(self.expr()?)
                } else {
                    None
                };
                Ok(Statement::Delete { table, filter })
            }
            "TRUNCATE" => {
                self.need("TABLE")?;
                self.path().map(Statement::Truncate)
            }
            "CREATE" => self.create(),
            "DROP" => self.drop(),
            "ALTER" => self.alter(),
            _ => {
                self.back_to(here);
                self.wrong()
            }
        }
    }

    fn insert(&mut self) -> Result<Statement> {
        self.word("INTO");
        let table = self.path()?;
        let columns = if self.is_sign("(") {
            self.list(Self::name)?
        } else {
            Vec::new()
        };
        self.need("VALUES")?;
        let rows = self.commas(|parser| parser.list(Self::expr))?;
        Ok(Statement::Insert {
            table,
            columns,
            rows,
        })
    }

    fn create(&mut self) -> Result<Statement> {
        if self.word("SCHEMA") {
            return self.name().map(Statement::CreateSchema);
        }
        if self.word("ROLE") {
            return self.name().map(Statement::CreateRole);
        }
        if self.word("LOGIN") || self.is("USER") {
            let login = !self.word("USER");
            let name = self.name()?;
            let mut password = None;
            if login && self.words(&["WITH", "PASSWORD"]) {
                self.need_sign("=")?;
                match self.next() {
                    Token::Text(text, _) => password = Some(text),
                    _ => return self.wrong(),
                }
                while self.sign(",") {
                    self.any_word()?;
                    self.need_sign("=")?;
                    self.next();
                }
            } else if login {
                self.words(&["FROM", "WINDOWS"]);
            } else if self.words(&["FOR", "LOGIN"]) {
                self.name()?;
            } else {
                self.words(&["WITHOUT", "LOGIN"]);
            }
            return Ok(Statement::CreateUser {
                name,
                login,
                password,
            });
        }
        if self.word("TABLE") {
            return self.create_table();
        }
        let unique = self.word("UNIQUE");
        if !self.word("CLUSTERED") {
            self.word("NONCLUSTERED");
        }
        self.need("INDEX")?;
        let name = self.name()?;
        self.need("ON")?;
        let table = self.path()?;
        Ok(Statement::CreateIndex {
            table,
            name,
            columns: self.key()?,
            unique,
        })
    }

    fn key(&mut self) -> Result<Vec<String>> {
        self.list(|parser| {
            let name = parser.name()?;
            if !parser.word("DESC") {
                parser.word("ASC");
            }
            Ok(name)
        })
    }

    fn create_table(&mut self) -> Result<Statement> {
        let table = self.path()?;
        let (mut columns, mut key, mut unique) = (Vec::new(), Vec::new(), Vec::new());
        for element in self.list(Self::element)? {
            match element {
                Element::Column(column) => {
                    if column.key {
                        key.push(column.name.clone());
                    }
                    if column.unique {
                        unique.push(vec![column.name.clone()]);
                    }
                    columns.push(column);
                }
                Element::Key(names) => key = names,
                Element::Unique(names) => unique.push(names),
            }
        }
        Ok(Statement::CreateTable {
            table,
            columns,
            key,
            unique,
        })
    }

    fn element(&mut self) -> Result<Element> {
        if self.word("CONSTRAINT") {
            self.name()?;
        }
        let primary = self.words(&["PRIMARY", "KEY"]);
        if primary || self.word("UNIQUE") {
            if !self.word("CLUSTERED") {
                self.word("NONCLUSTERED");
            }
            let names = self.key()?;
            return Ok(if primary {
                Element::Key(names)
            } else {
                Element::Unique(names)
            });
        }
        self.column_def().map(Element::Column)
    }

    fn column_def(&mut self) -> Result<ColumnDef> {
        let name = self.name()?;
        let mut column = ColumnDef {
            name,
            kind: crate::wire::Type::Int,
            rowversion: false,
            collation: None,
            nullable: true,
            identity: false,
            computed: None,
            key: false,
            unique: false,
        };
        if self.word("AS") {
            column.computed = Some(self.expr()?);
            self.word("PERSISTED");
            return Ok(column);
        }
        (column.kind, column.rowversion) = self.kind()?;
        column.nullable = !column.rowversion;
        loop {
            if self.word("COLLATE") {
                column.collation = Some(self.name()?);
            } else if self.words(&["NOT", "NULL"]) {
                column.nullable = false;
            } else if self.word("NULL") {
                column.nullable = true;
            } else if self.word("IDENTITY") {
                column.identity = true;
                column.nullable = false;
                if self.is_sign("(") {
                    self.list(Self::expr)?;
                }
            } else if self.words(&["PRIMARY", "KEY"]) {
                column.key = true;
                column.nullable = false;
            } else if self.word("UNIQUE") {
                column.unique = true;
            } else if self.word("CONSTRAINT") {
                self.name()?;
            } else if !self.word("CLUSTERED") && !self.word("NONCLUSTERED") {
                return Ok(column);
            }
        }
    }

    fn drop(&mut self) -> Result<Statement> {
        if self.word("TABLE") {
            return self.path().map(Statement::DropTable);
        }
        let login = self.word("LOGIN");
        if !login {
            self.need("USER")?;
        }
        self.words(&["IF", "EXISTS"]);
        Ok(Statement::DropUser {
            name: self.name()?,
            login,
        })
    }

    fn alter(&mut self) -> Result<Statement> {
        if self.word("TABLE") {
            let table = self.path()?;
            return self
                .alter_table()
                .map(|alter| Statement::AlterTable(table, alter));
        }
        if self.word("ROLE") {
            let role = self.name()?;
            let add = self.word("ADD");
            if !add {
                self.need("DROP")?;
            }
            self.need("MEMBER")?;
            return Ok(Statement::Member {
                role,
                user: self.name()?,
                add,
            });
        }
        self.need("DATABASE")?;
        let name = if self.word("CURRENT") {
            None
        } else {
            Some(self.name()?)
        };
        self.need("SET")?;
        let what = self.any_word()?;
        let alter = match what.as_str() {
            "ALLOW_SNAPSHOT_ISOLATION" => AlterDatabase::Snapshot(self.on_or_off()?),
            "READ_COMMITTED_SNAPSHOT" => AlterDatabase::CommittedSnapshot(self.on_or_off()?),
            "CHANGE_TRACKING" => {
                if self.is_sign("(") {
                    self.tracking()?
                } else {
                    self.sign("=");
                    if self.on_or_off()? {
                        self.tracking()?
                    } else {
                        AlterDatabase::Untrack
                    }
                }
            }
            _ => {
                self.back_to(self.here() - 1);
                return self.wrong();
            }
        };
        if self.words(&["WITH", "ROLLBACK", "IMMEDIATE"]) || self.words(&["WITH", "NO_WAIT"]) {}
        Ok(Statement::AlterDatabase(name, alter))
    }

    fn alter_table(&mut self) -> Result<Alter> {
        if self.word("ADD") {
            return self.commas(Self::column_def).map(Alter::Add);
        }
        if self.words(&["DROP", "COLUMN"]) {
            return self.name().map(Alter::Drop);
        }
        if self.words(&["ALTER", "COLUMN"]) {
            return self.column_def().map(Alter::Column);
        }
        if self.words(&["ENABLE", "CHANGE_TRACKING"]) {
            let mut columns = false;
            if self.word("WITH") {
                self.need_sign("(")?;
                self.need("TRACK_COLUMNS_UPDATED")?;
                self.need_sign("=")?;
                columns = self.on_or_off()?;
                self.need_sign(")")?;
            }
            return Ok(Alter::Track(columns));
        }
        if self.words(&["DISABLE", "CHANGE_TRACKING"]) {
            Ok(Alter::Untrack)
        } else {
            self.wrong()
        }
    }

    fn on_or_off(&mut self) -> Result<bool> {
        if self.word("ON") {
            Ok(true)
        } else if self.word("OFF") {
            Ok(false)
        } else {
            self.wrong()
        }
    }

    /// `(CHANGE_RETENTION = 2 DAYS, AUTO_CLEANUP = ON)`
    fn tracking(&mut self) -> Result<AlterDatabase> {
        let (mut retention, mut cleanup) = (None, None);
        if self.is_sign("(") {
            self.need_sign("(")?;
            loop {
                if self.word("CHANGE_RETENTION") {
                    self.need_sign("=")?;
                    let count = match self.next() {
                        Token::Number(digits) => digits.parse::<i32>().unwrap_or_default(),
                        _ => return self.wrong(),
                    };
                    let unit = match self.any_word()?.as_str() {
                        "MINUTES" => 1,
                        "HOURS" => 60,
                        "DAYS" => 60 * 24,
                        _ => return self.wrong(),
                    };
                    retention = Some(count.saturating_mul(unit));
                } else {
                    self.need("AUTO_CLEANUP")?;
                    self.need_sign("=")?;
                    cleanup = Some(self.on_or_off()?);
                }
                if !self.sign(",") {
                    break;
                }
            }
            self.need_sign(")")?;
        }
        Ok(AlterDatabase::Track(retention, cleanup))
    }
}
