//! The ids of an event's trace, as W3C Trace Context has them.
//!
//! They are made of the event's id alone, so whoever tells of an event, in whichever process, tells of one trace, and
//! nothing has to be kept for it.

use sha2::{Digest as _, Sha256};

use crate::value::hex;

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
    format!("00-{}-{}-01", trace_id(event_id), span_id(event_id, WHOLE))
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
}
