//! What the statement of a query event does, as far as it matters to rows and to the columns of
//! tables.
//!
//! In doubt it counts as a change that may concern every table: the price is that tables are looked
//! up again, and the other choice would be to read rows by columns that are gone.

use super::ddl;
use super::gtid::Xid;
use super::kept::{self, Kept};
use super::lex::{Mode, Token, Tokens};
use super::query::Query;
use crate::charset::Charsets;

/// What a statement does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// A transaction begins.
    Begin,
    /// It is committed: so transactions of engines that have none end, too.
    Commit,
    /// It is rolled back: engines that cannot do that have kept its rows.
    Rollback,
    /// A savepoint is set.
    Savepoint(Option<String>),
    /// What came in this transaction since a savepoint is undone, although the log has its rows:
    /// MariaDB writes both where the transaction wrote to an engine without transactions as well, and
    /// leaves both out otherwise. Rows of that engine are in a transaction of their own.
    RollbackTo(Option<String>),
    /// About an XA transaction.
    Xa { verb: XaVerb, xid: Option<Xid> },
    /// Tables lose all their rows.
    Truncate(Concerned),
    /// Everything is deleted from a table, with the means of rows: foreign keys and triggers have their
    /// effects, unless the server itself writes that a table in memory is empty after its restart.
    Emptied(Name),
    /// Tables are made, changed, renamed or dropped.
    Ddl(Concerned),
    /// Rows are changed by a statement instead of by themselves: what it does is not in the log.
    Dml { verb: String, table: Option<Name> },
    /// Something that the server did not want to tell us as it is.
    Replaced,
    /// Nothing about rows or columns.
    Unrelated,
}

/// What becomes of an XA transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum XaVerb {
    Start,
    End,
    Prepare,
    Commit,
    CommitOnePhase,
    Rollback,
}

/// Which tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Concerned {
    /// These, by the names before and after.
    Tables(Vec<Name>),
    /// All of a schema.
    Schema(String),
    /// Nobody knows.
    Any,
}

/// A table's name, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: String,
    pub(crate) table: String,
}

/// What a statement of the log does.
pub(crate) fn of(query: &Query, charsets: &Charsets) -> Statement {
    // By far the most frequent ones.
    match &query.text.0[..] {
        b"BEGIN" | b"START TRANSACTION" => return Statement::Begin,
        b"COMMIT" => return Statement::Commit,
        b"ROLLBACK" => return Statement::Rollback,
        _ => {}
    }
    let mode = mode(query);
    let decoded = decoded(query, charsets);
    match decoded {
        Some(text) => read(&text, &query.schema, mode),
        // A text in a character set that is not known may have a quotation mark inside a character,
        // so its names are not to be trusted.
        None => match read(&String::from_utf8_lossy(&query.text.0), &query.schema, mode) {
            Statement::Ddl(_) | Statement::Truncate(_) => Statement::Ddl(Concerned::Any),
            Statement::Emptied(_) => Statement::Dml {
                verb: "DELETE".to_owned(),
                table: None,
            },
            other => other,
        },
    }
}

/// Whether a name in a statement is one of these.
pub(crate) fn names(query: &Query, charsets: &Charsets, one_of: impl Fn(&str) -> bool) -> bool {
    let Some(text) = decoded(query, charsets) else {
        return true;
    };
    let mut words = Words::new(&text, &query.schema, mode(query));
    while let Some(token) = words.take() {
        let found = match &token {
            Token::Word(word) => one_of(word),
            Token::Name(name) => one_of(name),
            Token::Text(_) | Token::Symbol(_) => false,
        };
        if found {
            return true;
        }
    }
    false
}

fn mode(query: &Query) -> Mode {
    Mode {
        ansi_quotes: query.has_ansi_quotes(),
        no_escapes: query.has_no_escapes(),
    }
}

fn decoded(query: &Query, charsets: &Charsets) -> Option<String> {
    // Those bytes mean the same in each set that a client may speak.
    if query.text.0.is_ascii() {
        return String::from_utf8(query.text.0.to_vec()).ok();
    }
    match query.collation.map(|collation| charsets.decoder(collation)) {
        Some(Ok(decoder)) => decoder.decode(&query.text.0),
        Some(Err(_)) => None,
        None => String::from_utf8(query.text.0.to_vec()).ok(),
    }
}

/// What a statement that makes, changes, renames or drops tables does to their rows.
pub(crate) fn kept(query: &Query, charsets: &Charsets) -> Kept {
    let text = decoded(query, charsets)
        .unwrap_or_else(|| String::from_utf8_lossy(&query.text.0).into_owned());
    kept::of(Words::new(&text, &query.schema, mode(query)))
}

fn read(text: &str, schema: &str, mode: Mode) -> Statement {
    // What a server sends in place of an event that it takes us to be too old for.
    if text.starts_with("# Dumm") {
        return Statement::Replaced;
    }
    statement(&mut Words::new(text, schema, mode), 0)
}

