//! Whether a change of tables leaves their rows what they were. What it does to them is in no other
//! event of the log.
//!
//! In doubt they are others: the price is that a table is read again.

use super::lex::Token;
use super::statement::Words;

/// What becomes of the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// They stay.
    All,
    /// They stay but for these columns, by their new names.
    But(Vec<String>),
    /// Rows go or come.
    Nothing,
}

/// Beginnings of what `ALTER TABLE` can do that do nothing to rows.
const HARMLESS: &[&str] = &[
    "ENGINE",
    "COMMENT",
    "AUTO_INCREMENT",
    "DEFAULT",
    "CHARACTER",
    "CHARSET",
    "COLLATE",
    "ROW_FORMAT",
    "KEY_BLOCK_SIZE",
    "FORCE",
    "ALGORITHM",
    "LOCK",
    "ENABLE",
    "DISABLE",
    "ALTER",
    "ORDER",
    "WITH",
    "WITHOUT",
    "WAIT",
    "NOWAIT",
    "STATS_PERSISTENT",
    "STATS_AUTO_RECALC",
    "STATS_SAMPLE_PAGES",
    "MAX_ROWS",
    "MIN_ROWS",
    "AVG_ROW_LENGTH",
    "CHECKSUM",
    "PAGE_CHECKSUM",
    "PACK_KEYS",
    "TRANSACTIONAL",
    "COMPRESSION",
    "ENCRYPTED",
    "ENCRYPTION",
    "PARTITION",
    "REMOVE",
    "REORGANIZE",
    "COALESCE",
    "REBUILD",
    "OPTIMIZE",
    "ANALYZE",
    "CHECK",
];

/// What `ADD` adds that is no column.
const NO_COLUMN: &[&str] = &[
    "INDEX",
    "KEY",
    "UNIQUE",
    "PRIMARY",
    "FULLTEXT",
    "SPATIAL",
    "VECTOR",
    "CONSTRAINT",
    "FOREIGN",
    "CHECK",
    "PARTITION",
    "PERIOD",
    "SYSTEM",
];

/// What a statement that makes, changes, renames or drops tables does to their rows.
pub(super) fn of(mut words: Words<'_>) -> Kept {
    let Some(verb) = words.take() else {
        return Kept::All;
    };
    if verb.is("SET") && words.eat("STATEMENT") {
        // Settings for one statement, which comes behind them.
        return if words.skip_settings() {
            of(words)
        } else {
            Kept::Nothing
        };
    }
    if verb.is("RENAME") || verb.is("REPAIR") {
        Kept::Nothing
    } else if verb.is("CREATE") {
        // What was there before is dropped.
        if words.eat("OR") {
            Kept::Nothing
        } else {
            Kept::All
        }
    } else if verb.is("DROP") {
        while words.eat_any(&["ONLINE", "OFFLINE"]) {}
        if words.peek().is_some_and(|token| token.is("INDEX")) {
            Kept::All
        } else {
            Kept::Nothing
        }
    } else if verb.is("ALTER") {
        while words.eat_any(&["ONLINE", "OFFLINE"]) {}
        // Rows that a new unique index has no room for are deleted.
        if words.eat("IGNORE") {
            return Kept::Nothing;
        }
        if !words.eat("TABLE") {
            return Kept::All;
        }
        words.eat_existence();
        words.name();
        altered(&mut words)
    } else {
        Kept::Nothing
    }
}

fn altered(words: &mut Words<'_>) -> Kept {
    let mut columns = Vec::new();
    loop {
        match clause(words) {
            Some(Kept::Nothing) => return Kept::Nothing,
            Some(Kept::But(more)) => columns.extend(more),
            Some(Kept::All) => {}
            None => break,
        }
        let mut depth = 0_i64;
        while let Some(token) = words.take() {
            match token {
                Token::Symbol('(') => depth += 1,
                Token::Symbol(')') => depth -= 1,
                Token::Symbol(',') if depth == 0 => break,
                _ => {}
            }
        }
    }
    if columns.is_empty() {
        Kept::All
    } else {
        Kept::But(columns)
    }
}

