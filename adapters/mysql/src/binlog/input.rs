//! Bytes being read: every length is checked before it is used.

use super::{Result, malformed};

const SHORT: super::Trouble = malformed("it ends too early");

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    #[inline]
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = tail;
        Ok(head)
    }

    #[inline]
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(SHORT)?;
        self.0 = tail;
        Ok(*head)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    #[inline]
    pub(super) fn u24(&mut self) -> Result<u32> {
        let [a, b, c] = self.array()?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A big-endian number of up to eight bytes.
    #[inline]
    pub(super) fn big(&mut self, count: usize) -> Result<u64> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A little-endian number of up to eight bytes.
    #[inline]
    pub(super) fn little(&mut self, count: usize) -> Result<u64> {
        let bytes = self.take(count)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// A number whose first byte says its length
    /// (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html>).
    pub(super) fn packed(&mut self) -> Result<u64> {
        match self.u8()? {
            small @ 0..=250 => Ok(u64::from(small)),
            0xfc => Ok(u64::from(self.u16()?)),
            0xfd => Ok(u64::from(self.u24()?)),
            0xfe => self.u64(),
            _ => Err(malformed("a packed number of unknown length")),
        }
    }

    /// A packed number that counts bytes still to come.
    pub(super) fn packed_length(&mut self) -> Result<usize> {
        let length = self.packed()?;
        usize::try_from(length)
            .ok()
            .filter(|length| *length <= self.left())
            .ok_or(malformed("a length larger than what holds it"))
    }

    /// Text that its length in one byte precedes.
    pub(super) fn short_text(&mut self) -> Result<&'a [u8]> {
        let length = usize::from(self.u8()?);
        self.take(length)
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Result<()> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(malformed("bytes behind its end"))
        }
    }
}
