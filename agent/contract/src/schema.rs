//! What the event types look like, in the forms others read: JSON Schema, AsyncAPI, a document,
//! and a plain description by which two states of a type are compared.
//!
//! All of it comes from the tables in [`crate::body`], so that none of it can say anything else
//! than what is sent.

mod asyncapi;
mod compat;
mod envelope;
mod examples;
mod json;
mod markdown;
mod words;

pub use asyncapi::asyncapi;
pub use compat::{FieldDescription, KeyPart, TypeDescription, breaks, describe};
pub use examples::{example, later_example};
pub use json::json_schema;
pub use markdown::markdown;

use crate::event::EventType;

/// The name of the file that holds a type's JSON Schema.
pub fn file_name(event_type: EventType) -> String {
    format!("{event_type}.schema.json")
}
