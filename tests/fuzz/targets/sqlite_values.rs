//! Cells of SQLite: what `quote()` writes, and a stored cell, by any declared type.
#![no_main]

use fuzz::Input;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlite/src/values.rs"]
mod values;

use values::Stored;

fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let declared = input.text();
    let kind = input.byte();
    let rest = input.rest();
    let text = String::from_utf8_lossy(rest);
    let length = text.len() + 16;
    if let Some(value) = values::read(&text, &declared) {
        fuzz::sound(&value, length);
    }
    let stored = match kind % 5 {
        0 => Stored::Null,
        1 => Stored::Integer(i64::from_le_bytes(Input::new(rest).array())),
        2 => Stored::Real(f64::from_le_bytes(Input::new(rest).array())),
        3 => Stored::Text(text.into_owned()),
        _ => Stored::Blob(rest.to_vec()),
    };
    let value = values::value(stored.clone(), &declared);
    fuzz::sound(&value, length);
    // The stream has the cell as `quote()` writes it, the snapshot as it is stored: both are the same value.
    let quoted = match &stored {
        Stored::Null => "NULL".to_owned(),
        Stored::Integer(number) => number.to_string(),
        Stored::Text(text) if !text.contains('\0') => format!("'{}'", text.replace('\'', "''")),
        Stored::Blob(bytes) => format!("X'{}'", contract::value::hex(bytes)),
        Stored::Real(_) | Stored::Text(_) => return,
    };
    assert!(
        values::read(&quoted, &declared) == Some(value),
        "{declared}: the stream and the snapshot differ"
    );
});
