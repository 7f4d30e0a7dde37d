//! What an API holds, beside what it would hold.

use contract::destination::Compared;
use contract::{Answer, Outcome};
use serde_json::Value as Json;

use super::rules::plain;
use super::run::{Purpose, Run};
use super::template::{Render, Template, same};

impl Run<'_> {
    /// How each event compares, in order.
    pub fn compared(self) -> Vec<Compared> {
        let unsaid = |outcome: Option<Outcome>| {
            let cause = match outcome {
                Some(
                    Outcome::Retry { cause, .. }
                    | Outcome::Rejected { cause, .. }
                    | Outcome::Unknown { cause, .. }
                    | Outcome::Missing { cause, .. }
                    | Outcome::Conflict { cause, .. },
                ) => cause,
                _ => "the channel came to no comparison".to_owned(),
            };
            Compared::CannotTell { cause }
        };
        self.members
            .into_iter()
            .map(|member| member.compared.unwrap_or_else(|| unsaid(member.outcome)))
            .collect()
    }

    pub(super) fn compare(&mut self, n: usize) {
        let Some(member) = self.members.get(n) else {
            return;
        };
        let read = self
            .channel
            .handling(member.seen.event_type)
            .and_then(|handling| handling.read.as_ref());
        let mut differences = Vec::new();
        for one in read.iter().flat_map(|read| &read.compare) {
            let scope = self.scope(n, 0, &[]);
            let render = Render {
                scope,
                members: &[],
                keys: &[],
            };
            let side =
                |template: &Template| template.render(&render).map(Option::unwrap_or_default);
            let pair = side(&one.holds).and_then(|holds| Ok((holds, side(&one.would)?)));
            match pair {
                Ok((holds, would)) if same(&holds, &would) => {}
                Ok((holds, would)) => {
                    differences.push((one.name.clone(), shown(&holds), shown(&would)));
                }
                Err(reason) => {
                    self.read_as(
                        n,
                        Compared::CannotTell {
                            cause: format!("{}: {reason}", one.name),
                        },
                    );
                    return;
                }
            }
        }
        let text = |pick: fn(&(String, String, String)) -> &String| {
            let one = |difference: &(String, String, String)| {
                format!("{} {}", difference.0, pick(difference))
            };
            differences.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        let compared = if differences.is_empty() {
            Compared::Same
        } else {
            Compared::Differs {
                holds: text(|one| &one.1),
                would: text(|one| &one.2),
            }
        };
        self.read_as(n, compared);
    }

    /// What reading says.
    pub(super) fn read_as(&mut self, n: usize, compared: Compared) {
        if self.purpose == Purpose::Verify {
            let outcome = match compared {
                Compared::Same => Outcome::Applied(Answer {
                    body: "read back: the API holds it".to_owned(),
                    ..Answer::default()
                }),
                Compared::Differs { holds, would } => {
                    let holds = if holds.is_empty() {
                        "nothing of it".to_owned()
                    } else {
                        holds
                    };
                    Outcome::not_sent(format!("read back: the API holds {holds}, not {would}"))
                }
                // With what came, so that it does not pass for an API that could not be asked.
                Compared::CannotTell { cause } => Outcome::Unknown {
                    cause,
                    answer: self
                        .members
                        .get_mut(n)
                        .map(|member| std::mem::take(&mut member.answer)),
                },
            };
            self.end(n, outcome);
        } else if let Some(member) = self.members.get_mut(n) {
            member.compared = Some(compared);
        }
    }
}

/// A value for a person.
fn shown(json: &Json) -> String {
    if json.is_null() {
        "nothing".to_owned()
    } else {
        plain(json).chars().take(80).collect()
    }
}
