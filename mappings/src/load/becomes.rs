//! Whether what a column or an expression gives can become what a field is, by its type alone:
//! what would hold every row is better said before the first.

use contract::{ColumnKind, FieldType};

use crate::rule::{DateForm, Field};
use crate::sql::{Type, Wrong};

/// The values of an expression's type, as far as fields tell them apart.
pub(super) fn kind(of: Type) -> ColumnKind {
    match of {
        Type::Bool => ColumnKind::Bool,
        Type::Number => ColumnKind::Decimal,
        Type::Float => ColumnKind::Float,
        Type::Text => ColumnKind::Text,
        Type::Date => ColumnKind::Date,
        Type::Time => ColumnKind::Time,
        Type::DateTime => ColumnKind::DateTime,
        Type::Timestamp => ColumnKind::Timestamp,
        Type::Any | Type::Null => ColumnKind::Other,
    }
}

/// Whether values of a kind can become the field's, with the field's conversions.
///
/// # Errors
/// That they cannot, and which conversion is missing.
pub(super) fn becomes(kind: ColumnKind, field: &Field) -> Result<(), Wrong> {
    use ColumnKind as K;
    if kind == K::Other || (field.lookup.is_some() && kind != K::Bytes) {
        return Ok(());
    }
    let (fine, fix) = match field.field_type {
        FieldType::Text => (!matches!(kind, K::Bytes | K::Float), text_fix(kind)),
        FieldType::Word(_) => (
            matches!(kind, K::Text | K::Json),
            Some("a dictionary makes words of codes"),
        ),
        FieldType::Decimal | FieldType::Money => match kind {
            K::Int | K::Decimal | K::Text => (true, None),
            K::Float => (
                field.round.is_some(),
                Some(
                    "`round`: the number of places it really has, as {column: .., round: 2} or \
                     round(.., 2)",
                ),
            ),
            _ => (false, None),
        },
        FieldType::Bool => match kind {
            K::Bool | K::Int | K::Decimal => (true, None),
            K::Text => (
                !field.cleaning.flags.is_empty(),
                Some("`clean: {flags: {true_values: [Y], false_values: [N]}}`, or a dictionary"),
            ),
            _ => (false, None),
        },
        FieldType::Date => match kind {
            K::Date | K::Text => (true, None),
            K::Int | K::Decimal => (
                field.date != DateForm::Iso,
                Some("`date: ymd` or `date: cyyddd` says how the number is a date"),
            ),
            K::DateTime => (
                field.cleaning.date_only,
                Some("cast(.. as date), or `clean: {dates: {date_only: true}}`"),
            ),
            _ => (false, None),
        },
        FieldType::Timestamp => match kind {
            K::Timestamp => (true, None),
            K::DateTime => (
                field.zone.is_some(),
                Some("`clean: {dates: {zone: Europe/Berlin}}`, or `zone` of the field"),
            ),
            K::Date => (
                false,
                Some("a moment needs a time of day too: local_datetime(date, time)"),
            ),
            _ => (false, None),
        },
        FieldType::List(_) | FieldType::Object(_) | FieldType::Texts | FieldType::Map => {
            (false, None)
        }
    };
    if fine {
        return Ok(());
    }
    let found = format!(
        "a value of type {} cannot become {} here: every row would be held",
        kind.name(),
        field.field_type.name()
    );
    Err((found, fix.map(str::to_owned)))
}

fn text_fix(kind: ColumnKind) -> Option<&'static str> {
    match kind {
        ColumnKind::Bytes => Some("decode(.., 'windows-1252'), by the code page it is in"),
        ColumnKind::Float => Some("cast(round(.., 2) as text)"),
        _ => None,
    }
}
