//! Bits, and the numbers that stand for labels.

use contract::Value;

use super::input::Input;
use super::{Result, malformed};

/// So many bits, most significant byte first; one is a truth value.
pub(super) fn bits(input: &mut Input<'_>, count: u16) -> Result<Value> {
    let bits = input.big(usize::from(count.div_ceil(8)))?;
    if count < 64 && bits >> count != 0 {
        return Err(malformed("more bits than the column has"));
    }
    Ok(match count {
        1 => Value::Bool(bits == 1),
        _ => Value::unsigned(bits),
    })
}

/// The label with this number, counted from 1. 0 stands for what was none of them, which the
/// database shows as an empty text.
pub(super) fn label(labels: &[String], number: u64) -> Value {
    let at = usize::try_from(number).unwrap_or(usize::MAX);
    match (at.checked_sub(1), number) {
        (None, _) => Value::Text(String::new()),
        (Some(at), _) => labels.get(at).map_or_else(
            || Value::Invalid(format!("(no label {number})")),
            |label| Value::Text(label.clone()),
        ),
    }
}

/// The labels whose bits are set, with commas between them.
pub(super) fn labels(labels: &[String], bits: u64) -> Value {
    let known = u32::try_from(labels.len()).unwrap_or(u32::MAX);
    if bits.checked_shr(known).unwrap_or(0) != 0 {
        return Value::Invalid(format!("(no labels {bits:#x})"));
    }
    let mut text = String::new();
    let mut first = true;
    for (at, label) in labels.iter().enumerate() {
        if bits >> at & 1 == 1 {
            if !first {
                text.push(',');
            }
            first = false;
            text.push_str(label);
        }
    }
    Value::Text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_do_not_exist_are_invalid() {
        let three = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        assert_eq!(label(&three, 0), Value::Text(String::new()));
        assert_eq!(label(&three, 3), Value::Text("c".to_owned()));
        assert_eq!(label(&three, 4).type_name(), "invalid");
        assert_eq!(label(&three, u64::MAX).type_name(), "invalid");
        assert_eq!(labels(&three, 0), Value::Text(String::new()));
        assert_eq!(labels(&three, 5), Value::Text("a,c".to_owned()));
        assert_eq!(labels(&three, 8).type_name(), "invalid");
        let many: Vec<String> = (0..64).map(|at| at.to_string()).collect();
        assert_eq!(labels(&many, 1 << 63), Value::Text("63".to_owned()));
    }

    #[test]
    fn bits_beyond_the_column_are_refused() {
        assert_eq!(bits(&mut Input(&[1]), 1), Ok(Value::Bool(true)));
        assert!(bits(&mut Input(&[2]), 1).is_err());
        assert_eq!(bits(&mut Input(&[3, 255]), 10), Ok(Value::Int(1023)));
        assert!(bits(&mut Input(&[4, 0]), 10).is_err());
        assert_eq!(bits(&mut Input(&[255; 8]), 64), Ok(Value::UInt(u64::MAX)));
    }
}
