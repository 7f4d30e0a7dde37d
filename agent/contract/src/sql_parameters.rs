//! `:name` parameters in a statement that a person wrote: found, checked and put in the form the
//! database takes.
//!
//! This reads no grammar, only where texts, quoted names and comments begin and end, which differs
//! from database to database ([`SqlLexis`]). A wrong guess there must not go unseen, so an adapter
//! compares the number of parameters the database finds with the number found here.

/// How a database tells texts, quoted names and comments from the rest of a statement.
/// `'text'`, `"name"`, `-- comment` and `/* comment */` are common to all.
#[derive(Debug, Clone, Copy)]
pub struct SqlLexis {
    /// A comment may hold comments: `/* /* */ */`.
    pub nested_comments: bool,
    /// `$$text$$` and `$tag$text$tag$`.
    pub dollar_quotes: bool,
    /// A backslash in `E'text'` takes the meaning of what follows it.
    pub escape_strings: bool,
    /// MySQL's own: a backslash takes the meaning of what follows it in `'text'` and in `"text"`;
    /// `# comment`; two dashes begin a comment only before white space; and `/*! sql */` is no
    /// comment but run, so a statement may not hold it.
    pub mysql: bool,
    /// More ways to quote a name, as (first, last) ASCII characters.
    pub quoted_names: &'static [(u8, u8)],
    /// ASCII characters that begin the database's own kinds of parameters. A statement may not
    /// use them: they would be counted together with ours.
    pub foreign: &'static [u8],
}

/// A statement with its parameters placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedSql {
    /// The statement as the database takes it, without a closing semicolon.
    pub sql: String,
    /// The parameters' names, each once, in the order of first use: the first is number 1.
    pub names: Vec<String>,
}

/// What is wrong with a statement. Names only what stands in the statement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct SqlProblem {
    /// What was found.
    pub what: String,
    /// Where, in bytes from the statement's start.
    pub at: usize,
}

impl SqlProblem {
    fn new(what: impl Into<String>, at: usize) -> Self {
        Self {
            what: what.into(),
            at,
        }
    }
}

/// Checks that `sql` is one `select` or `with` statement, and replaces each `:name` by
/// `mark(number)`; a name used again keeps its number.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn place_parameters(
    sql: &str,
    lexis: &SqlLexis,
    mark: impl Fn(usize) -> String,
) -> Result<PlacedSql, SqlProblem> {
    let mut tokens = Tokens {
        text: sql.as_bytes(),
        at: 0,
        lexis,
    };
    let mut placed = PlacedSql {
        sql: String::with_capacity(sql.len()),
        names: Vec::new(),
    };
    let mut begun = false;
    let mut ended = false;
    while let Some((token, from)) = tokens.next()? {
        let text = sql.get(from..tokens.at).unwrap_or_default();
        match token {
            Token::Blank => {}
            Token::End => ended = true,
            _ if ended => {
                return Err(SqlProblem::new("holds more than one statement", from));
            }
            _ if begun => {}
            Token::Word if is_read(text) => begun = true,
            _ => {
                return Err(SqlProblem::new("must begin with `select` or `with`", from));
            }
        }
        if ended {
            continue;
        }
        if token == Token::Parameter {
            let name = text.trim_start_matches(':');
            let known = placed.names.iter().position(|other| other == name);
            let place = known.unwrap_or_else(|| {
                placed.names.push(name.to_owned());
                placed.names.len() - 1
            });
            placed.sql.push_str(&mark(place + 1));
        } else {
            placed.sql.push_str(text);
        }
    }
    if !begun {
        return Err(SqlProblem::new("is empty", 0));
    }
    Ok(placed)
}

fn is_read(word: &str) -> bool {
    word.eq_ignore_ascii_case("select") || word.eq_ignore_ascii_case("with")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    /// White space or a comment.
    Blank,
    /// A keyword or a name without quotes.
    Word,
    /// `:name`.
    Parameter,
    /// A semicolon.
    End,
    /// A text, a quoted name, a number or a sign.
    Other,
}

/// Every delimiter is ASCII, so a token's borders are borders of characters.
struct Tokens<'a> {
    text: &'a [u8],
    at: usize,
    lexis: &'a SqlLexis,
}

fn begins_word(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || !byte.is_ascii()
}

