//! What the targets share: cutting an input into pieces, and what must be true of every value.

pub mod rows;
pub mod told;

use contract::{Decimal, Value};

/// An input that is taken piece by piece. Behind its end everything is zero or empty.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of it.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// So many bytes, or fewer at the end.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// Exactly so many bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    /// A piece whose length stands before it in one byte.
    pub fn piece(&mut self) -> &'a [u8] {
        let length = self.byte();
        self.take(length.into())
    }

    /// Such a piece as text; what is no text of it is replaced.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.piece()).into_owned()
    }

    /// What is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// What must be true of a value, wherever it comes from: it has a text unless it is none, its size is told, it is
/// the same as itself, and a number, day or moment is read from its own text as what it is.
///
/// `bytes` is how long that was which it was read from.
pub fn sound(value: &Value, bytes: usize) {
    let text = value.text();
    assert_eq!(
        text.is_none(),
        matches!(value, Value::Null | Value::Unchanged)
    );
    let text = text.unwrap_or_default();
    // Nothing is blown up: the longest are floats, which have up to 330 decimal places, and bytes as hexadecimal.
    assert!(
        text.len() <= 400 + 8 * bytes,
        "{} bytes became a text of {}",
        bytes,
        text.len()
    );
    assert!(value.bytes() <= size_of::<Value>() + 400 + 8 * bytes);
    let shown = format!("{value:?}");
    assert_eq!(shown, value.type_name(), "a value is shown");
    match value {
        Value::Int(number) => assert_eq!(text.parse(), Ok(*number)),
        Value::UInt(number) => {
            assert_eq!(text.parse(), Ok(*number));
            assert!(i64::try_from(*number).is_err(), "{number} has two forms");
        }
        Value::Decimal(number) => same_decimal(*number),
        Value::Float(number) => {
            assert!(number.is_finite());
            assert_eq!(text.parse::<f64>().map(f64::to_bits), Ok(number.to_bits()));
        }
        Value::Date(date) => assert_eq!(text.parse().ok(), Some(*date)),
        Value::Time(time) => assert_eq!(text.parse().ok(), Some(*time)),
        Value::DateTime(at) => assert_eq!(text.parse().ok(), Some(*at)),
        Value::Timestamp(at) => assert_eq!(text.parse().ok(), Some(*at)),
        Value::Uuid(bytes) => assert_eq!(contract::value::parse_uuid(&text), Some(*bytes)),
        Value::Bytes(bytes) => assert_eq!(contract::value::unhex(&text).as_ref(), Some(bytes)),
        Value::Null
        | Value::Unchanged
        | Value::Bool(_)
        | Value::Text(_)
        | Value::Json(_)
        | Value::Invalid(_) => {}
    }
}

/// A number is read from its own text as what it is, in its one form.
pub fn same_decimal(number: Decimal) {
    let text = number.to_string();
    let again: Decimal = text.parse().expect("its own text is a number");
    assert_eq!(again, number);
    assert_eq!(again.to_string(), text);
    assert_eq!(
        Decimal::try_new(number.coefficient(), number.scale()),
        Ok(number)
    );
}