/// The words that are still to be read, one of them looked at.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    tokens: Tokens<'a>,
    next: Option<Token<'a>>,
    /// The schema of names without one.
    schema: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str, schema: &'a str, mode: Mode) -> Self {
        let mut tokens = Tokens::new(text, mode);
        let next = tokens.next();
        Self {
            tokens,
            next,
            schema,
        }
    }

    pub(super) fn peek(&self) -> Option<&Token<'a>> {
        self.next.as_ref()
    }

    pub(super) fn take(&mut self) -> Option<Token<'a>> {
        std::mem::replace(&mut self.next, self.tokens.next())
    }

    /// Takes a keyword, if it comes next.
    pub(super) fn eat(&mut self, keyword: &str) -> bool {
        let there = self.peek().is_some_and(|token| token.is(keyword));
        if there {
            self.take();
        }
        there
    }

    pub(super) fn eat_any(&mut self, keywords: &[&str]) -> bool {
        keywords.iter().any(|keyword| self.eat(keyword))
    }

    pub(super) fn eat_symbol(&mut self, symbol: char) -> bool {
        let there = self.peek() == Some(&Token::Symbol(symbol));
        if there {
            self.take();
        }
        there
    }

    /// `IF [NOT] EXISTS`, if it comes next.
    pub(super) fn eat_existence(&mut self) {
        if self.eat("IF") {
            self.eat("NOT");
            self.eat("EXISTS");
        }
    }

    /// Goes behind the settings of `SET STATEMENT .. FOR`; false = there is no statement behind.
    pub(super) fn skip_settings(&mut self) -> bool {
        let mut depth = 0_i64;
        while let Some(token) = self.take() {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth -= 1,
                token if depth == 0 && token.is("FOR") => return true,
                _ => {}
            }
        }
        false
    }

    /// A table's name, with its schema or without.
    pub(super) fn name(&mut self) -> Option<Name> {
        let first = self.part()?;
        let (schema, table) = if self.eat_symbol('.') {
            (first, self.part()?)
        } else {
            (self.schema.to_owned(), first)
        };
        (!schema.is_empty() && !table.is_empty()).then_some(Name { schema, table })
    }

    pub(super) fn part(&mut self) -> Option<String> {
        match self.take()? {
            Token::Word(word) => Some(word.to_owned()),
            Token::Name(name) => Some(name),
            Token::Text(_) | Token::Symbol(_) => None,
        }
    }
}

fn statement(words: &mut Words<'_>, depth: u8) -> Statement {
    let Some(first) = words.take() else {
        return Statement::Unrelated;
    };
    let Token::Word(verb) = first else {
        return Statement::Ddl(Concerned::Any);
    };
    match verb.to_ascii_uppercase().as_str() {
        "BEGIN" => Statement::Begin,
        "START" if words.eat("TRANSACTION") => Statement::Begin,
        "COMMIT" => Statement::Commit,
        "ROLLBACK" => {
            words.eat("WORK");
            if words.eat("TO") {
                words.eat("SAVEPOINT");
                Statement::RollbackTo(words.part())
            } else {
                Statement::Rollback
            }
        }
        "SAVEPOINT" => Statement::Savepoint(words.part()),
        // A savepoint that nobody will return to.
        "RELEASE" => Statement::Unrelated,
        "XA" => xa(words),
        "CREATE" => ddl::create(words),
        "ALTER" => ddl::alter(words),
        "DROP" => ddl::drop(words),
        "RENAME" => ddl::rename(words),
        "TRUNCATE" => {
            words.eat("TABLE");
            Statement::Truncate(
                words
                    .name()
                    .map_or(Concerned::Any, |name| Concerned::Tables(vec![name])),
            )
        }
        // Rows that cannot be repaired are lost.
        "REPAIR" => ddl::repair(words),
        verb @ ("INSERT" | "REPLACE" | "UPDATE" | "DELETE" | "LOAD" | "CALL" | "SELECT"
        | "BINLOG" | "WITH" | "HANDLER" | "EXECUTE" | "VALUES") => dml(verb, words),
        "DO" => {
            if words.eat_any(&["RELEASE_LOCK", "GET_LOCK", "RELEASE_ALL_LOCKS", "SLEEP"]) {
                Statement::Unrelated
            } else {
                dml("DO", words)
            }
        }
        // A statement of MariaDB with settings of its own; a second one inside is no statement.
        "SET" if depth == 0 && words.eat("STATEMENT") => set_statement(words),
        // MariaDB runs a statement to show how it went.
        "ANALYZE" => match words.peek() {
            Some(token)
                if ["INSERT", "REPLACE", "UPDATE", "DELETE"]
                    .iter()
                    .any(|dml| token.is(dml)) =>
            {
                statement(words, 1)
            }
            _ => Statement::Unrelated,
        },
        "SET" | "GRANT" | "REVOKE" | "FLUSH" | "OPTIMIZE" | "CHECK" | "CHECKSUM" | "USE"
        | "LOCK" | "UNLOCK" | "INSTALL" | "UNINSTALL" | "KILL" | "RESET" | "PURGE" | "SHOW"
        | "BACKUP" | "SHUTDOWN" | "CACHE" | "DEALLOCATE" | "PREPARE" | "EXPLAIN" | "DESCRIBE"
        | "HELP" | "SIGNAL" => Statement::Unrelated,
        _ => Statement::Ddl(Concerned::Any),
    }
}

