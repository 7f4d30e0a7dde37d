//! What a command about the service did, or why it did not.

use contract::Finding;
use serde_json::{Value, json};

use crate::{Exit, out};

/// Why a command is not done.
pub(super) struct Refused {
    pub(super) finding: Finding,
    pub(super) exit: Exit,
}

impl Refused {
    pub(super) fn trouble(finding: Finding) -> Self {
        let exit = Exit::Trouble;
        Self { finding, exit }
    }

    pub(super) fn settings(finding: Finding) -> Self {
        let exit = Exit::Settings;
        Self { finding, exit }
    }
}

/// What was done.
#[derive(Default)]
pub(super) struct Done {
    /// In words, a line each.
    pub(super) lines: Vec<String>,
    /// What works but should be known.
    pub(super) warnings: Vec<Finding>,
    /// Commands that come next.
    pub(super) next: Vec<String>,
    /// Commands that take it back.
    pub(super) undo: Vec<String>,
    /// More for programs.
    pub(super) more: Vec<(&'static str, Value)>,
    /// It is not as it should be.
    pub(super) trouble: bool,
}

impl Done {
    pub(super) fn tell(self, json: bool) -> Exit {
        let exit = if self.trouble {
            Exit::Trouble
        } else {
            Exit::Ok
        };
        if json {
            let mut form = json!({ "done": self.lines });
            if let Some(form) = form.as_object_mut() {
                let lists = [("next", &self.next), ("undo", &self.undo)];
                for (key, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
                    form.insert(key.to_owned(), json!(list));
                }
                if !self.warnings.is_empty() {
                    form.insert("findings".to_owned(), json!(self.warnings));
                }
                for (key, value) in self.more {
                    form.insert(key.to_owned(), value);
                }
            }
            out(&form.to_string());
            return exit;
        }
        for line in &self.lines {
            out(line);
        }
        crate::say(&self.warnings);
        for (head, commands) in [("Next:", &self.next), ("Undo:", &self.undo)] {
            if !commands.is_empty() {
                out(head);
            }
            for command in commands {
                out(&format!("  {command}"));
            }
        }
        exit
    }
}
