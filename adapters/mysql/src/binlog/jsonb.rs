//! MySQL's binary JSON, as the text that the server shows
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/json__binary_8h.html>).
//!
//! A container has a number of elements, its own size, for objects the places of the keys, and for
//! each element its type with either a small value itself or its place. Places count from the
//! container's first byte.

use super::input::Input;
use super::jsonb_scalar::{quoted, scalar};
use super::{Result, malformed};

/// How deep documents may be nested: the server allows no more.
const DEPTH_MAX: u32 = 100;
/// The text of a document. A column that was made not null by force has documents without bytes,
/// which the server shows as null.
pub(super) fn text(bytes: &[u8]) -> Result<String> {
    let Some((kind, rest)) = bytes.split_first() else {
        return Ok("null".to_owned());
    };
    let mut out = String::with_capacity(bytes.len() * 2);
    let mut budget = Budget {
        elements: bytes.len(),
        text: bytes.len().saturating_mul(8).saturating_add(64),
    };
    element(*kind, rest, DEPTH_MAX, &mut budget, &mut out)?;
    Ok(out)
}

/// What a document may grow to. In a sound one every element is read once, has at least one byte,
/// and its text has no more than eight times of that; in a broken one, places may point to the same
/// element many times.
struct Budget {
    elements: usize,
    text: usize,
}

impl Budget {
    fn spend(&mut self, out: &str) -> Result<()> {
        let left = self.elements.checked_sub(1);
        self.elements = left.filter(|_| out.len() <= self.text).ok_or(malformed(
            "a JSON document whose elements lie upon each other",
        ))?;
        Ok(())
    }
}

fn element(
    kind: u8,
    bytes: &[u8],
    depth: u32,
    budget: &mut Budget,
    out: &mut String,
) -> Result<()> {
    budget.spend(out)?;
    let (large, object) = match kind {
        0x00 => (false, true),
        0x01 => (true, true),
        0x02 => (false, false),
        0x03 => (true, false),
        _ => return scalar(kind, &mut Input(bytes), out),
    };
    let container = Container::read(bytes, large, object)?;
    let depth = depth
        .checked_sub(1)
        .ok_or(malformed("a JSON document that is nested too deep"))?;
    out.push(if object { '{' } else { '[' });
    for at in 0..container.count {
        if at > 0 {
            out.push_str(", ");
        }
        if object {
            quoted(container.key(at)?, out)?;
            out.push_str(": ");
        }
        container.value(at, depth, budget, out)?;
    }
    out.push(if object { '}' } else { ']' });
    Ok(())
}

/// An array or object.
struct Container<'a> {
    /// All of it.
    bytes: &'a [u8],
    count: usize,
    large: bool,
    object: bool,
}

impl<'a> Container<'a> {
    fn read(bytes: &'a [u8], large: bool, object: bool) -> Result<Self> {
        let mut input = Input(bytes);
        let count = number(&mut input, large)?;
        let size = number(&mut input, large)?;
        let bytes = bytes
            .get(..size)
            .ok_or(malformed("a JSON document that ends too early"))?;
        let read = Self {
            bytes,
            count,
            large,
            object,
        };
        let entries = read.entries(count);
        if entries.is_none_or(|end| end > size) {
            return Err(malformed("a JSON document that ends too early"));
        }
        Ok(read)
    }

    fn width(&self) -> usize {
        if self.large { 4 } else { 2 }
    }

    /// Where the values' entries begin, of so many keys.
    fn keys(&self, count: usize) -> Option<usize> {
        let key = if self.object { self.width() + 2 } else { 0 };
        key.checked_mul(count)?.checked_add(2 * self.width())
    }

    /// Where the entries end.
    fn entries(&self, count: usize) -> Option<usize> {
        let value = (1 + self.width()).checked_mul(count)?;
        self.keys(count)?.checked_add(value)
    }

