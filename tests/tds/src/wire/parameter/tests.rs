use super::*;
use crate::wire::encode;

/// The type and value as the server would send them as an output parameter, which is the form in which
/// a client sends one.
fn again(kind: &Type, value: &Value) -> Result<Parameter, Malformed> {
    let mut out = Vec::new();
    encode::output(&mut out, "@p", kind, value).unwrap();
    // The token and the place; then, after name and flags, the user type and its flags.
    let name = &out[3..8];
    let rest = &out[8 + 1 + 6..];
    let sent = [name, &[0], rest].concat();
    let mut from = Reader::new(&sent);
    let parameter = parameter(&mut from)?;
    assert!(from.is_empty(), "{kind:?}");
    for cut in 0..sent.len() {
        // What is cut is refused, and is no panic.
        assert!(
            super::parameter(&mut Reader::new(&sent[..cut])).is_err(),
            "{kind:?} at {cut}"
        );
    }
    Ok(parameter)
}

#[test]
fn every_type_that_is_sent_is_read() {
    let time = Value::Time(863_999_990_000);
    let values = [
        (Type::Bit, Value::Bit(true)),
        (Type::TinyInt, Value::TinyInt(255)),
        (Type::SmallInt, Value::SmallInt(i16::MIN)),
        (Type::Int, Value::Int(i32::MIN)),
        (Type::BigInt, Value::BigInt(i64::MIN)),
        (Type::Real, Value::Real(f32::MIN)),
        (Type::Float, Value::Float(f64::MAX)),
        (Type::Decimal(38, 10), Value::Decimal(1 - 10_i128.pow(38))),
        (Type::Numeric(1, 0), Value::Decimal(9)),
        (Type::Money, Value::Money(i64::MIN)),
        (Type::SmallMoney, Value::SmallMoney(i32::MAX)),
        (
            Type::DateTime,
            Value::DateTime {
                days: -53_690,
                ticks: 25_919_999,
            },
        ),
        (
            Type::SmallDateTime,
            Value::SmallDateTime {
                days: 65_535,
                minutes: 1439,
            },
        ),
        (Type::Date, Value::Date(3_652_058)),
        (Type::Time(3), time.clone()),
        (Type::DateTime2(7), Value::DateTime2 { days: 1, ticks: 1 }),
        (
            Type::DateTimeOffset(0),
            Value::DateTimeOffset {
                days: 1,
                ticks: 10_000_000,
                offset_minutes: -840,
            },
        ),
        (Type::Char(3), Value::text("ä€x")),
        (Type::VarChar(Length::Of(8000)), Value::text("ÿ")),
        (Type::VarChar(Length::Max), Value::text("ÿ")),
        (Type::NChar(2), Value::text("😀")),
        (Type::NVarChar(Length::Of(4000)), Value::text("ж")),
        (Type::NVarChar(Length::Max), Value::text("ж")),
        (Type::NVarChar(Length::Max), Value::bytes(&[0, 0xD8])),
        (Type::Binary(2), Value::bytes(&[1, 2])),
        (Type::VarBinary(Length::Of(9)), Value::bytes(&[])),
        (Type::VarBinary(Length::Max), Value::bytes(&[7; 9000])),
        (Type::UniqueIdentifier, Value::Guid(*b"0123456789abcdef")),
        (Type::Xml, Value::text("<a/>")),
        (Type::Variant, Value::variant(Type::Money, Value::Money(-1))),
        (Type::Variant, Value::variant(Type::Time(3), time)),
        (
            Type::Variant,
            Value::variant(Type::Numeric(9, 2), Value::Decimal(-5)),
        ),
        (
            Type::Variant,
            Value::variant(Type::VarChar(Length::Of(5)), Value::text("ä")),
        ),
        (
            Type::Variant,
            Value::variant(Type::NChar(1), Value::text("ж")),
        ),
        (
            Type::Variant,
            Value::variant(Type::VarBinary(Length::Of(5)), Value::bytes(&[1])),
        ),
    ];
    for (kind, value) in values {
        for value in [value, Value::Null] {
            let read = again(&kind, &value).unwrap();
            assert_eq!((&read.kind, &read.value), (&kind, &value));
            assert_eq!(read.name, "@p");
        }
    }
}

#[test]
fn large_old_types_and_types_of_assemblies_are_read() {
    let read = |bytes: &[u8]| parameter(&mut Reader::new(&[b"\0\0", bytes].concat())).unwrap();
    let text = read(b"\x23\xFF\xFF\xFF\x7F\x09\x04\xD0\0\x34\x02\0\0\0a\xE4");
    assert_eq!((text.kind, text.value), (Type::Text, Value::text("aä")));
    let text = read(b"\x63\xFF\xFF\xFF\x7F\x09\x04\xD0\0\x34\x02\0\0\0\x36\x04");
    assert_eq!((text.kind, text.value), (Type::NText, Value::text("ж")));
    let image = read(b"\x22\xFF\xFF\xFF\x7F\xFF\xFF\xFF\xFF");
    assert_eq!((image.kind, image.value), (Type::Image, Value::Null));
    let udt = read(b"\xF0\0\0\x01h\0\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\0\0\0\x58\0\0\0\0");
    assert_eq!(udt.value, Value::bytes(b"X"));
    assert!(matches!(udt.kind, Type::Udt(udt) if udt.name == "h"));
    let null = read(b"\x1F");
    assert_eq!(null.value, Value::Null);
}
