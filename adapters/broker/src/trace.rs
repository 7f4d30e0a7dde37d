//! The trace context that goes with an event.

use contract::{Outgoing, trace_context};

/// Its name and its text: a message's header, property or field. It is no attribute of the event, so no prefix belongs
/// before it, and it stands beside what is sent, never in it.
pub fn trace(event: &Outgoing) -> (String, String) {
    (
        trace_context::NAME.to_owned(),
        trace_context::traceparent(&event.id),
    )
}