    fn from(&self, at: usize) -> Result<&'a [u8]> {
        self.bytes
            .get(at..)
            .ok_or(malformed("a JSON document with a place outside of it"))
    }

    fn key(&self, at: usize) -> Result<&'a [u8]> {
        let entry = 2 * self.width() + at * (self.width() + 2);
        let mut input = Input(self.from(entry)?);
        let place = number(&mut input, self.large)?;
        let length = usize::from(input.u16()?);
        Input(self.from(place)?).take(length)
    }

    fn value(&self, at: usize, depth: u32, budget: &mut Budget, out: &mut String) -> Result<()> {
        let first = self.keys(self.count).unwrap_or(usize::MAX);
        let entry = first.saturating_add(at * (1 + self.width()));
        let mut input = Input(self.from(entry)?);
        let kind = input.u8()?;
        // Literals and short numbers stand in the entry itself, and longer ones where it is large.
        let inline = match kind {
            0x04..=0x06 => true,
            0x07 | 0x08 => self.large,
            _ => false,
        };
        if inline {
            let inside = input.take(self.width())?;
            return element(kind, inside, depth, budget, out);
        }
        let place = number(&mut input, self.large)?;
        if place < self.entries(self.count).unwrap_or(usize::MAX) {
            return Err(malformed("a JSON document with a place outside of it"));
        }
        element(kind, self.from(place)?, depth, budget, out)
    }
}

fn number(input: &mut Input<'_>, large: bool) -> Result<usize> {
    if large {
        Ok(usize::try_from(input.u32()?).unwrap_or(usize::MAX))
    } else {
        Ok(usize::from(input.u16()?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn documents_are_written_as_the_server_shows_them() {
        for (bytes, expected) in [
            (&b""[..], "null"),
            (b"\x04\x00", "null"),
            (b"\x04\x01", "true"),
            (b"\x04\x02", "false"),
            (b"\x05\xff\xff", "-1"),
            (b"\x06\xff\xff", "65535"),
            (b"\x07\xff\xff\xff\xff", "-1"),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff",
                "18446744073709551615",
            ),
            (b"\x0b\0\0\0\0\0\0\xf0\x3f", "1.0"),
            (b"\x0c\x03a\"b", "\"a\\\"b\""),
            (b"\x00\x00\x00\x04\x00", "{}"),
            (b"\x02\x00\x00\x04\x00", "[]"),
            // [true, -1]
            (
                b"\x02\x02\x00\x0a\x00\x04\x01\x00\x05\xff\xff",
                "[true, -1]",
            ),
            // {"a": 1}
            (
                b"\x00\x01\x00\x0c\x00\x0b\x00\x01\x00\x05\x01\x00a",
                "{\"a\": 1}",
            ),
        ] {
            assert_eq!(text(bytes).as_deref(), Ok(expected), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(kind in 0_u8..17, bytes: Vec<u8>) {
            let all = [&[kind][..], &bytes].concat();
            let _ = text(&all);
        }
    }

    /// An array of arrays whose every element points to the same place would double with each
    /// level.
    #[test]
    fn elements_that_lie_upon_each_other_are_refused() {
        let mut bytes = vec![0x02];
        let levels = 60_u16;
        for level in 0..levels {
            // Two elements, both the array that begins behind this one's entries.
            let size = (levels - level) * 10;
            bytes.extend(2_u16.to_le_bytes());
            bytes.extend(size.to_le_bytes());
            for _ in 0..2 {
                bytes.push(if level + 1 == levels { 0x04 } else { 0x02 });
                let place = if level + 1 == levels { 0_u16 } else { 10 };
                bytes.extend(place.to_le_bytes());
            }
        }
        refused(&bytes);
        // One key of 60,000 bytes that a thousand elements have.
        let count = 1000_u32;
        let behind = 8 + count * 11;
        let mut bytes = vec![0x01];
        bytes.extend(count.to_le_bytes());
        bytes.extend((behind + 60_000).to_le_bytes());
        for _ in 0..count {
            bytes.extend(behind.to_le_bytes());
            bytes.extend(60_000_u16.to_le_bytes());
        }
        for _ in 0..count {
            bytes.extend([0x04, 0, 0, 0, 0]);
        }
        bytes.resize(bytes.len() + 60_000, b'k');
        refused(&bytes);
    }

    fn refused(bytes: &[u8]) {
        let error = format!("{:?}", text(bytes).unwrap_err());
        assert!(error.contains("upon each other"), "{error}");
    }
}
