//! Whether the server's commits wait for us.
//!
//! The server takes every connection that reads its log for a standby, by what it calls itself. Its
//! commits then wait until we have acknowledged them: while the agent is away, for ever.

use contract::SourceError;
use tokio_postgres::Client;

use super::Looking;
use crate::connect::{self, APPLICATION, classify};

/// The setting that names them.
const NAMES: &str = "synchronous_standby_names";
/// Whoever reads the log.
const ANYBODY: &str = "*";

/// Whom commits wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Awaited {
    /// `FIRST` or `ANY`.
    method: &'static str,
    /// So many of them.
    count: usize,
    names: Vec<String>,
}

impl Awaited {
    /// By the setting's text, which the server has found right: `a, b`, `2 (a, b)`, `FIRST 2 (a, b)`
    /// or `ANY 2 (a, b)`, with names in double quotes where they are no words. `None` = nobody.
    fn read(text: &str) -> Option<Self> {
        let all = tokens(text);
        let open = all.iter().position(|token| *token == Token::Open);
        let words = |tokens: &[Token]| -> Vec<String> {
            let words = tokens.iter().filter_map(|token| match token {
                Token::Word(word) => Some(word.clone()),
                Token::Open => None,
            });
            words.collect()
        };
        let (head, names) = match open {
            Some(open) => (words(&all[..open]), words(&all[open..])),
            None => (Vec::new(), words(&all)),
        };
        let any = head.iter().any(|word| word.eq_ignore_ascii_case("any"));
        let count = head.last().and_then(|word| word.parse().ok());
        (!names.is_empty()).then(|| Self {
            method: if any { "ANY" } else { "FIRST" },
            count: count.unwrap_or(1),
            names,
        })
    }

    fn is_us(&self) -> bool {
        let us = |name: &String| name == ANYBODY || name.eq_ignore_ascii_case(APPLICATION);
        self.names.iter().any(us)
    }

    /// The same without us: those that are named, or where anybody will do, those that `read` the log.
    fn others(&self, read: &[String]) -> Vec<String> {
        let mut others: Vec<String> = Vec::new();
        let anybody = self.names.iter().any(|name| name == ANYBODY);
        for name in self.names.iter().chain(read.iter().filter(|_| anybody)) {
            let known = |other: &String| other.eq_ignore_ascii_case(name);
            let counts = name != ANYBODY && !name.eq_ignore_ascii_case(APPLICATION);
            if counts && !others.iter().any(known) {
                others.push(name.clone());
            }
        }
        others
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Open,
}

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '(' => found.push(Token::Open),
            '"' => {
                let mut word = String::new();
                while let Some(inner) = chars.next() {
                    if inner == '"' && chars.next_if_eq(&'"').is_none() {
                        break;
                    }
                    word.push(inner);
                }
                found.push(Token::Word(word));
            }
            ')' | ',' => {}
            space if space.is_ascii_whitespace() => {}
            first => {
                let mut word = String::from(first);
                let inside = |next: &char| !next.is_ascii_whitespace() && !"(),\"".contains(*next);
                while let Some(inner) = chars.next_if(inside) {
                    word.push(inner);
                }
                found.push(Token::Word(word));
            }
        }
    }
    found
}

impl Looking<'_> {
    pub(super) async fn synchronous(&mut self, client: &Client) -> Result<(), SourceError> {
        let row = client
            .query_one(
                "SELECT pg_catalog.current_setting($1),
                        ARRAY(SELECT DISTINCT r.application_name
                                FROM pg_catalog.pg_stat_replication r
                               WHERE r.application_name <> '' ORDER BY 1)",
                &[&NAMES],
            )
            .await
            .map_err(|error| classify(&format!("read {NAMES}"), &error))?;
        let (text, read): (String, Vec<String>) = (row.get(0), row.get(1));
        let Some(awaited) = Awaited::read(&text).filter(Awaited::is_us) else {
            self.pass(NAMES, "does not name us");
            return Ok(());
        };
        let others = awaited.others(&read);
        let value = if others.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = others.iter().map(|name| connect::name(name)).collect();
            format!(
                "{} {} ({})",
                awaited.method,
                awaited.count.min(others.len()),
                names.join(", ")
            )
        };
        let fix = format!(
            "name the true standbys: ALTER SYSTEM SET {NAMES} = {} and SELECT pg_reload_conf(); \
             undo: ALTER SYSTEM SET {NAMES} = {} and SELECT pg_reload_conf()",
            connect::literal(&value),
            connect::literal(&text)
        );
        let ours = format!("is {text}: our connection is taken for a standby");
        if others.len() < awaited.count {
            self.fail(
                NAMES,
                format!("{ours}, and every COMMIT waits for us; while the agent is away, for ever"),
                fix,
            );
        } else {
            self.warn(
                NAMES,
                format!("{ours}: where it counts, a COMMIT waits for us instead of one of them"),
                fix,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_text_is_read_as_the_server_reads_it() {
        let check = |text: &str, method: &'static str, count, names: &[&str]| {
            let expected = Awaited {
                method,
                count,
                names: names.iter().map(|name| (*name).to_owned()).collect(),
            };
            assert_eq!(Awaited::read(text), Some(expected), "{text}");
        };
        assert_eq!(Awaited::read(""), None);
        check("*", "FIRST", 1, &["*"]);
        check("a, b", "FIRST", 1, &["a", "b"]);
        check("2(a,b)", "FIRST", 2, &["a", "b"]);
        check(
            "first 3 (a, \"b, \"\"c\"\"\", *)",
            "FIRST",
            3,
            &["a", "b, \"c\"", "*"],
        );
        check("Any 2 (any, first)", "ANY", 2, &["any", "first"]);
    }
}
