//! What a PostgreSQL server streams: messages, what they tell, and the cells of rows as values of any type.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/postgres/src/decode.rs"]
mod decode;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/postgres/src/values.rs"]
mod values;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../parts/postgres_wire.rs"]
mod wire;

use decode::{Cell, Message, Old, Tuple, decode};
use values::{Kind, value_of_bytes};
use wire::Event;

/// The types a cell is read as, whatever its column says.
const KINDS: &[Kind] = &[
    Kind::Bool,
    Kind::Int,
    Kind::Decimal,
    Kind::Money(2),
    Kind::Money(0),
    Kind::Float,
    Kind::Text,
    Kind::Json,
    Kind::Bytes,
    Kind::Date,
    Kind::Time,
    Kind::DateTime,
    Kind::Timestamp,
    Kind::Uuid,
    Kind::Gone,
];

// The first byte says in pieces of which size the others arrive.
fuzz_target!(|data: &[u8]| {
    let [piece, stream @ ..] = data else { return };
    let bodies = wire::bodies(stream, usize::from(*piece));
    // However it is cut, the same arrives.
    assert_eq!(bodies, wire::bodies(stream, stream.len()));
    for body in bodies {
        if let Some(Event::Change(change)) = wire::told(body) {
            message(change);
        }
    }
});

fn message(change: Bytes) {
    let length = change.len();
    let Ok(message) = decode(change) else { return };
    match &message {
        Message::Relation(relation) => {
            assert!(
                relation.columns.len() * 10 <= length,
                "more columns than bytes"
            );
            assert!(!relation.schema.is_empty());
        }
        Message::Insert { new, .. } => tuple(new, length),
        Message::Update { old, new, .. } => {
            match old {
                Some(Old::Key(row) | Old::Full(row)) => tuple(row, length),
                None => {}
            }
            tuple(new, length);
        }
        Message::Delete { old, .. } => match old {
            Old::Key(row) | Old::Full(row) => tuple(row, length),
        },
        Message::Truncate { relations } => assert!(relations.len() * 4 <= length),
        Message::Other => {}
    }
}

fn tuple(tuple: &Tuple, length: usize) {
    assert!(tuple.len() <= length, "more cells than bytes");
    for cell in tuple {
        let Cell::Text(bytes) = cell else { continue };
        assert!(bytes.len() <= length);
        for kind in KINDS {
            fuzz::sound(&value_of_bytes(*kind, bytes), bytes.len());
        }
    }
}
