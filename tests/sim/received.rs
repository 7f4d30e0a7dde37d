//! What a receiver holds, applying in the order of arrival, and what it must never be sent.

use std::collections::BTreeMap;

use contract::{EventKind, LogPos, Outgoing, Position};
use judge::{Class, What};

/// What came of a receiver's requests.
#[derive(Default)]
pub struct Received {
    pub state: BTreeMap<String, (Position, Option<String>)>,
    /// Facts and their corrections, each id once, in the order they came.
    pub facts: Vec<judge::Received>,
    /// What was said last of each fact.
    pub quantities: BTreeMap<String, i64>,
    ids: BTreeMap<String, (String, i64)>,
    /// What was applied is never sent again, for it can be read whether it was.
    pub once: bool,
    /// What came of states, in its order: key, version, body or the reason of its end.
    pub history: Vec<(String, Position, String)>,
}

/// By what a repetition is recognised: a correction has the key of its fact, a replay the id of
/// what it repeats.
fn name_of(outgoing: &Outgoing) -> String {
    format!("{} {}", outgoing.id, outgoing.idempotency_key)
}

impl Received {
    /// Whether an event has come.
    pub fn has(&self, outgoing: &Outgoing) -> bool {
        self.ids.contains_key(&name_of(outgoing))
    }

    /// Takes an event; what is wrong with it.
    pub fn take(&mut self, outgoing: &Outgoing) -> Vec<(Class, String)> {
        let mut wrongs = Vec::new();
        let mut wrong = |class, text| wrongs.push((class, text));
        let again = state::is_replayed(outgoing);
        let json: serde_json::Value = serde_json::from_slice(&outgoing.json).unwrap();
        let digest = json["body_digest"].to_string();
        let arrived = (digest.clone(), outgoing.offset);
        let known = self.ids.insert(name_of(outgoing), arrived);
        if let Some((known, offset)) = known {
            // A fact that is replayed keeps its key, and counts once.
            if offset != outgoing.offset && outgoing.kind() == EventKind::State {
                let text = format!("I2: {} stands in the outbox twice", outgoing.id);
                wrong(Class::Unexplained, text);
            }
            if self.once {
                let text = format!("{} was sent again though it was there", outgoing.id);
                wrong(Class::Unexplained, text);
            }
            if known != digest {
                let text = format!("I3: {} came with two bodies", outgoing.id);
                wrong(Class::Altered, text);
            }
            // A repetition, recognised by its id: a receiver applies it once.
            return wrongs;
        }
        if outgoing.kind() == EventKind::Fact {
            let quantity = json["body"]["quantity"].as_str().unwrap().to_owned();
            let number = quantity.parse().unwrap();
            // Where the log is the first to tell of a row, its correction tells the fact.
            let told = self
                .quantities
                .insert(outgoing.key.clone(), number)
                .is_some();
            let corrects = told && json["op"] == "correction";
            self.facts.push(judge::Received {
                id: name_of(outgoing),
                event_type: outgoing.event_type.to_string(),
                key: outgoing.key.clone(),
                order: String::new(),
                what: if corrects {
                    What::Correction(quantity)
                } else {
                    What::Fact(quantity)
                },
                read: false,
            });
            return wrongs;
        }
        let version = &json["version"];
        let position = Position {
            epoch: u32::try_from(version["epoch"].as_u64().unwrap()).unwrap(),
            pos: LogPos::try_new(version["pos"].as_str().unwrap()).unwrap(),
            seq: u32::try_from(version["seq"].as_u64().unwrap()).unwrap(),
        };
        if let Some((known, _)) = self.state.get(&outgoing.key)
            && (position < *known || position == *known && !again)
        {
            let key = &outgoing.key;
            let text = format!("I4: {key}: {position} came after {known}");
            wrong(Class::Reordered, text);
        }
        let body = json.get("body").map(ToString::to_string);
        let says = body.clone().unwrap_or_else(|| json["reason"].to_string());
        self.history
            .push((outgoing.key.clone(), position.clone(), says));
        self.state.insert(outgoing.key.clone(), (position, body));
        wrongs
    }
}
