//! The messages of a PostgreSQL stream, without the connection around them.

/// Why there is no stream any more; the source has more reasons.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What arrives is not PostgreSQL's protocol.
    Malformed(String),
}

#[path = "../../../adapters/postgres/src/wire/event.rs"]
mod event;
#[path = "../../../adapters/postgres/src/wire/frame.rs"]
mod frame;

use bytes::{Bytes, BytesMut};

pub(crate) use event::Event;

/// What a message of the stream tells, if it is one.
pub(crate) fn told(message: Bytes) -> Option<Event> {
    match event::read(message) {
        Ok(told) => told.event,
        Err(Failure::Malformed(why)) => {
            assert!(!why.is_empty());
            None
        }
    }
}

/// The bodies of the messages that arrive in pieces of this size, up to the first broken one.
pub(crate) fn bodies(bytes: &[u8], piece: usize) -> Vec<Bytes> {
    let mut arrived = BytesMut::new();
    let mut found = Vec::new();
    for piece in bytes.chunks(piece.max(1)) {
        frame::make_room(&mut arrived);
        arrived.extend_from_slice(piece);
        loop {
            match frame::take(&mut arrived, frame::STREAM_MAX) {
                Ok(Some(frame)) => found.push(frame.body),
                Ok(None) => break,
                Err(_) => return found,
            }
        }
    }
    assert!(
        frame::take_whole(&mut arrived, frame::START_MAX).map_or(true, |whole| whole.is_none())
    );
    found
}
