//! Reads what a client sent. Every length is checked against what is there.

use std::fmt;

/// What a client sent is not the protocol, or more than this server takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes of a message with the place that was reached.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left() == 0
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let taken = self
            .at
            .checked_add(count)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| {
                Malformed(format!(
                    "{count} bytes announced at byte {}, only {} are there",
                    self.at,
                    self.left()
                ))
            })?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u16_big(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// A length of 32 bits.
    pub(super) fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.u32()?;
        usize::try_from(length).map_err(|_| Malformed(format!("a length of {length}")))
    }

    /// So many units of UTF-16.
    pub(super) fn utf16(&mut self, units: usize) -> Result<String, Malformed> {
        let bytes = units
            .checked_mul(2)
            .ok_or_else(|| Malformed(format!("a text of {units} characters")))?;
        text(self.take(bytes)?)
    }

    /// A text whose length stands before it in one byte.
    pub(super) fn short_text(&mut self) -> Result<String, Malformed> {
        let units = usize::from(self.u8()?);
        self.utf16(units)
    }

    /// A text whose length stands before it in two bytes.
    pub(super) fn long_text(&mut self) -> Result<String, Malformed> {
        let units = usize::from(self.u16()?);
        self.utf16(units)
    }
}

/// The text of little-endian UTF-16.
pub(super) fn text(bytes: &[u8]) -> Result<String, Malformed> {
    if !bytes.len().is_multiple_of(2) {
        return Err(Malformed(format!(
            "a text of {} bytes, which is odd",
            bytes.len()
        )));
    }
    let units = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|lone| Malformed(format!("a text is not UTF-16: {lone}")))
}
