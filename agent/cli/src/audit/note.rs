//! Noting what a person does with a command.

use std::io::Write as _;
use std::path::Path;

use contract::Clock;
use engine::clock::SystemClock;
use serde_json::Value;
use state::AuditEntry;

use super::person::{acting_as, person};

/// Notes what was just done by a command. What cannot be noted is said on standard error: it is done by
/// now, and stays done.
pub(crate) fn did(folder: &Path, what: &str, subject: &str, mut details: Value) {
    if let (Some(user), Value::Object(details)) = (acting_as(), &mut details) {
        details.insert("as".to_owned(), user.into());
    }
    let entry = AuditEntry {
        at: SystemClock.now(),
        who: format!("os:{}", person()),
        what: what.to_owned(),
        subject: subject.to_owned(),
        details: said(details),
    };
    if let Err(error) = state::note_audit(folder, &entry) {
        let hint = error.hint().map(|hint| format!("\n  hint: {hint}"));
        let _ = writeln!(
            std::io::stderr(),
            "WARN audit record: it is done, and could not be noted: {error}{}",
            hint.unwrap_or_default()
        );
    }
}

/// Without what is not said.
fn said(details: Value) -> Value {
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Array(all) => !all.is_empty(),
        Value::Object(all) => !all.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    match details {
        Value::Object(all) => Value::Object(
            all.into_iter()
                .map(|(name, value)| (name, said(value)))
                .filter(|(_, value)| is_said(value))
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_said_is_left_out() {
        let details =
            json!({ "which": { "ids": [], "cause": "guard", "key": null }, "count": 0, "no": {} });
        assert_eq!(
            said(details),
            json!({ "which": { "cause": "guard" }, "count": 0 })
        );
    }
}
