//! Character sets: from the bytes of a column to text, exactly as the server itself converts them
//! to `utf8mb4`. No input or output here.
//!
//! Unicode's own forms, `ascii` and `latin1` are built in. The tables of all others are asked from
//! the server ([`tables`]), which has its own idea of several of them.

mod collation;
pub(crate) mod tables;
mod unicode;

use std::collections::HashMap;
use std::sync::Arc;

use contract::Value;

pub(crate) use collation::charset_of;
use tables::Tables;

/// How the texts of one character set are read.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    name: &'static str,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Utf8mb4,
    Utf8mb3,
    Ascii,
    Latin1,
    Ucs2,
    Utf16,
    Utf16le,
    Utf32,
    /// Not text; the server shows the bytes.
    Binary,
    Tables(Arc<Tables>),
}

impl Decoder {
    fn built_in(name: &'static str) -> Option<Self> {
        let form = match name {
            "utf8mb4" => Form::Utf8mb4,
            "utf8mb3" => Form::Utf8mb3,
            "ascii" => Form::Ascii,
            "latin1" => Form::Latin1,
            "ucs2" => Form::Ucs2,
            "utf16" => Form::Utf16,
            "utf16le" => Form::Utf16le,
            "utf32" => Form::Utf32,
            "binary" => Form::Binary,
            _ => return None,
        };
        Some(Self { name, form })
    }

    /// The text. None: the bytes are not valid.
    #[inline]
    pub(crate) fn decode(&self, bytes: &[u8]) -> Option<String> {
        match &self.form {
            Form::Utf8mb4 | Form::Binary => utf8(bytes),
            Form::Utf8mb3 => utf8(bytes).filter(|text| unicode::is_utf8mb3(text)),
            Form::Ascii => utf8(bytes).filter(|text| text.is_ascii()),
            Form::Latin1 => Some(unicode::latin1(bytes)),
            Form::Ucs2 => unicode::ucs2(bytes),
            Form::Utf16 => unicode::utf16(bytes, u16::from_be_bytes),
            Form::Utf16le => unicode::utf16(bytes, u16::from_le_bytes),
            Form::Utf32 => unicode::utf32(bytes),
            Form::Tables(tables) => tables.decode(bytes),
        }
    }

    /// The value of a cell.
    #[inline]
    pub(crate) fn value(&self, bytes: &[u8]) -> Value {
        if matches!(self.form, Form::Binary) {
            return Value::Bytes(bytes.to_vec());
        }
        self.decode(bytes).map_or_else(
            || Value::Invalid(format!("(not {})", self.name)),
            Value::Text,
        )
    }
}

fn utf8(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// The character sets whose tables are known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Charsets {
    asked: HashMap<&'static str, Arc<Tables>>,
}

impl Charsets {
    /// The character set whose tables must be asked from the server before texts of this collation
    /// can be read.
    pub(crate) fn missing(&self, collation: u16) -> Option<&'static str> {
        let name = charset_of(collation)?;
        let known = Decoder::built_in(name).is_some() || self.asked.contains_key(name);
        (!known).then_some(name)
    }

    /// Takes what the server has answered.
    pub(crate) fn add(&mut self, tables: Tables) {
        self.asked.insert(tables.name(), Arc::new(tables));
    }

    /// How texts of this collation are read, or why they cannot be.
    pub(crate) fn decoder(&self, collation: u16) -> Result<Decoder, String> {
        let name = charset_of(collation)
            .ok_or_else(|| format!("the collation with the number {collation} is not known"))?;
        if let Some(decoder) = Decoder::built_in(name) {
            return Ok(decoder);
        }
        let tables = self
            .asked
            .get(name)
            .ok_or_else(|| format!("the tables of the character set {name} were not asked for"))?;
        Ok(Decoder {
            name,
            form: Form::Tables(Arc::clone(tables)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_valid_is_named_and_not_guessed() {
        let charsets = Charsets::default();
        for (collation, bytes, expected) in [
            (
                255,
                &b"\xf0\x9d\x84\x9e"[..],
                Value::Text("\u{1d11e}".to_owned()),
            ),
            (45, b"\xff", Value::Invalid("(not utf8mb4)".to_owned())),
            (
                33,
                b"\xf0\x9d\x84\x9e",
                Value::Invalid("(not utf8mb3)".to_owned()),
            ),
            (11, b"\x80", Value::Invalid("(not ascii)".to_owned())),
            (8, b"\x80\x81", Value::Text("\u{20ac}\u{81}".to_owned())),
            (35, b"\0", Value::Invalid("(not ucs2)".to_owned())),
            (35, b"\xd8\0", Value::Invalid("(not ucs2)".to_owned())),
            (54, b"\xd8\x34\xdd\x1e", Value::Text("\u{1d11e}".to_owned())),
            (54, b"\xd8\x34", Value::Invalid("(not utf16)".to_owned())),
            (56, b"\x34\xd8\x1e\xdd", Value::Text("\u{1d11e}".to_owned())),
            (60, b"\0\x01\xd1\x1e", Value::Text("\u{1d11e}".to_owned())),
            (60, b"\0\x11\0\0", Value::Invalid("(not utf32)".to_owned())),
            (63, b"\xff", Value::Bytes(vec![255])),
        ] {
            let decoder = charsets.decoder(collation).unwrap();
            assert_eq!(decoder.value(bytes), expected, "{collation}");
            assert_eq!(charsets.missing(collation), None);
        }
        assert_eq!(charsets.missing(28), Some("gbk"));
        assert!(charsets.decoder(28).unwrap_err().contains("gbk"));
        assert!(charsets.decoder(9999).unwrap_err().contains("9999"));
    }
}
