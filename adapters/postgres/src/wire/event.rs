//! What the server tells inside the stream, and what we answer.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Failure;

/// What our heartbeats begin with in the log.
pub(crate) const HEARTBEAT: &str = "lighterman";

/// Something the log tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// A transaction begins.
    Begin {
        /// Where its commit record starts.
        commit: u64,
        /// The lower 32 bits of its id.
        id: u32,
        /// Microseconds since 2000.
        committed_at: i64,
    },
    /// It is complete.
    Commit {
        /// Where its commit record ends.
        end: u64,
    },
    /// Whatever else `pgoutput` tells, of version 1 of its protocol.
    Change(Bytes),
    /// One of our own heartbeats.
    Heartbeat(Bytes),
    /// The server has told everything up to here.
    Reached {
        /// A place in the log.
        end: u64,
    },
}

impl Event {
    /// About how much memory it keeps.
    pub(super) fn bytes(&self) -> usize {
        let held = match self {
            Self::Change(bytes) | Self::Heartbeat(bytes) => bytes.len(),
            Self::Begin { .. } | Self::Commit { .. } | Self::Reached { .. } => 0,
        };
        held + size_of::<Self>()
    }
}

/// The content of one message of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    /// `None`: nothing for us.
    pub(super) event: Option<Event>,
    /// The server wants to hear from us now.
    pub(super) answer: bool,
}

/// Reads the content of one message of the stream.
pub(super) fn read(mut data: Bytes) -> Result<Told, Failure> {
    match data.first() {
        Some(b'w') => {
            // Start and end of what was read of the log, and the server's clock.
            skip(&mut data, 1 + 8 + 8 + 8)?;
            let event = logged(data)?;
            Ok(Told {
                event,
                answer: false,
            })
        }
        Some(b'k') => {
            exactly(&data, 1 + 8 + 8 + 1)?;
            data.advance(1);
            let end = data.get_u64();
            data.advance(8);
            Ok(Told {
                event: Some(Event::Reached { end }),
                answer: data.get_u8() != 0,
            })
        }
        Some(kind) => Err(Failure::Malformed(format!(
            "the stream has a part of the unknown kind 0x{kind:02x}"
        ))),
        None => Err(Failure::Malformed(
            "the stream has an empty part".to_owned(),
        )),
    }
}

fn logged(mut data: Bytes) -> Result<Option<Event>, Failure> {
    Ok(Some(match data.first() {
        Some(b'B') => {
            exactly(&data, 1 + 8 + 8 + 4)?;
            data.advance(1);
            Event::Begin {
                commit: data.get_u64(),
                committed_at: data.get_i64(),
                id: data.get_u32(),
            }
        }
        Some(b'C') => {
            exactly(&data, 1 + 1 + 8 + 8 + 8)?;
            data.advance(1 + 1 + 8);
            Event::Commit {
                end: data.get_u64(),
            }
        }
        Some(b'M') => return emitted(data),
        Some(_) => Event::Change(data),
        None => {
            return Err(Failure::Malformed(
                "the log tells an empty change".to_owned(),
            ));
        }
    }))
}

/// Something written to the log by a function: ours, or an application's for other readers.
fn emitted(mut data: Bytes) -> Result<Option<Event>, Failure> {
    // Whether it belongs to a transaction, and its place.
    skip(&mut data, 1 + 1 + 8)?;
    let end = data.iter().position(|byte| *byte == 0);
    let prefix = data.split_to(end.ok_or_else(|| cut(data.len()))?);
    skip(&mut data, 1)?;
    if prefix != HEARTBEAT.as_bytes() {
        return Ok(None);
    }
    if data.len() < 4 {
        return Err(cut(data.len()));
    }
    let length = data.get_u32();
    if usize::try_from(length) != Ok(data.len()) {
        return Err(cut(data.len()));
    }
    Ok(Some(Event::Heartbeat(data)))
}

fn skip(data: &mut Bytes, count: usize) -> Result<(), Failure> {
    if data.len() < count {
        return Err(cut(data.len()));
    }
    data.advance(count);
    Ok(())
}

fn exactly(data: &Bytes, count: usize) -> Result<(), Failure> {
    if data.len() == count {
        Ok(())
    } else {
        Err(cut(data.len()))
    }
}

