//! How values compare: by their types, as SQL Server does.

use std::cmp::Ordering;

use super::moments::moment;
use super::types::{Family, Kind, family, ignores_accents, ignores_case, is_binary, scale};
use crate::wire::{Collation, Type, Value};

/// Compares two values of the same family. None when one is NULL.
pub(crate) fn compare(
    a: &Value,
    of_a: &Type,
    b: &Value,
    of_b: &Type,
    by: Collation,
) -> Option<Ordering> {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Text(a), Value::Text(b)) => Some(texts(a, b, by)),
        (Value::Bytes(a), Value::Bytes(b)) => Some(bytes(a, b)),
        (Value::Guid(a), Value::Guid(b)) => Some(guid_order(a).cmp(&guid_order(b))),
        (Value::Float(_) | Value::Real(_), _) | (_, Value::Float(_) | Value::Real(_)) => {
            float(a, of_a)?.partial_cmp(&float(b, of_b)?)
        }
        (Value::Variant(a), Value::Variant(b)) => compare(&a.value, &a.kind, &b.value, &b.kind, by),
        (Value::Variant(a), b) => compare(&a.value, &a.kind, b, of_b, by),
        (a, Value::Variant(b)) => compare(a, of_a, &b.value, &b.kind, by),
        _ => match (moment(a), moment(b)) {
            (Some(a), Some(b)) => Some(a.utc().cmp(&b.utc())),
            _ => {
                let (a, sa) = exact(a, of_a)?;
                let (b, sb) = exact(b, of_b)?;
                Some(exacts(a, sa, b, sb))
            }
        },
    }
}

fn exacts(a: i128, scale_a: u8, b: i128, scale_b: u8) -> Ordering {
    let up = |value: i128, by: u8| value.checked_mul(10_i128.checked_pow(u32::from(by))?);
    let (a2, b2) = if scale_a < scale_b {
        (up(a, scale_b - scale_a), Some(b))
    } else {
        (Some(a), up(b, scale_a - scale_b))
    };
    match (a2, b2) {
        (Some(a), Some(b)) => a.cmp(&b),
        // What does not fit when scaled up is greater by its amount.
        (None, _) => a.cmp(&0),
        (_, None) => 0.cmp(&b),
    }
}

/// The digits and scale of an exact value.
pub(crate) fn exact(value: &Value, of: &Type) -> Option<(i128, u8)> {
    Some(match value {
        Value::Bit(value) => (i128::from(*value), 0),
        Value::TinyInt(value) => (i128::from(*value), 0),
        Value::SmallInt(value) => (i128::from(*value), 0),
        Value::Int(value) => (i128::from(*value), 0),
        Value::BigInt(value) => (i128::from(*value), 0),
        Value::Decimal(value) => (*value, scale(of)),
        Value::Money(value) => (i128::from(*value), 4),
        Value::SmallMoney(value) => (i128::from(*value), 4),
        _ => return None,
    })
}

/// A number as a float.
pub(crate) fn float(value: &Value, of: &Type) -> Option<f64> {
    match value {
        Value::Float(value) => Some(*value),
        Value::Real(value) => Some(f64::from(*value)),
        value => {
            let (digits, scale) = exact(value, of)?;
            format!("{digits}e-{scale}").parse().ok()
        }
    }
}

