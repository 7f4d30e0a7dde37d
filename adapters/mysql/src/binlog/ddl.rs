//! Which tables a statement makes, changes, renames or drops.

use super::lex::Token;
use super::statement::{Concerned, Name, Statement, Words};

fn tables(names: Option<Vec<Name>>) -> Statement {
    Statement::Ddl(names.map_or(Concerned::Any, Concerned::Tables))
}

fn one(words: &mut Words<'_>) -> Statement {
    tables(words.name().map(|name| vec![name]))
}

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    Table,
    TemporaryTable,
    Index,
    Schema,
    Sequence,
    /// A view, routine, user and the like: none of them has rows of its own.
    Other,
    /// Something that is not known.
    Unknown,
}

/// Reads on to what a statement is about.
fn object(words: &mut Words<'_>) -> Object {
    const OTHERS: [&str; 19] = [
        "VIEW",
        "TRIGGER",
        "PROCEDURE",
        "FUNCTION",
        "EVENT",
        "USER",
        "ROLE",
        "SERVER",
        "PACKAGE",
        "TABLESPACE",
        "LOGFILE",
        "RESOURCE",
        "INSTANCE",
        "AGGREGATE",
        "REFERENCE",
        "PREPARE",
        "LIBRARY",
        "CATALOG",
        "MASKING",
    ];
    let mut temporary = false;
    loop {
        if words.eat("DEFINER") {
            definer(words);
            continue;
        }
        if words.eat("ALGORITHM") {
            words.eat_symbol('=');
            words.take();
            continue;
        }
        if words.eat("SQL") {
            // SECURITY DEFINER, SECURITY INVOKER
            words.eat("SECURITY");
            words.take();
            continue;
        }
        if words.eat("TEMPORARY") {
            temporary = true;
            continue;
        }
        if words.eat_any(&[
            "OR", "REPLACE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR", "ONLINE", "OFFLINE",
            "IGNORE", "UNDO", "EXTERNAL",
        ]) {
            continue;
        }
        break;
    }
    if words.eat_any(&["TABLE", "TABLES"]) {
        return if temporary {
            Object::TemporaryTable
        } else {
            Object::Table
        };
    }
    if words.eat("INDEX") {
        return Object::Index;
    }
    if words.eat_any(&["DATABASE", "SCHEMA"]) {
        return Object::Schema;
    }
    if words.eat("SEQUENCE") {
        return if temporary {
            Object::Other
        } else {
            Object::Sequence
        };
    }
    if words.eat_any(&OTHERS) {
        Object::Other
    } else {
        Object::Unknown
    }
}

/// `= user@host`, `= CURRENT_USER()`, `= role`.
fn definer(words: &mut Words<'_>) {
    words.eat_symbol('=');
    words.take();
    if words.eat_symbol('@') {
        words.take();
    }
    if words.eat_symbol('(') {
        words.eat_symbol(')');
    }
}

pub(super) fn create(words: &mut Words<'_>) -> Statement {
    match object(words) {
        Object::Table | Object::Sequence => {
            words.eat_existence();
            one(words)
        }
        Object::Index => index(words),
        Object::TemporaryTable | Object::Schema | Object::Other => Statement::Unrelated,
        Object::Unknown => Statement::Ddl(Concerned::Any),
    }
}

/// `[IF EXISTS] name .. ON table`.
fn index(words: &mut Words<'_>) -> Statement {
    words.eat_existence();
    words.part();
    // USING BTREE
    while words.peek().is_some() && !words.eat("ON") {
        words.take();
    }
    one(words)
}

pub(super) fn drop(words: &mut Words<'_>) -> Statement {
    match object(words) {
        Object::Table | Object::Sequence => {
            words.eat_existence();
            tables(list(words).filter(|_| ends(words)))
        }
        Object::Index => index(words),
        Object::Schema => {
            words.eat_existence();
            Statement::Ddl(words.part().map_or(Concerned::Any, Concerned::Schema))
        }
        Object::TemporaryTable | Object::Other => Statement::Unrelated,
        Object::Unknown => Statement::Ddl(Concerned::Any),
    }
}

/// Nothing comes behind a list of tables that could be more of them.
fn ends(words: &mut Words<'_>) -> bool {
    words.eat_any(&["RESTRICT", "CASCADE"]);
    if words.eat("WAIT") {
        words.take();
    }
    words.eat("NOWAIT");
    words.eat_symbol(';');
    words.peek().is_none()
}

/// Names with commas between them.
fn list(words: &mut Words<'_>) -> Option<Vec<Name>> {
    let mut names = vec![words.name()?];
    while words.eat_symbol(',') {
        names.push(words.name()?);
    }
    Some(names)
}

pub(super) fn repair(words: &mut Words<'_>) -> Statement {
    words.eat_any(&["NO_WRITE_TO_BINLOG", "LOCAL"]);
    if !words.eat_any(&["TABLE", "TABLES"]) {
        // A view has no rows to lose.
        return Statement::Unrelated;
    }
    tables(list(words))
}

pub(super) fn rename(words: &mut Words<'_>) -> Statement {
    if words.eat("USER") {
        return Statement::Unrelated;
    }
    if !words.eat_any(&["TABLE", "TABLES"]) {
        return Statement::Ddl(Concerned::Any);
    }
    words.eat_existence();
    tables(pairs(words))
}

/// `a [WAIT 5 | NOWAIT] TO b, c TO d`.
fn pairs(words: &mut Words<'_>) -> Option<Vec<Name>> {
    let mut names = Vec::new();
    loop {
        names.push(words.name()?);
        if words.eat("WAIT") {
            words.take();
        }
        words.eat("NOWAIT");
        if !words.eat("TO") {
            return None;
        }
        names.push(words.name()?);
        if !words.eat_symbol(',') {
            return Some(names);
        }
    }
}

pub(super) fn alter(words: &mut Words<'_>) -> Statement {
    match object(words) {
        Object::Table => {
            words.eat_existence();
            tables(altered(words))
        }
        Object::Sequence => {
            words.eat_existence();
            one(words)
        }
        // Of a schema, only what new tables get.
        Object::TemporaryTable | Object::Schema | Object::Other => Statement::Unrelated,
        Object::Index | Object::Unknown => Statement::Ddl(Concerned::Any),
    }
}

/// The table, the name it gets, and tables whose rows it exchanges (`EXCHANGE PARTITION .. WITH
/// TABLE`, `CONVERT PARTITION .. TO TABLE`).
fn altered(words: &mut Words<'_>) -> Option<Vec<Name>> {
    let mut names = vec![words.name()?];
    let mut depth = 0_i64;
    while let Some(token) = words.take() {
        match token {
            Token::Symbol('(') => depth += 1,
            Token::Symbol(')') => depth -= 1,
            token if depth == 0 && token.is("RENAME") => {
                if words.eat_any(&["COLUMN", "INDEX", "KEY"]) {
                    continue;
                }
                if !words.eat_any(&["TO", "AS"]) {
                    words.eat_symbol('=');
                }
                names.push(words.name()?);
            }
            token if depth == 0 && token.is("TABLE") => names.extend(words.name()),
            _ => {}
        }
    }
    Some(names)
}
