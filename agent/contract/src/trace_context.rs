//! The ids of an event's trace, as W3C Trace Context has them.
//!
//! They are made of the event's id alone, so whoever tells of an event, in whichever process, tells of one trace, and
//! nothing has to be kept for it.
//!
//! What leaves with an event says its trace. A header can name only one, so a request that is about several events has
//! a context of its own; whoever tells of that request links it with the events' traces.

use sha2::{Digest as _, Sha256};

use crate::destination::Outgoing;
use crate::value::hex;

/// What the context is called wherever it stands beside an event: as an HTTP header, and as a message's header, property
/// or field.
pub const NAME: &str = "traceparent";

/// The span of a change's whole way: what all other spans of its trace stand below.
pub const WHOLE: &str = "change";

/// The trace of an event: 32 hexadecimal digits.
pub fn trace_id(event_id: &str) -> String {
    short(event_id, "trace", 16)
}

/// A span in an event's trace, by what it is of: 16 hexadecimal digits.
pub fn span_id(event_id: &str, of: &str) -> String {
    short(event_id, of, 8)
}

/// The header that a receiver's own spans hang by.
pub fn traceparent(event_id: &str) -> String {
    Context::of(event_id).traceparent()
}

/// What a receiver's own spans hang by: a span in a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace_id: String,
    /// The span.
    pub span_id: String,
}

impl Context {
    /// That of an event.
    pub fn of(event_id: &str) -> Self {
        Self {
            trace_id: trace_id(event_id),
            span_id: span_id(event_id, WHOLE),
        }
    }

    /// That of a request: the event's, or one of its own where it is about several. The same events sent again have
    /// another one. Nothing of no event.
    pub fn of_request(events: &[&Outgoing]) -> Option<Self> {
        match events {
            [] => None,
            [event] => Some(Self::of(&event.id)),
            events => {
                let mut all = Sha256::new();
                for event in events {
                    all.update(event.id.as_bytes());
                    all.update(event.attempt.to_be_bytes());
                }
                Some(Self::of(&hex(&all.finalize())))
            }
        }
    }

    /// As it stands in the header.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}

/// So many bytes made of a text. All zeros would be no id; nobody will see them.
fn short(text: &str, of: &str, bytes: usize) -> String {
    let digest = Sha256::digest(format!("{of}\0{text}").as_bytes());
    hex(digest.get(..bytes).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_one_trace_for_ever() {
        let header = traceparent("evt_0f");
        assert_eq!(
            header,
            format!("00-{}-{}-01", trace_id("evt_0f"), span_id("evt_0f", WHOLE))
        );
        assert_eq!(header.len(), 55);
        assert_ne!(trace_id("evt_0f"), trace_id("evt_10"));
        assert_ne!(span_id("evt_0f", WHOLE), span_id("evt_0f", "capture"));
    }

    #[test]
    fn a_request_about_several_events_has_a_context_of_its_own() {
        let event = |id: &str, attempt| Outgoing {
            offset: 1,
            id: id.to_owned(),
            event_type: crate::EventType::Product,
            key: "A".to_owned(),
            op: crate::EventOp::Upsert,
            idempotency_key: id.to_owned(),
            origin: "acme/erp".to_owned(),
            occurred_at: jiff::Timestamp::UNIX_EPOCH,
            attempt,
            json: "{}".into(),
        };
        let of = |events: &[&Outgoing]| Context::of_request(events).map(|one| one.traceparent());
        let (one, other, again) = (event("evt_1", 1), event("evt_2", 1), event("evt_2", 2));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&one]), Some(traceparent("evt_1")));
        let both = of(&[&one, &other]).unwrap();
        assert_eq!(both.len(), 55);
        assert_eq!(of(&[&one, &other]), Some(both.clone()));
        for alone in ["evt_1", "evt_2"] {
            assert!(!both.contains(&trace_id(alone)));
        }
        assert_ne!(of(&[&one, &again]), Some(both), "it is another request");
    }
}