impl Tokens<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        // Nothing looks for a NUL, so it can stand for the end.
        self.text.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_while(&mut self, fits: impl Fn(u8) -> bool) {
        let rest = self.rest();
        self.at += rest
            .iter()
            .position(|byte| !fits(*byte))
            .unwrap_or(rest.len());
    }

    /// The next token and where it begins; it ends at `self.at`.
    fn next(&mut self) -> Result<Option<(Token, usize)>, SqlProblem> {
        let from = self.at;
        let Some(first) = self.text.get(from).copied() else {
            return Ok(None);
        };
        let token = match first {
            0 => return Err(SqlProblem::new("holds a NUL character", from)),
            _ if first.is_ascii_whitespace() || first == 0x0b => {
                self.skip_while(|byte| byte.is_ascii_whitespace() || byte == 0x0b);
                Token::Blank
            }
            b'-' if self.peek(1) == b'-' && self.dashes_are_comment() => {
                self.skip_while(|byte| byte != b'\n');
                Token::Blank
            }
            b'#' if self.lexis.mysql => {
                self.skip_while(|byte| byte != b'\n');
                Token::Blank
            }
            b'/' if self.peek(1) == b'*' => self.comment(from)?,
            b'\'' | b'"' => {
                self.quoted(first, self.lexis.mysql)?;
                Token::Other
            }
            b':' => self.colon(),
            b';' => {
                self.at += 1;
                Token::End
            }
            _ if begins_word(first) => self.word(from)?,
            _ if first.is_ascii_digit() => {
                self.skip_while(|byte| begins_word(byte) || byte.is_ascii_digit() || byte == b'.');
                Token::Other
            }
            b'$' if self.lexis.dollar_quotes && self.dollar_quoted(from)? => Token::Other,
            _ => match self
                .lexis
                .quoted_names
                .iter()
                .find(|(open, _)| *open == first)
            {
                Some((_, close)) => {
                    self.quoted(*close, false)?;
                    Token::Other
                }
                None if self.lexis.foreign.contains(&first) => {
                    let what = format!(
                        "holds a parameter of the form `{}`: write it as `:name`",
                        char::from(first)
                    );
                    return Err(SqlProblem::new(what, from));
                }
                None => {
                    self.at += 1;
                    Token::Other
                }
            },
        };
        Ok(Some((token, from)))
    }

    fn dashes_are_comment(&self) -> bool {
        let next = self.peek(2);
        !self.lexis.mysql || next <= b' ' || next == 0x7f
    }

    /// A keyword, a name, or a text that begins with a letter.
    fn word(&mut self, from: usize) -> Result<Token, SqlProblem> {
        self.skip_while(|byte| begins_word(byte) || byte.is_ascii_digit() || byte == b'$');
        let escapes = self.lexis.escape_strings
            && self.at == from + 1
            && matches!(self.text.get(from), Some(b'e' | b'E'))
            && self.peek(0) == b'\'';
        if !escapes {
            return Ok(Token::Word);
        }
        loop {
            self.quoted(b'\'', true)?;
            // SQL joins texts that stand on lines of their own; backslashes count in all of them.
            let end = self.at;
            self.skip_while(|byte| byte.is_ascii_whitespace());
            let line = self.text.get(end..self.at).unwrap_or_default();
            if self.peek(0) != b'\'' || !line.contains(&b'\n') {
                self.at = end;
                return Ok(Token::Other);
            }
        }
    }

    fn colon(&mut self) -> Token {
        self.at += 1;
        match self.peek(0) {
            // A cast, as in `a::int`.
            b':' => {
                self.at += 1;
                Token::Other
            }
            next if begins_word(next) => {
                self.skip_while(|byte| begins_word(byte) || byte.is_ascii_digit());
                Token::Parameter
            }
            // A slice or `:=`.
            _ => Token::Other,
        }
    }

    /// From a quote to the one that closes it; doubled, it is part of the text.
    fn quoted(&mut self, close: u8, escapes: bool) -> Result<(), SqlProblem> {
        let from = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                byte if byte == close && self.peek(1) == close => self.at += 2,
                byte if byte == close => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' if escapes => self.at += 2,
                0 => return Err(SqlProblem::new("holds a text or name without an end", from)),
                _ => self.at += 1,
            }
        }
    }

    fn comment(&mut self, from: usize) -> Result<Token, SqlProblem> {
        // `/*!` and MariaDB's `/*M!`.
        let run = self.peek(2) == b'!' || self.peek(2) == b'M' && self.peek(3) == b'!';
        if self.lexis.mysql && run {
            return Err(SqlProblem::new(
                "holds a comment that the server runs: write what stands in it without `/*!` and `*/`",
                from,
            ));
        }
        let mut depth = 0_usize;
        loop {
            match (self.peek(0), self.peek(1)) {
                (b'/', b'*') if depth == 0 || self.lexis.nested_comments => {
                    depth += 1;
                    self.at += 2;
                }
                (b'*', b'/') => {
                    depth -= 1;
                    self.at += 2;
                }
                (0, _) => return Err(SqlProblem::new("holds a comment without an end", from)),
                _ => self.at += 1,
            }
            if depth == 0 {
                return Ok(Token::Blank);
            }
        }
    }

    /// Whether a text in dollar quotes begins here; then it is skipped.
    fn dollar_quoted(&mut self, from: usize) -> Result<bool, SqlProblem> {
        self.at += 1;
        if begins_word(self.peek(0)) {
            self.skip_while(|byte| begins_word(byte) || byte.is_ascii_digit());
        }
        if self.peek(0) != b'$' {
            self.at = from;
            return Ok(false);
        }
        self.at += 1;
        let quote = self.text.get(from..self.at).unwrap_or_default();
        let rest = self.rest();
        let found = rest.windows(quote.len()).position(|part| part == quote);
        let Some(found) = found else {
            return Err(SqlProblem::new("holds a text without an end", from));
        };
        self.at += found + quote.len();
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything a statement can hold.
    const RICH: SqlLexis = SqlLexis {
        nested_comments: true,
        dollar_quotes: true,
        escape_strings: true,
        mysql: false,
        quoted_names: &[],
        foreign: b"$",
    };
    const MYSQL: SqlLexis = SqlLexis {
        nested_comments: false,
        dollar_quotes: false,
        escape_strings: false,
        mysql: true,
        quoted_names: &[(b'`', b'`')],
        foreign: b"?",
    };
    const PLAIN: SqlLexis = SqlLexis {
        nested_comments: false,
        dollar_quotes: false,
        escape_strings: false,
        mysql: false,
        quoted_names: &[(b'[', b']'), (b'`', b'`')],
        foreign: b"?@$",
    };

    fn place(sql: &str, lexis: &SqlLexis) -> Result<PlacedSql, SqlProblem> {
        place_parameters(sql, lexis, |n| format!("<{n}>"))
    }

    fn placed(sql: &str, lexis: &SqlLexis) -> (String, String) {
        let placed = place(sql, lexis).unwrap_or_else(|problem| panic!("{sql}: {problem}"));
        (placed.sql, placed.names.join(","))
    }

    #[test]
    fn names_are_numbered_by_first_use() {
        let (sql, names) = placed(
            " -- all\n SELECT :b, :a_1 + :b FROM t WHERE x=:ä AND y > :b;  -- done\n;",
            &RICH,
        );
        assert_eq!(
            sql,
            " -- all\n SELECT <1>, <2> + <1> FROM t WHERE x=<3> AND y > <1>"
        );
        assert_eq!(names, "b,a_1,ä");
        assert_eq!(placed("with x as (select 1) select * from x", &PLAIN).1, "");
    }

    #[test]
    fn what_only_looks_like_a_parameter_is_left_alone() {
        for (lexis, part) in [
            (&RICH, "':x'"),
            (&RICH, "'it''s :x'"),
            (&RICH, "'\\'"),
            (&RICH, "\":x\"\":x\""),
            (&RICH, "/* :x /* :x */ :x */ 1"),
            (&RICH, "-- :x ' \n 1"),
            (&RICH, "$$ :x ' $$"),
            (&RICH, "$t$ :x $$ $a$ $t$"),
            (&RICH, "$tü1$ :x $tü1$"),
            (&RICH, "E'\\' :x'"),
            (&RICH, "e'\\\\'"),
            (&RICH, "E'a' \n '\\' :x'"),
            (&RICH, "a::x"),
            (&RICH, "a :: x"),
            (&RICH, "f(a := 1)"),
            (&RICH, "a[1:2]"),
            (&RICH, "a$b$c"),
            (&RICH, "U&'d\\0061' || N':x'"),
            (&PLAIN, "[:x]"),
            (&PLAIN, "`:x`"),
            (&PLAIN, "E'\\' || ':x'"),
            (&PLAIN, "/* :x /* */ 1"),
            (&PLAIN, "'?@$:x'"),
            (&MYSQL, r"'\' :x'"),
            (&MYSQL, r#""\" :x""#),
            (&MYSQL, r"'\\'"),
            (&MYSQL, "'it''s :x'"),
            (&MYSQL, "`a\\`"),
            (&MYSQL, "1 # it's :x\n"),
            (&MYSQL, "1 -- it's :x\n"),
            (&MYSQL, "1 --\t:x\n"),
            (&MYSQL, "/* it's :x */ 1"),
            (&MYSQL, "/*+ MAX_EXECUTION_TIME(9) */ 1"),
            (&MYSQL, "_latin1'\\' :x'"),
        ] {
            let sql = format!("select {part}, :y");
            assert_eq!(
                placed(&sql, lexis),
                (format!("select {part}, <1>"), "y".to_owned())
            );
        }
    }

    #[test]
    fn casts_of_parameters_are_read() {
        assert_eq!(
            placed("select :a::int, (:b)::text, a[:c]", &RICH),
            (
                "select <1>::int, (<2>)::text, a[<3>]".to_owned(),
                "a,b,c".to_owned()
            )
        );
    }

    #[test]
    fn two_dashes_without_a_space_are_no_comment_at_mysql() {
        assert_eq!(
            placed("select 5--:a, :b", &MYSQL),
            ("select 5--<1>, <2>".to_owned(), "a,b".to_owned())
        );
        assert_eq!(placed("select :a --:b", &PLAIN).1, "a");
    }

    #[test]
    fn what_is_no_single_read_is_refused() {
        for (lexis, sql, what, at) in [
            (&RICH, "", "is empty", 0),
            (&RICH, " /* select */ -- select", "is empty", 0),
            (&RICH, ";", "is empty", 0),
            (&RICH, "delete from t", "must begin with", 0),
            (&RICH, " (select 1)", "must begin with", 1),
            (&RICH, "selects 1", "must begin with", 0),
            (&RICH, "'select'", "must begin with", 0),
            (&RICH, ":select", "must begin with", 0),
            (&RICH, "select 1; delete from t", "more than one", 10),
            (&RICH, "select 1;;:x", "more than one", 10),
            (&RICH, "; select 1", "more than one", 2),
            (&RICH, "select 'a", "without an end", 7),
            (&RICH, "select E'a\\'", "without an end", 8),
            (&RICH, "select \"a", "without an end", 7),
            (&RICH, "select $$ $", "without an end", 7),
            (&RICH, "select /* /* */", "without an end", 7),
            (&RICH, "select $1", "`$`", 7),
            (&PLAIN, "select ?1", "`?`", 7),
            (&PLAIN, "select @a", "`@`", 7),
            (&PLAIN, "select $a", "`$`", 7),
            (&PLAIN, "select [a", "without an end", 7),
            (&MYSQL, r"select '\'", "without an end", 7),
            (&MYSQL, "select `a", "without an end", 7),
            (&MYSQL, "select ?", "`?`", 7),
            (&MYSQL, "select /*! 1 */", "that the server runs", 7),
            (&MYSQL, "select /*M!100100 1 */", "that the server runs", 7),
            (&MYSQL, "select 1 # a\n; delete from t", "more than one", 15),
            (&RICH, "select 1\0", "NUL", 8),
            (&RICH, "select '\0'", "without an end", 7),
        ] {
            let problem = place(sql, lexis).unwrap_err();
            assert!(problem.what.contains(what), "{sql}: {problem}");
            assert_eq!(problem.at, at, "{sql}");
        }
    }

    /// Pieces out of which nearly every border between tokens can be made.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "select ", "with", "'", "\"", "`", "[", "]", "$", "$$", "$t$", ":", "::", ":a", ":b1",
            "-- ", "\n", "\r", "/*", "*/", "\\", "E'", ";", "?", "@", "1", "a", "ä", "\0", " ",
            "=", "#", "/*!",
        ]);
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn never_panics(sql in ".{0,60}", pieces in pieces()) {
            for lexis in [&RICH, &PLAIN, &MYSQL] {
                let _ = place(&sql, lexis);
                let _ = place(&pieces, lexis);
                let _ = place(&format!("select {pieces}"), lexis);
            }
        }

        /// Nothing but parameters and what follows the statement is changed.
        #[test]
        fn marks_that_say_the_name_give_the_statement_back(pieces in pieces()) {
            let sql = format!("select {pieces}");
            for lexis in [&RICH, &PLAIN, &MYSQL] {
                let Ok(first) = place(&sql, lexis) else { continue };
                let names = first.names.clone();
                let again = place_parameters(&sql, lexis, |n| format!(":{}", names[n - 1]));
                prop_assert!(sql.starts_with(&again.unwrap().sql));
            }
        }

        #[test]
        fn a_quoted_text_holds_no_parameters(text in "[^\0]{0,30}") {
            let sql = format!("select '{}', :y", text.replace('\'', "''"));
            for lexis in [&RICH, &PLAIN] {
                prop_assert_eq!(place(&sql, lexis).unwrap().names, ["y"]);
            }
            let text = text.replace('\\', "\\\\").replace('\'', "\\'");
            let sql = format!("select '{text}', \"{}\", :y", text.replace('"', "\"\""));
            prop_assert_eq!(place(&sql, &MYSQL).unwrap().names, ["y"]);
        }
    }
}
