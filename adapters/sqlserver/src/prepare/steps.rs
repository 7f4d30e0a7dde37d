//! Statements, and what takes each of them back.

use contract::Preparation;

use crate::denials::Denial;
use crate::sql;

/// What is to be done, and what undoes just that.
#[derive(Debug, Default)]
pub(super) struct Steps {
    sql: Vec<String>,
    undo: Vec<String>,
}

impl Steps {
    pub(super) fn add(&mut self, sql: String, undo: String) {
        self.sql.push(sql);
        self.undo.push(undo);
    }

    /// A statement that another one's undo takes back as well.
    pub(super) fn add_within(&mut self, sql: String) {
        self.sql.push(sql);
    }

    /// Something for a person to do or to know: it is shown, and not run.
    pub(super) fn note(&mut self, note: &str) {
        self.sql.push(format!("-- {note}"));
    }

    /// The same among what takes things back.
    pub(super) fn undo_note(&mut self, note: &str) {
        self.undo.push(format!("-- {note}"));
    }

    /// A right of the agent's, where it does not have it.
    pub(super) fn right(&mut self, has: bool, (sql, undo): (String, String)) {
        if !has {
            self.add(sql, undo);
        }
    }

    /// What was denied is for a person to take back: somebody meant it.
    pub(super) fn denied(&mut self, denials: Vec<Denial>) {
        for denial in denials {
            let note = format!("-- {}: {}", denial.found, denial.fix);
            if !self.sql.contains(&note) {
                self.sql.push(note);
            }
        }
    }

    /// In the order in which each is to be run, and where: an administrator's tools begin in another database.
    pub(super) fn plan(mut self, database: &str) -> Preparation {
        self.undo.reverse();
        let place = format!("-- in database {}:", sql::name(database));
        for lines in [&mut self.sql, &mut self.undo] {
            if statements(lines).next().is_some() {
                lines.insert(0, place.clone());
            }
        }
        Preparation {
            sql: self.sql,
            undo: self.undo,
            applied: false,
        }
    }
}

/// Those lines of a plan that are run.
pub(super) fn statements(sql: &[String]) -> impl Iterator<Item = &String> {
    sql.iter().filter(|sql| !sql.starts_with("--"))
}
