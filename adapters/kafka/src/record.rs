//! Record batches (format 2), their checksum, and which partition a key belongs to.

use crate::wire::Out;

/// A record: what a consumer gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: Vec<(String, String)>,
}

/// Who produces, and where in a partition's row its next record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) producer: i64,
    pub(crate) epoch: i16,
    pub(crate) sequence: i32,
}

fn length(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// A batch of at least one record.
pub(crate) fn batch(records: &[&Record], place: Place, now_ms: i64) -> Vec<u8> {
    // All behind the checksum.
    let mut body = Out::default();
    body.i16(0);
    body.i32(length(records.len()) - 1);
    body.i64(now_ms);
    body.i64(now_ms);
    body.i64(place.producer);
    body.i16(place.epoch);
    body.i32(place.sequence);
    body.i32(length(records.len()));
    for (offset, record) in records.iter().enumerate() {
        let mut own = Out::default();
        own.i8(0);
        own.varint(0);
        own.varint(i64::from(length(offset)));
        own.varint(i64::from(length(record.key.len())));
        own.raw(&record.key);
        own.varint(i64::from(length(record.value.len())));
        own.raw(&record.value);
        own.varint(i64::from(length(record.headers.len())));
        for (name, value) in &record.headers {
            own.varint(i64::from(length(name.len())));
            own.raw(name.as_bytes());
            own.varint(i64::from(length(value.len())));
            own.raw(value.as_bytes());
        }
        body.varint(i64::from(length(own.0.len())));
        body.raw(&own.0);
    }
    let mut out = Out::default();
    out.i64(0);
    out.i32(length(body.0.len() + 9));
    out.i32(-1);
    out.i8(2);
    out.raw(&crc32c(&body.0).to_be_bytes());
    out.raw(&body.0);
    out.0
}

/// CRC-32C (Castagnoli), a byte at a time.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut n = 0;
        while n < 256 {
            #[expect(clippy::cast_possible_truncation, reason = "below 256")]
            let mut value = n as u32;
            let mut bit = 0;
            while bit < 8 {
                value = (value >> 1) ^ if value & 1 == 1 { 0x82f6_3b78 } else { 0 };
                bit += 1;
            }
            table[n] = value;
            n += 1;
        }
        table
    };
    let mut crc = u32::MAX;
    for byte in bytes {
        let low = crc.to_le_bytes()[0] ^ byte;
        crc = (crc >> 8) ^ TABLE[usize::from(low)];
    }
    !crc
}

/// The partition that Kafka's own producers put a key into: murmur2, as they seed it.
pub(crate) fn partition(key: &[u8], partitions: usize) -> usize {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ u32::try_from(key.len()).unwrap_or_default();
    let (words, rest) = key.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    for (place, byte) in rest.iter().enumerate().rev() {
        hash ^= u32::from(*byte) << (8 * place);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    let positive = usize::try_from(hash & 0x7fff_ffff).unwrap_or_default();
    positive.checked_rem(partitions).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Values of Kafka's own tests (`UtilsTest.testMurmur2`), as positive numbers.
    #[test]
    fn keys_go_where_kafkas_own_producers_put_them() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            let positive = usize::try_from(hash & 0x7fff_ffff).unwrap();
            assert_eq!(partition(key.as_bytes(), usize::MAX), positive, "{key}");
        }
    }
}
