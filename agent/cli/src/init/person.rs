//! Who answers: the command line first, then a person at a terminal, else what is usual.

use contract::Finding;
use contract::finding::nearest;

use super::Stop;
use super::terminal::{self, line, say};

/// Leaves out what may be left out.
const NONE: &str = "-";

/// A question, wherever it comes from.
#[derive(Debug, Clone, Default)]
pub(super) struct Ask {
    /// As the command line says it: `--source-set host`.
    pub(super) flag: String,
    pub(super) ask: String,
    pub(super) help: String,
    /// What the command line answers.
    pub(super) given: Option<String>,
    pub(super) default: Option<String>,
    pub(super) optional: bool,
    /// What may be answered, each with what it is; nothing where anything may.
    pub(super) choices: Vec<(String, String)>,
}

/// Whoever answers.
pub(super) struct Person {
    /// At a terminal.
    pub(super) there: bool,
    /// What is wrong with what the command line says.
    pub(super) problems: Vec<Finding>,
    /// All that was asked.
    pub(super) asked: Vec<Ask>,
}

impl Person {
    pub(super) fn new(there: bool) -> Self {
        Self {
            there,
            problems: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// The answer, if there is one; a wrong one is asked again with the reason.
    ///
    /// # Errors
    /// The person has gone.
    pub(super) fn answer(
        &mut self,
        ask: &Ask,
        mut fits: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<Option<String>, Stop> {
        self.asked.push(ask.clone());
        if let Some(given) = &ask.given {
            if given == NONE && ask.optional {
                return Ok(None);
            }
            match self.judge(ask, given, &mut fits) {
                Ok(answer) => return Ok(Some(answer)),
                Err(found) => self.wrong(&ask.flag, &found),
            }
        }
        if !self.there {
            return Ok(ask.default.clone());
        }
        show(ask);
        let prompt = match &ask.default {
            Some(default) => format!("[{default}] > "),
            None if ask.optional => format!("[{NONE}] > "),
            None => "> ".to_owned(),
        };
        loop {
            let typed = line(&prompt)?;
            let answer = match (typed.as_str(), &ask.default) {
                ("", Some(default)) => default.clone(),
                ("", None) | (NONE, _) if ask.optional => return Ok(None),
                ("", None) => {
                    say("  An answer is needed.");
                    continue;
                }
                _ => typed,
            };
            match self.judge(ask, &answer, &mut fits) {
                Ok(answer) => return Ok(Some(answer)),
                Err(found) => say(&format!("  {found}")),
            }
        }
    }

    fn judge(
        &self,
        ask: &Ask,
        answer: &str,
        fits: &mut impl FnMut(&str) -> Result<(), String>,
    ) -> Result<String, String> {
        // Keys that move the cursor elsewhere.
        if answer.chars().any(char::is_control) {
            return Err("there are characters in it that cannot be seen: type it anew".to_owned());
        }
        let answer = ask.chosen(answer, self.there)?;
        fits(&answer)?;
        Ok(answer)
    }

    /// Yes or no.
    ///
    /// # Errors
    /// The person has gone.
    pub(super) fn is_sure(&mut self, ask: &Ask) -> Result<bool, Stop> {
        let yes_or_no = |answer: &str| {
            let known = super::block::is_yes(answer) || super::block::is_no(answer);
            known.then_some(()).ok_or_else(|| "yes or no?".to_owned())
        };
        let answer = self.answer(ask, yes_or_no)?;
        Ok(answer.is_some_and(|answer| super::block::is_yes(&answer)))
    }

    /// Something of the command line is wrong.
    pub(super) fn wrong(&mut self, flag: &str, found: &str) {
        if self.there {
            say(&format!("  {flag}: {found}"));
        } else {
            self.problems.push(Finding::fail(flag, found));
        }
    }

    /// A heading over the questions that come.
    pub(super) fn heading(&self, text: &str) {
        if self.there {
            say("");
            say(text);
        }
    }
}

/// A secret, typed without being shown, and twice.
///
/// # Errors
/// The person has gone.
pub(super) fn secret() -> Result<contract::Secret, Stop> {
    loop {
        let first = terminal::secret("  type it (it is not shown) > ")?;
        if first.expose().is_empty() {
            say("  A secret is needed.");
            continue;
        }
        if terminal::secret("  and once more > ")? == first {
            return Ok(first);
        }
        say("  The two are not the same.");
    }
}

impl Ask {
    /// The choice that is meant: by its name, or at a terminal by its number. Several stand between commas.
    fn chosen(&self, answer: &str, numbers: bool) -> Result<String, String> {
        if self.choices.is_empty() {
            return Ok(answer.to_owned());
        }
        let one = |part: &str| {
            let by_number = || {
                let number = part.parse::<usize>().ok().filter(|_| numbers)?;
                self.choices.get(number.checked_sub(1)?)
            };
            let names = || self.choices.iter().map(|(name, _)| name.as_str());
            let found = self.choices.iter().find(|(name, _)| name == part);
            found
                .or_else(by_number)
                .map(|(name, _)| name.clone())
                .ok_or_else(|| match nearest(part, names()) {
                    Some(name) => format!("there is no `{part}`: did you mean `{name}`?"),
                    None => format!(
                        "there is no `{part}`: one of {}",
                        names().collect::<Vec<_>>().join(", ")
                    ),
                })
        };
        let parts: Result<Vec<String>, String> =
            answer.split(',').map(str::trim).map(one).collect();
        Ok(parts?.join(","))
    }
}

fn show(ask: &Ask) {
    say("");
    say(&ask.ask);
    if !ask.help.is_empty() {
        say(&format!("  {}", ask.help));
    }
    let width = ask
        .choices
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    for (n, (name, what)) in ask.choices.iter().enumerate() {
        say(format!("  {:>2}  {name:width$}  {what}", n + 1).trim_end());
    }
}
