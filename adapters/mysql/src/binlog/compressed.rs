//! Events that MariaDB compresses with `log_bin_compress`
//! (<https://mariadb.com/kb/en/compressing-events-to-reduce-size-of-the-binary-log/>): as the plain
//! ones, but that the statement, or the rows behind the lists of columns, are packed.

use std::io::Read;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::read::{DeflateDecoder, ZlibDecoder};

use super::event::Format;
use super::input::Input;
use super::rows::head_bytes;
use super::{Result, Trouble, malformed};

/// No server sends a larger event: `max_allowed_packet` ends here.
pub(super) const EVENT_MAX: u64 = 1 << 30;

/// The plain event behind a compressed one: its type and body.
pub(super) fn rows(kind: u8, body: &Bytes, format: &Format) -> Result<(u8, Bytes)> {
    // 166 to 168 are versions of 23 to 25, 169 to 171 of 30 to 32.
    let plain = match kind {
        166..=168 => kind - 143,
        _ => kind - 139,
    };
    let head = head_bytes(plain, body, format.table_id_bytes(plain))?;
    let (head, packed) = body.split_at_checked(head).unwrap_or((body, &[]));
    let unpacked = unpack(packed)?;
    let mut whole = BytesMut::with_capacity(head.len() + unpacked.len());
    whole.put_slice(head);
    whole.put_slice(&unpacked);
    Ok((plain, whole.freeze()))
}

/// One byte (its highest bit set, three bits of the algorithm, of which 0 = zlib, and the number of
/// bytes of the length), the length of what was packed, most significant byte first, and the packed
/// bytes.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>> {
    let mut input = Input(packed);
    let head = input.u8()?;
    if head & 0xf0 != 0x80 {
        return Err(malformed("it is compressed in a way that is not known"));
    }
    let length = usize::from(head & 0x07);
    if !(1..=4).contains(&length) {
        return Err(malformed("it is compressed, and its length is none"));
    }
    let length = input.big(length)?;
    inflate(input.rest(), length)
}

/// Unpacks what zlib has packed, of exactly this length.
fn inflate(packed: &[u8], length: u64) -> Result<Vec<u8>> {
    grown(ZlibDecoder::new(packed), length)
}

/// The same without zlib's own header and checksum.
pub(super) fn inflate_value(packed: &[u8], length: u64, bare: bool) -> Result<Vec<u8>> {
    if bare {
        grown(DeflateDecoder::new(packed), length)
    } else {
        inflate(packed, length)
    }
}

fn grown(unpacker: impl Read, length: u64) -> Result<Vec<u8>> {
    if length > EVENT_MAX {
        return Err(malformed("it is compressed, and larger than any event"));
    }
    let mut unpacked = Vec::new();
    // One byte more than there should be, to see that there is none. The vector grows with what
    // really comes.
    unpacker
        .take(length + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| Trouble::Malformed(format!("unpack it: {error}").into()))?;
    if u64::try_from(unpacked.len()) == Ok(length) {
        Ok(unpacked)
    } else {
        Err(malformed("it is compressed, and its length is wrong"))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::*;

    fn pack(bytes: &[u8], says: u32) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(vec![0x84], Compression::default());
        encoder.get_mut().extend(says.to_be_bytes());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let packed = pack(&[7; 1000], 1000);
        assert_eq!(unpack(&packed), Ok(vec![7; 1000]));
        for says in [0, 999, 1001, u32::MAX] {
            assert!(unpack(&pack(&[7; 1000], says)).is_err(), "{says}");
        }
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut]).is_err(), "{cut}");
        }
        for head in [0x00, 0x04, 0x80, 0x85, 0x94] {
            let mut wrong = packed.clone();
            wrong[0] = head;
            assert!(unpack(&wrong).is_err(), "{head}");
        }
    }
}