/// One of the things that an `ALTER TABLE` does; `None` = there is no more.
fn clause(words: &mut Words<'_>) -> Option<Kept> {
    words.peek()?;
    let column = |words: &mut Words<'_>| {
        words.eat_existence();
        words
            .part()
            .map_or(Kept::Nothing, |name| Kept::But(vec![name]))
    };
    Some(if words.eat("ADD") {
        if NO_COLUMN
            .iter()
            .any(|kind| words.peek().is_some_and(|token| token.is(kind)))
        {
            return Some(Kept::All);
        }
        words.eat("COLUMN");
        if words.peek() == Some(&Token::Symbol('(')) {
            // Several at once: which ones does not matter enough to read them.
            Kept::Nothing
        } else {
            column(words)
        }
    } else if words.eat("MODIFY") {
        words.eat("COLUMN");
        column(words)
    } else if words.eat("CHANGE") {
        words.eat("COLUMN");
        words.eat_existence();
        words.part();
        column(words)
    } else if words.eat("RENAME") {
        if words.eat("COLUMN") {
            words.eat_existence();
            words.part();
            words.eat("TO");
            column(words)
        } else if words.eat_any(&["INDEX", "KEY"]) {
            Kept::All
        } else {
            Kept::Nothing
        }
    } else if words.eat("DROP") {
        // A column that is gone is none that anyone reads on.
        if words.eat("PARTITION") {
            Kept::Nothing
        } else {
            Kept::All
        }
    } else if words.eat_any(HARMLESS) {
        Kept::All
    } else {
        Kept::Nothing
    })
}

#[cfg(test)]
mod tests {
    use super::super::lex::Mode;
    use super::*;

    #[test]
    fn rows_stay_or_go() {
        let but = |names: &[&str]| Kept::But(names.iter().map(|name| (*name).to_owned()).collect());
        for (text, expected) in [
            ("CREATE TABLE t (a int)", Kept::All),
            ("CREATE TABLE IF NOT EXISTS t (a int)", Kept::All),
            ("CREATE OR REPLACE TABLE t (a int)", Kept::Nothing),
            ("CREATE INDEX i ON t (a)", Kept::All),
            ("DROP INDEX i ON t", Kept::All),
            (
                "DROP TABLE IF EXISTS `t` /* generated by server */",
                Kept::Nothing,
            ),
            ("DROP DATABASE d", Kept::Nothing),
            ("RENAME TABLE t TO _t_del, _t_gho TO t", Kept::Nothing),
            (
                "ALTER TABLE t ADD INDEX (a), ADD UNIQUE KEY u (a, b), DROP KEY k",
                Kept::All,
            ),
            (
                "ALTER TABLE t ADD c decimal(10, 2) DEFAULT 1, DROP COLUMN d",
                but(&["c"]),
            ),
            (
                "ALTER TABLE t ADD COLUMN IF NOT EXISTS c int AFTER b",
                but(&["c"]),
            ),
            ("ALTER TABLE t ADD COLUMN (c int, d int)", Kept::Nothing),
            (
                "ALTER TABLE s.t MODIFY `a b` bigint, CHANGE x y int",
                but(&["a b", "y"]),
            ),
            (
                "ALTER TABLE t RENAME COLUMN a TO b, RENAME INDEX i TO j",
                but(&["b"]),
            ),
            ("ALTER TABLE t RENAME u", Kept::Nothing),
            ("ALTER TABLE t RENAME TO u", Kept::Nothing),
            (
                "ALTER TABLE t COMMENT 'drop partition p, modify x'",
                Kept::All,
            ),
            (
                "ALTER TABLE t ENGINE = InnoDB, ALGORITHM=INPLACE",
                Kept::All,
            ),
            (
                "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
                Kept::Nothing,
            ),
            (
                "ALTER TABLE t ADD PARTITION (PARTITION p1 VALUES LESS THAN (9))",
                Kept::All,
            ),
            ("ALTER TABLE t DROP PARTITION p0", Kept::Nothing),
            ("ALTER TABLE t TRUNCATE PARTITION p0", Kept::Nothing),
            (
                "ALTER TABLE t EXCHANGE PARTITION p0 WITH TABLE u",
                Kept::Nothing,
            ),
            ("ALTER TABLE t DISCARD TABLESPACE", Kept::Nothing),
            ("ALTER TABLE t", Kept::All),
            ("SOMETHING new", Kept::Nothing),
            ("TRUNCATE TABLE t", Kept::Nothing),
            (
                "SET STATEMENT lock_wait_timeout=5, max_statement_time=(1+2) FOR RENAME TABLE t TO u",
                Kept::Nothing,
            ),
            (
                "SET STATEMENT a=1 FOR ALTER TABLE t ADD INDEX (a)",
                Kept::All,
            ),
            ("", Kept::All),
        ] {
            let words = Words::new(text, "d", Mode::default());
            assert_eq!(of(words), expected, "{text}");
        }
    }
}