/// The shorter is as if it were followed by zeros [from memory: what a server does with binary values of
/// different lengths].
fn bytes(a: &[u8], b: &[u8]) -> Ordering {
    let long = a.len().max(b.len());
    let at = |bytes: &[u8], n: usize| bytes.get(n).copied().unwrap_or(0);
    (0..long)
        .map(|n| at(a, n).cmp(&at(b, n)))
        .find(|o| o.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The bytes of a `uniqueidentifier` in the order in which SQL Server compares them: the last group first.
pub(crate) fn guid_order(guid: &[u8; 16]) -> [u8; 16] {
    // In memory the first three groups are turned round, and the order there is 10..16, 8, 9, 6, 7, 4, 5, 0..4.
    let g = guid;
    [
        g[10], g[11], g[12], g[13], g[14], g[15], g[8], g[9], g[7], g[6], g[5], g[4], g[3], g[2],
        g[1], g[0],
    ]
}

/// Compares texts in a collation. Blanks at the end do not count.
pub(crate) fn texts(a: &str, b: &str, by: Collation) -> Ordering {
    let (a, b) = (a.trim_end_matches(' '), b.trim_end_matches(' '));
    if is_binary(by) {
        return a.encode_utf16().cmp(b.encode_utf16());
    }
    let key = |text: &str| text.chars().map(letter).collect::<Vec<_>>();
    let (ka, kb) = (key(a), key(b));
    let primary = ka
        .iter()
        .map(|l| (l.class, l.base))
        .cmp(kb.iter().map(|l| (l.class, l.base)));
    primary
        .then_with(|| {
            if ignores_accents(by) {
                return Ordering::Equal;
            }
            ka.iter().map(|l| l.accent).cmp(kb.iter().map(|l| l.accent))
        })
        .then_with(|| {
            if ignores_case(by) {
                return Ordering::Equal;
            }
            ka.iter().map(|l| l.upper).cmp(kb.iter().map(|l| l.upper))
        })
}

struct Letter {
    class: u8,
    base: char,
    accent: char,
    upper: bool,
}

/// A letter for sorting: signs before digits before letters, accents after the letter, small before
/// large. Like a linguistic collation in what matters here: it is not the order of code points.
fn letter(c: char) -> Letter {
    const PLAIN: [(&str, char); 9] = [
        ("àáâãäå", 'a'),
        ("ç", 'c'),
        ("èéêë", 'e'),
        ("ìíîï", 'i'),
        ("ñ", 'n'),
        ("òóôõö", 'o'),
        ("ùúûü", 'u'),
        ("ýÿ", 'y'),
        ("š", 's'),
    ];
    let lower = c.to_lowercase().next().unwrap_or(c);
    let base = PLAIN
        .iter()
        .find(|(all, _)| all.contains(lower))
        .map_or(lower, |(_, base)| *base);
    let class = if c.is_alphabetic() {
        2
    } else if c.is_numeric() {
        1
    } else {
        0
    };
    Letter {
        class,
        base,
        accent: if base == lower { '\0' } else { lower },
        upper: c != lower,
    }
}

/// Bytes that are equal for values that are equal: for joins, groups and keys.
pub(crate) fn sameness(value: &Value, kind: &Kind) -> Vec<u8> {
    match value {
        Value::Null => vec![0],
        Value::Text(text) => {
            let text = text.trim_end_matches(' ');
            let mut out = vec![1];
            if is_binary(kind.collation) {
                out.extend_from_slice(text.as_bytes());
                return out;
            }
            for l in text.chars().map(letter) {
                let mut push = |c: char| out.extend_from_slice(&u32::from(c).to_be_bytes());
                push(l.base);
                if !ignores_accents(kind.collation) {
                    push(l.accent);
                }
                if !ignores_case(kind.collation) {
                    out.push(u8::from(l.upper));
                }
            }
            out
        }
        Value::Bytes(bytes) => {
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            [&[2], &bytes[..end]].concat()
        }
        Value::Guid(guid) => [&[3][..], guid].concat(),
        Value::Variant(inner) => sameness(&inner.value, &Kind::new(inner.kind.clone())),
        value => {
            if let Some(moment) = moment(value) {
                return [&[4], &moment.utc().to_be_bytes()[..]].concat();
            }
            match exact(value, &kind.of) {
                Some((mut digits, mut scale)) => {
                    while scale > 0 && digits % 10 == 0 {
                        digits /= 10;
                        scale -= 1;
                    }
                    [&[5, scale], &digits.to_be_bytes()[..]].concat()
                }
                None => float(value, &kind.of).map_or_else(
                    || vec![7],
                    |f| [&[6], &f.to_bits().to_be_bytes()[..]].concat(),
                ),
            }
        }
    }
}

/// The order of values where NULL comes first, as ORDER BY has it.
pub(crate) fn order(a: &Value, b: &Value, kind: &Kind) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        _ => compare(a, &kind.of, b, &kind.of, kind.collation).unwrap_or(Ordering::Equal),
    }
}

/// Whether values of a type can be sorted.
pub(crate) fn sortable(kind: &Type) -> bool {
    !matches!(family(kind), Family::Old | Family::Xml)
        && !matches!(kind, Type::Udt(udt) if udt.name == "geography")
}