/// `SET STATEMENT name = value, .. FOR statement`.
fn set_statement(words: &mut Words<'_>) -> Statement {
    if words.skip_settings() {
        statement(words, 1)
    } else {
        Statement::Ddl(Concerned::Any)
    }
}

/// A statement that changes rows, and the table whose rows: none where it may be several, or another
/// than the first one it names.
fn dml(verb: &str, words: &mut Words<'_>) -> Statement {
    const MODIFIERS: [&str; 8] = [
        "LOW_PRIORITY",
        "HIGH_PRIORITY",
        "DELAYED",
        "QUICK",
        "IGNORE",
        "INTO",
        "FROM",
        "ONLY",
    ];
    let table = match verb {
        "INSERT" | "REPLACE" => {
            while words.eat_any(&MODIFIERS) {}
            words.name()
        }
        "UPDATE" => {
            while words.eat_any(&MODIFIERS) {}
            words.name().filter(|_| is_of_one_table(words))
        }
        "DELETE" => {
            while words.eat_any(&MODIFIERS) {}
            let table = words.name();
            match (table, words.peek()) {
                (Some(table), None) => return Statement::Emptied(table),
                (_, Some(Token::Symbol(',' | '.'))) => None,
                (_, Some(token)) if token.is("FROM") || token.is("USING") => None,
                (table, _) => table,
            }
        }
        // LOAD DATA .. INTO TABLE name
        "LOAD" => {
            while words.peek().is_some() && !words.eat("TABLE") {
                words.take();
            }
            words.name()
        }
        "WITH" => {
            let mut depth = 0_i64;
            while let Some(token) = words.peek() {
                match token {
                    Token::Symbol('(') => depth += 1,
                    Token::Symbol(')') => depth -= 1,
                    Token::Word(word) if depth == 0 => {
                        let inner = word.to_ascii_uppercase();
                        if matches!(inner.as_str(), "INSERT" | "REPLACE" | "UPDATE" | "DELETE") {
                            words.take();
                            return dml(&inner, words);
                        }
                    }
                    _ => {}
                }
                words.take();
            }
            None
        }
        _ => None,
    };
    Statement::Dml {
        verb: verb.to_owned(),
        table,
    }
}

/// Whether an `UPDATE` names no other table up to its `SET`.
fn is_of_one_table(words: &mut Words<'_>) -> bool {
    let mut depth = 0_i64;
    while let Some(token) = words.take() {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            Token::Symbol(',') if depth == 0 => return false,
            token if depth == 0 && (token.is("JOIN") || token.is("STRAIGHT_JOIN")) => return false,
            token if depth == 0 && token.is("SET") => return true,
            _ => {}
        }
    }
    false
}

/// `XA COMMIT X'..',X'..',1 [ONE PHASE]`.
fn xa(words: &mut Words<'_>) -> Statement {
    let verb = match words.take() {
        Some(token) if token.is("START") || token.is("BEGIN") => XaVerb::Start,
        Some(token) if token.is("END") => XaVerb::End,
        Some(token) if token.is("PREPARE") => XaVerb::Prepare,
        Some(token) if token.is("COMMIT") => XaVerb::Commit,
        Some(token) if token.is("ROLLBACK") => XaVerb::Rollback,
        _ => return Statement::Ddl(Concerned::Any),
    };
    let xid = xid(words);
    let verb = if verb == XaVerb::Commit && words.eat("ONE") {
        XaVerb::CommitOnePhase
    } else {
        verb
    };
    Statement::Xa { verb, xid }
}

/// Two texts, plain or in hexadecimal, and a number; the second and third may be missing.
fn xid(words: &mut Words<'_>) -> Option<Xid> {
    let global = xid_part(words)?;
    let branch = if words.eat_symbol(',') {
        xid_part(words)?
    } else {
        Vec::new()
    };
    let format = if words.eat_symbol(',') {
        match words.take()? {
            Token::Word(word) => word.parse().ok()?,
            _ => return None,
        }
    } else {
        1
    };
    Some(Xid {
        format,
        global,
        branch,
    })
}

fn xid_part(words: &mut Words<'_>) -> Option<Vec<u8>> {
    match words.take()? {
        Token::Text(text) => Some(text.into_bytes()),
        Token::Word(word) if word.eq_ignore_ascii_case("x") => match words.take()? {
            Token::Text(text) => contract::value::unhex(&text),
            _ => None,
        },
        Token::Word(word) => contract::value::unhex(word.strip_prefix("0x")?),
        _ => None,
    }
}