fn cut(length: usize) -> Failure {
    Failure::Malformed(format!(
        "a part of the stream has the wrong length, {length} bytes"
    ))
}

/// Puts a status update: all three places the server asks for are what we hold durably, because
/// we know of no other.
pub(super) fn put_status(out: &mut BytesMut, acknowledged: u64, clock: i64, ask: bool) {
    const LENGTH: u32 = 4 + 1 + 3 * 8 + 8 + 1;
    out.put_u8(b'd');
    out.put_u32(LENGTH);
    out.put_u8(b'r');
    for _ in ["written", "flushed", "applied"] {
        out.put_u64(acknowledged);
    }
    out.put_i64(clock);
    out.put_u8(u8::from(ask));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame;
    use super::*;

    fn wrapped(logged: &[u8]) -> Bytes {
        let mut data = BytesMut::from(&b"w"[..]);
        data.put_bytes(0, 24);
        data.put_slice(logged);
        data.freeze()
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read(Bytes::from(bytes.clone()));
            let _ = read(wrapped(&bytes));
        }

        #[test]
        fn what_is_told_is_read(commit: u64, committed_at: i64, id: u32, end: u64, ask: bool) {
            let mut begin = BytesMut::from(&b"B"[..]);
            begin.put_u64(commit);
            begin.put_i64(committed_at);
            begin.put_u32(id);
            let told = read(wrapped(&begin)).unwrap();
            prop_assert_eq!(told.event, Some(Event::Begin { commit, id, committed_at }));
            let mut last = BytesMut::from(&b"C\0"[..]);
            last.put_u64(commit);
            last.put_u64(end);
            last.put_i64(committed_at);
            prop_assert_eq!(read(wrapped(&last)).unwrap().event, Some(Event::Commit { end }));
            let mut alive = BytesMut::from(&b"k"[..]);
            alive.put_u64(end);
            alive.put_i64(committed_at);
            alive.put_u8(u8::from(ask));
            let told = read(alive.clone().freeze()).unwrap();
            prop_assert_eq!(told, Told { event: Some(Event::Reached { end }), answer: ask });
            // Cut or grown by anything, it is an error.
            for wrong in [&begin[..begin.len() - 1], &last[..last.len() - 1], &[&last[..], b"x"].concat()] {
                prop_assert!(read(wrapped(wrong)).is_err());
            }
            for length in 0..alive.len() {
                prop_assert!(read(Bytes::copy_from_slice(&alive[..length])).is_err());
            }
        }
    }

    #[test]
    fn a_change_is_passed_on_as_it_is() {
        let told = read(wrapped(b"Ianything")).unwrap();
        assert_eq!(
            told.event,
            Some(Event::Change(Bytes::from_static(b"Ianything")))
        );
        let emitted = b"M\x00\0\0\0\0\0\0\0\x01other\0\0\0\0\x02hi";
        assert_eq!(read(wrapped(emitted)).unwrap().event, None);
        let heartbeat = b"M\x00\0\0\0\0\0\0\0\x01lighterman\0\0\0\0\x02hi";
        assert_eq!(
            read(wrapped(heartbeat)).unwrap().event,
            Some(Event::Heartbeat(Bytes::from_static(b"hi")))
        );
        for length in 1..heartbeat.len() {
            assert!(read(wrapped(&heartbeat[..length])).is_err(), "{length}");
        }
        for wrong in [&b""[..], b"w", b"x", b"wtooshort"] {
            assert!(read(Bytes::from_static(wrong)).is_err(), "{wrong:?}");
        }
        assert!(read(wrapped(b"")).is_err());
    }

    #[test]
    fn a_status_is_one_message_and_says_one_place_three_times() {
        let mut out = BytesMut::new();
        put_status(&mut out, 0x0102_0304_0506_0708, 9, true);
        let frame = frame::take(&mut out, frame::STREAM_MAX).unwrap().unwrap();
        assert!(out.is_empty());
        assert_eq!(frame.kind, b'd');
        let place = [1, 2, 3, 4, 5, 6, 7, 8];
        let expected = [
            &b"r"[..],
            &place,
            &place,
            &place,
            &[0, 0, 0, 0, 0, 0, 0, 9, 1],
        ];
        assert_eq!(&frame.body[..], expected.concat());
    }
}
