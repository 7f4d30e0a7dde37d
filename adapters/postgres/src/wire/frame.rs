//! Messages: a byte that says the kind, four that say the length, the rest.

use bytes::{Buf, Bytes, BytesMut};

use super::Failure;

/// The longest message of a stream: PostgreSQL itself holds no larger one.
pub(super) const STREAM_MAX: usize = 1 << 30;
/// The longest before the stream begins. Who answers may be no PostgreSQL server at all.
pub(super) const START_MAX: usize = 64 << 10;

/// Kind and length.
const HEADER: usize = 5;
/// So much is read at once, and so much memory is reserved for it: few calls, and small enough
/// that the allocator uses the same memory again.
const CHUNK: usize = 64 << 10;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) body: Bytes,
}

/// How long the message at the front is, header and all; `None` until that has arrived.
fn length(arrived: &[u8], max: usize) -> Result<Option<usize>, Failure> {
    let Some(&[kind, a, b, c, d]) = arrived.first_chunk::<HEADER>() else {
        return Ok(None);
    };
    // It counts itself but not the kind.
    let told = u32::from_be_bytes([a, b, c, d]);
    let long = usize::try_from(told).unwrap_or(usize::MAX);
    if long < HEADER - 1 || long > max {
        return Err(Failure::Malformed(format!(
            "a message of kind 0x{kind:02x} says it is {told} bytes long: this is no PostgreSQL \
             server, or the stream is broken"
        )));
    }
    Ok(Some(long + 1))
}

/// Takes the message at the front as it is; `None` until all of it has arrived.
pub(super) fn take_whole(arrived: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, Failure> {
    let Some(length) = length(arrived, max)? else {
        return Ok(None);
    };
    if arrived.len() < length {
        return Ok(None);
    }
    let whole = arrived.split_to(length);
    if length > 2 * CHUNK {
        // What follows must not keep the memory of a large message.
        let rest = BytesMut::from(&arrived[..]);
        *arrived = rest;
    }
    Ok(Some(whole))
}

/// Takes the message at the front; `None` until all of it has arrived. Copies nothing.
pub(super) fn take(arrived: &mut BytesMut, max: usize) -> Result<Option<Frame>, Failure> {
    let Some(whole) = take_whole(arrived, max)? else {
        return Ok(None);
    };
    let mut body = whole.freeze();
    let kind = body.get_u8();
    body.advance(HEADER - 1);
    Ok(Some(Frame { kind, body }))
}

/// Makes room for the next read. Memory grows with what has arrived, whatever a message says its
/// length is.
pub(super) fn make_room(arrived: &mut BytesMut) {
    if arrived.capacity() - arrived.len() < CHUNK / 8 {
        arrived.reserve(CHUNK.max(arrived.len()));
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn put(into: &mut BytesMut, kind: u8, body: &[u8]) {
        into.put_u8(kind);
        into.put_u32(u32::try_from(body.len() + 4).unwrap());
        into.put_slice(body);
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, max in 0usize..100) {
            let mut arrived = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = take(&mut arrived, max) {}
        }

        /// However the bytes are cut into reads, the messages are the same; a cut one is not told.
        #[test]
        fn cuts_change_nothing(
            sent in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 0..8),
            cut in 1usize..30,
            lost in 0usize..20,
        ) {
            let mut bytes = BytesMut::new();
            for (kind, body) in &sent {
                put(&mut bytes, *kind, body);
            }
            bytes.truncate(bytes.len().saturating_sub(lost));
            let (mut arrived, mut told) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(cut) {
                make_room(&mut arrived);
                arrived.extend_from_slice(piece);
                while let Some(frame) = take(&mut arrived, STREAM_MAX).unwrap() {
                    told.push((frame.kind, frame.body.to_vec()));
                }
            }
            prop_assert!(told.len() <= sent.len());
            prop_assert_eq!(&told[..], &sent[..told.len()]);
            prop_assert!(lost > 0 || told.len() == sent.len());
        }
    }

    #[test]
    fn a_length_is_checked_before_memory_is_reserved() {
        for (length, fine) in [
            (3, false),
            (4, true),
            (1 << 30, true),
            ((1 << 30) + 1, false),
        ] {
            let mut arrived = BytesMut::new();
            arrived.put_u8(b'd');
            arrived.put_u32(length);
            assert_eq!(take(&mut arrived, STREAM_MAX).is_ok(), fine, "{length}");
            make_room(&mut arrived);
            assert!(arrived.capacity() < 4 * CHUNK);
        }
        // What a web server answers.
        let mut arrived = BytesMut::from("HTTP/1.1 400 Bad Request\r\n");
        let refused = take(&mut arrived, START_MAX).unwrap_err();
        assert!(
            format!("{refused:?}").contains("no PostgreSQL"),
            "{refused:?}"
        );
    }

    #[test]
    fn a_large_message_leaves_its_memory_with_itself() {
        let mut arrived = BytesMut::new();
        put(&mut arrived, b'd', &vec![7; 10 * CHUNK]);
        put(&mut arrived, b'd', b"next");
        assert_eq!(
            take(&mut arrived, STREAM_MAX).unwrap().unwrap().body.len(),
            10 * CHUNK
        );
        assert!(arrived.capacity() < CHUNK);
        assert_eq!(
            &take(&mut arrived, STREAM_MAX).unwrap().unwrap().body[..],
            b"next"
        );
    }
}
