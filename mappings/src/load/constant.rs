//! Constants as values of a field's type.

use contract::{FieldType, FieldValue, Node, NodeKind};

use super::words::did_you_mean;
use crate::convert;
use crate::sql::Wrong;

/// A scalar as it stands in the file.
#[derive(Clone, Copy)]
pub(crate) enum Scalar<'a> {
    Text(&'a str),
    Number(&'a str),
    Bool(bool),
}

pub(super) fn constant_of(node: &Node, field_type: FieldType) -> Result<FieldValue, Wrong> {
    let scalar = match &node.kind {
        NodeKind::Text(text) => Scalar::Text(text),
        NodeKind::Number(text) => Scalar::Number(text),
        NodeKind::Bool(value) => Scalar::Bool(*value),
        NodeKind::Null | NodeKind::List(_) | NodeKind::Map(_) => {
            let found = format!("expected a constant, found {}", node.type_name());
            return Err((found, None));
        }
    };
    constant(scalar, field_type)
}

/// A constant as a value of the field's type; for money, its amount.
///
/// # Errors
/// When it is not exactly one.
pub(crate) fn constant(scalar: Scalar<'_>, field_type: FieldType) -> Result<FieldValue, Wrong> {
    let expected = |example: &str| {
        let found = match scalar {
            Scalar::Text(text) => format!("`{text}`"),
            Scalar::Number(text) => format!("the number {text}"),
            Scalar::Bool(value) => format!("{value}"),
        };
        let name = field_type.name();
        Err((
            format!("expected a constant of type {name}, found {found}"),
            Some(format!("such as {example}")),
        ))
    };
    match (field_type, scalar) {
        (FieldType::Text, Scalar::Text(text)) => Ok(FieldValue::Text(text.to_owned())),
        (FieldType::Text, Scalar::Number(text)) => expected(&format!("\"'{text}'\"")),
        (FieldType::Text, Scalar::Bool(value)) => expected(&format!("\"'{value}'\"")),
        (FieldType::Word(words), Scalar::Text(text)) if words.contains(&text) => {
            Ok(FieldValue::Text(text.to_owned()))
        }
        (FieldType::Word(words), Scalar::Text(text)) => {
            let fix = did_you_mean(text, words.iter().copied())
                .or_else(|| Some(format!("one of {}", words.join(", "))));
            Err((format!("`{text}` is not a word of this field"), fix))
        }
        (FieldType::Word(words), _) => expected(words.first().copied().unwrap_or_default()),
        (FieldType::Decimal | FieldType::Money, Scalar::Text(text) | Scalar::Number(text)) => text
            .parse()
            .map(FieldValue::Decimal)
            .or_else(|_| expected("12.5")),
        (FieldType::Decimal | FieldType::Money, Scalar::Bool(_)) => expected("12.5"),
        (FieldType::Bool, Scalar::Bool(value)) => Ok(FieldValue::Bool(value)),
        (FieldType::Bool, Scalar::Text("true")) => Ok(FieldValue::Bool(true)),
        (FieldType::Bool, Scalar::Text("false")) => Ok(FieldValue::Bool(false)),
        (FieldType::Bool, _) => expected("true or false"),
        (FieldType::Date, Scalar::Text(text)) => {
            let date = convert::iso(text);
            date.map_or_else(|| expected("2026-11-20"), |d| Ok(FieldValue::Date(d)))
        }
        (FieldType::Date, _) => expected("2026-11-20"),
        (FieldType::Timestamp, Scalar::Text(text)) => text
            .parse()
            .map(FieldValue::Timestamp)
            .or_else(|_| expected("2026-11-20T08:00:00Z")),
        (FieldType::Timestamp, _) => expected("2026-11-20T08:00:00Z"),
        (FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map, _) => {
            expected("nothing")
        }
    }
}
