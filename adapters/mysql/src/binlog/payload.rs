//! A whole transaction of MySQL, compressed
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html>).

use std::fmt;
use std::io::Read;

use bytes::{Buf, Bytes};
use contract::SourceError;

use super::compressed::EVENT_MAX;
use super::input::Input;
use super::raw::{HEADER, Raw};
use super::{Hidden, Result, Trouble, malformed};

/// What a window of zstd may take in memory, as a power of two: what its highest level uses.
const WINDOW: u32 = 27;

/// The events of a transaction, packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    packed: Hidden,
    is_compressed: bool,
    /// What it has when unpacked, as the server says.
    length: u64,
}

impl Payload {
    pub(super) fn read(body: &Bytes) -> Result<Self> {
        const ZSTD: u64 = 0;
        const NONE: u64 = 255;
        let mut input = Input(body);
        let (mut size, mut algorithm, mut length) = (None, None, None);
        loop {
            let number = input.packed()?;
            if number == 0 {
                break;
            }
            let bytes = input.packed_length()?;
            let mut field = Input(input.take(bytes)?);
            match number {
                1 => size = Some(field.packed()?),
                2 => algorithm = Some(field.packed()?),
                3 => length = Some(field.packed()?),
                _ => return Err(malformed("a compressed transaction with an unknown field")),
            }
        }
        let left = input.left();
        if size.and_then(|size| usize::try_from(size).ok()) != Some(left) {
            return Err(malformed("a compressed transaction whose length is wrong"));
        }
        let is_compressed = match algorithm {
            Some(ZSTD) => true,
            Some(NONE) => false,
            _ => {
                return Err(malformed(
                    "a transaction that is compressed in a way that is not known",
                ));
            }
        };
        let length = if is_compressed {
            length.ok_or(malformed("a compressed transaction without its length"))?
        } else {
            u64::try_from(left).unwrap_or(u64::MAX)
        };
        Ok(Self {
            packed: Hidden(body.slice(body.len() - left..)),
            is_compressed,
            length,
        })
    }

    /// Its events, one after the other: no more than one of them is in memory. They are to be read
    /// with [`Format::inside_payload`](super::event::Format::inside_payload).
    pub(crate) fn events(&self) -> std::result::Result<PayloadEvents, SourceError> {
        let packed = self.packed.0.clone().reader();
        let reader: Box<dyn Read + Send> = if self.is_compressed {
            let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(|e| unpack(&e))?;
            decoder.window_log_max(WINDOW).map_err(|e| unpack(&e))?;
            Box::new(decoder)
        } else {
            Box::new(packed)
        };
        Ok(PayloadEvents {
            reader,
            left: self.length,
            ended: false,
        })
    }
}

const DOING: &str = "unpack a compressed transaction of the binary log";

fn unpack(error: &std::io::Error) -> SourceError {
    Trouble::Malformed(error.to_string().into()).at(DOING)
}

/// The events inside.
pub(crate) struct PayloadEvents {
    reader: Box<dyn Read + Send>,
    left: u64,
    ended: bool,
}

impl fmt::Debug for PayloadEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadEvents")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl PayloadEvents {
    fn event(&mut self) -> std::result::Result<Option<Raw>, SourceError> {
        let mut head = [0; HEADER];
        let wrong = |why| malformed(why).at(DOING);
        if self.left == 0 {
            return match self.reader.read(&mut head[..1]) {
                Ok(0) => Ok(None),
                Ok(_) => Err(wrong("it is longer than it says")),
                Err(error) => Err(unpack(&error)),
            };
        }
        self.reader.read_exact(&mut head).map_err(|e| unpack(&e))?;
        let [.., a, b, c, d, _, _, _, _, _, _] = head;
        let size = u64::from(u32::from_le_bytes([a, b, c, d]));
        let body = size
            .checked_sub(19)
            .ok_or(wrong("an event without a header"))?;
        if size > self.left || size > EVENT_MAX {
            return Err(wrong("an event larger than what holds it"));
        }
        let mut whole = Vec::from(head);
        // Grows with what really comes, whatever the header says.
        let read = self.reader.by_ref().take(body).read_to_end(&mut whole);
        read.map_err(|error| unpack(&error))?;
        self.left -= size;
        Raw::new(Bytes::from(whole)).map(Some)
    }
}

impl Iterator for PayloadEvents {
    type Item = std::result::Result<Raw, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let event = self.event().transpose();
        self.ended = !matches!(event, Some(Ok(_)));
        event
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, BytesMut};

    use super::*;

    /// An event of type 16 of so many bytes.
    fn event(size: u32) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_u32_le(0);
        out.put_u8(16);
        out.put_u32_le(1);
        out.put_u32_le(size);
        out.put_bytes(0, 6);
        out.put_bytes(7, usize::try_from(size).unwrap() - HEADER);
        out.to_vec()
    }

    fn field(out: &mut BytesMut, number: u8, value: u64) {
        out.put_slice(&[number, 9, 0xfe]);
        out.put_u64_le(value);
    }

    fn payload(plain: &[u8], compress: bool, says: u64) -> Bytes {
        let packed = if compress {
            zstd::encode_all(plain, 3).unwrap()
        } else {
            plain.to_vec()
        };
        let mut out = BytesMut::new();
        field(&mut out, 2, if compress { 0 } else { 255 });
        field(&mut out, 3, says);
        field(&mut out, 1, u64::try_from(packed.len()).unwrap());
        out.put_u8(0);
        out.put_slice(&packed);
        out.freeze()
    }

    fn sizes(body: &Bytes) -> std::result::Result<Vec<u32>, String> {
        let payload = Payload::read(body).map_err(|why| format!("{why:?}"))?;
        let events = payload.events().map_err(|why| why.to_string())?;
        events
            .map(|raw| {
                raw.map(|raw| raw.header.size)
                    .map_err(|why| why.to_string())
            })
            .collect()
    }

    #[test]
    fn events_come_one_by_one_and_lengths_that_lie_are_refused() {
        let plain = [event(27), event(100_000), event(19)].concat();
        let length = u64::try_from(plain.len()).unwrap();
        for compress in [true, false] {
            let sound = payload(&plain, compress, length);
            assert_eq!(sizes(&sound), Ok(vec![27, 100_000, 19]));
            for cut in 0..sound.len() {
                assert!(sizes(&sound.slice(..cut)).is_err(), "{cut}");
            }
        }
        for says in [length - 1, length + 1, length - 19, 27, u64::MAX] {
            assert!(sizes(&payload(&plain, true, says)).is_err(), "{says}");
        }
        assert!(
            sizes(&payload(&plain, true, 0))
                .unwrap_err()
                .contains("longer than it says")
        );
        // An event that says it is larger than the transaction that holds it.
        let mut liar = event(27);
        liar[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(
            sizes(&payload(&liar, true, 27))
                .unwrap_err()
                .contains("larger")
        );
        let mut empty = event(27);
        empty[9..13].copy_from_slice(&18_u32.to_le_bytes());
        assert!(
            sizes(&payload(&empty, true, 27))
                .unwrap_err()
                .contains("header")
        );
    }
}
