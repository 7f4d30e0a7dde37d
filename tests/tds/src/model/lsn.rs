//! Places in the transaction log.

/// A place in the log, counted. Its ten bytes sort as the count does.
pub type Place = u64;

/// The ten bytes of a place: file, block and slot, each big-endian, as a server shows them.
pub fn lsn(place: Place) -> Vec<u8> {
    if place == 0 {
        return vec![0; 10];
    }
    let slot = (place & 0xF) + 1;
    let block = ((place >> 4) & 0xF_FFFF) * 8 + 16;
    let file = 0x2A + (place >> 24);
    let mut bytes = Vec::with_capacity(10);
    bytes.extend_from_slice(&file.to_be_bytes()[4..]);
    bytes.extend_from_slice(&block.to_be_bytes()[4..]);
    bytes.extend_from_slice(&slot.to_be_bytes()[6..]);
    bytes
}

/// The bytes with one added, as `sys.fn_cdc_increment_lsn` does, or taken away.
pub(crate) fn next(bytes: &[u8], up: bool) -> Vec<u8> {
    let mut found = bytes.to_vec();
    found.resize(10, 0);
    for byte in found.iter_mut().rev() {
        let (value, carry) = if up {
            byte.overflowing_add(1)
        } else {
            byte.overflowing_sub(1)
        };
        *byte = value;
        if !carry {
            break;
        }
    }
    found
}

/// The first place that is not below ten bytes.
pub(crate) fn place(bytes: &[u8]) -> Place {
    let number = |from: usize, to: usize| {
        bytes
            .get(from..to)
            .unwrap_or_default()
            .iter()
            .fold(0_u64, |n, byte| n << 8 | u64::from(*byte))
    };
    let (file, block, slot) = (number(0, 4), number(4, 8), number(8, 10));
    let about = file.saturating_sub(0x2A) << 24
        | (block.saturating_sub(16) / 8) << 4
        | slot.saturating_sub(1).min(15);
    let mut found = about.saturating_sub(32);
    while lsn(found).as_slice() < bytes {
        found += 1;
    }
    found
}
