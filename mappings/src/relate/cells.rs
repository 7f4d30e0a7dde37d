//! What replicas hold as text: JSON that keeps what each value is.

use contract::event::{HARD_DELETE, OUT_OF_SCOPE, SOFT_FLAG};
use contract::value::{hex, parse_uuid, unhex, uuid_text};
use contract::{Decimal, Origin, Value};
use serde_json::{Value as Json, json};

use super::replicas::{Cell, Mark};

/// Cells as JSON text: texts, truth values and nulls as they are, every other type as an object
/// of one letter and its canonical text, a missing column as an empty list.
pub fn cells_text(cells: &[Cell]) -> String {
    Json::Array(cells.iter().map(cell).collect()).to_string()
}

fn cell(cell: &Cell) -> Json {
    let Some(value) = cell else {
        return json!([]);
    };
    match value {
        Value::Null => Json::Null,
        Value::Unchanged => json!({ "?": "" }),
        Value::Bool(value) => json!(value),
        Value::Text(text) => json!(text),
        Value::Int(value) => json!({ "i": value.to_string() }),
        Value::UInt(value) => json!({ "u": value.to_string() }),
        Value::Decimal(value) => json!({ "n": value.to_string() }),
        // All 64 bits: a text could round.
        Value::Float(value) => json!({ "f": value.to_bits().to_string() }),
        Value::Bytes(bytes) => json!({ "b": hex(bytes) }),
        Value::Date(date) => json!({ "d": date.to_string() }),
        Value::Time(time) => json!({ "t": time.to_string() }),
        Value::DateTime(local) => json!({ "l": local.to_string() }),
        Value::Timestamp(moment) => json!({ "z": moment.to_string() }),
        Value::Uuid(bytes) => json!({ "g": uuid_text(bytes) }),
        Value::Json(text) => json!({ "j": text }),
        Value::Invalid(text) => json!({ "x": text }),
    }
}

/// The cells of a text that [`cells_text`] made; `None` for any other text.
pub fn cells_from_text(text: &str) -> Option<Vec<Cell>> {
    let Json::Array(items) = serde_json::from_str(text).ok()? else {
        return None;
    };
    items.iter().map(read).collect()
}

fn read(json: &Json) -> Option<Cell> {
    let object = match json {
        Json::Array(items) if items.is_empty() => return Some(None),
        Json::Null => return Some(Some(Value::Null)),
        Json::Bool(value) => return Some(Some(Value::Bool(*value))),
        Json::String(text) => return Some(Some(Value::Text(text.clone()))),
        Json::Object(object) => object,
        Json::Array(_) | Json::Number(_) => return None,
    };
    let (class, text) = object.iter().next()?;
    let text = text.as_str()?;
    Some(Some(match class.as_str() {
        "?" => Value::Unchanged,
        "i" => Value::Int(text.parse().ok()?),
        "u" => Value::UInt(text.parse().ok()?),
        "n" => Value::Decimal(text.parse::<Decimal>().ok()?),
        "f" => Value::Float(f64::from_bits(text.parse().ok()?)),
        "b" => Value::Bytes(unhex(text)?),
        "d" => Value::Date(text.parse().ok()?),
        "t" => Value::Time(text.parse().ok()?),
        "l" => Value::DateTime(text.parse().ok()?),
        "z" => Value::Timestamp(text.parse().ok()?),
        "g" => Value::Uuid(parse_uuid(text)?),
        "j" => Value::Json(text.to_owned()),
        "x" => Value::Invalid(text.to_owned()),
        _ => return None,
    }))
}

/// A mark as JSON text.
pub fn mark_text(mark: &Mark) -> String {
    json!({
        "position": mark.position.to_string(),
        "transaction": mark.transaction.to_string(),
        "committed_at": mark.committed_at.map(|moment| moment.to_string()),
        "origin": mark.origin,
        "own": mark.own,
        "due": mark.due.map(|moment| moment.to_string()),
        "latest": mark.latest.map(|moment| moment.to_string()),
        "gone": mark.gone,
        "reason": mark.reason,
        "renamed_from": mark.renamed_from,
    })
    .to_string()
}

/// The mark of a text that [`mark_text`] made; `None` for any other text.
pub fn mark_from_text(text: &str) -> Option<Mark> {
    let json: Json = serde_json::from_str(text).ok()?;
    let field = |name: &str| json.get(name).and_then(Json::as_str);
    let moment = |name: &str| match field(name) {
        Some(text) => text.parse().ok().map(Some),
        None => Some(None),
    };
    let origins = [
        Origin::Live,
        Origin::Snapshot,
        Origin::Replay,
        Origin::Reconcile,
    ];
    let origin = json.get("origin")?;
    Some(Mark {
        position: field("position")?.parse().ok()?,
        transaction: field("transaction")?.parse().ok()?,
        committed_at: moment("committed_at")?,
        origin: origins.into_iter().find(|known| json!(known) == *origin)?,
        own: json.get("own")?.as_bool()?,
        due: moment("due")?,
        latest: moment("latest")?,
        // Marks of earlier versions do not say.
        gone: json.get("gone").and_then(Json::as_bool).unwrap_or(false),
        reason: match field("reason") {
            Some(text) => Some(
                [HARD_DELETE, OUT_OF_SCOPE, SOFT_FLAG]
                    .into_iter()
                    .find(|r| *r == text)?,
            ),
            None => None,
        },
        // Marks of earlier versions have none.
        renamed_from: field("renamed_from").map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            Just(Value::Unchanged),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::unsigned),
            any::<i64>().prop_map(|n| Value::Decimal(Decimal::from(n))),
            any::<f64>()
                .prop_filter("compares with itself", |f| !f.is_nan())
                .prop_map(Value::Float),
            any::<String>().prop_map(Value::Text),
            any::<Vec<u8>>().prop_map(Value::Bytes),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            any::<String>().prop_map(Value::Json),
            any::<String>().prop_map(Value::Invalid),
            (1_i64..4_000_000_000).prop_map(|s| {
                Value::Timestamp(jiff::Timestamp::from_second(s).unwrap_or_default())
            }),
            (0_i16..9999, 1_i8..=12, 1_i8..=28, 0_i8..24).prop_map(|(y, m, d, h)| {
                Value::DateTime(jiff::civil::date(y, m, d).at(h, 5, 0, 0))
            }),
            (0_i16..9999, 1_i8..=12, 1_i8..=28)
                .prop_map(|(y, m, d)| Value::Date(jiff::civil::date(y, m, d))),
        ]
    }

    proptest! {
        #[test]
        fn cells_round_trip(cells in proptest::collection::vec(proptest::option::of(value()), 0..8)) {
            prop_assert_eq!(cells_from_text(&cells_text(&cells)), Some(cells));
        }

        #[test]
        fn any_text_is_read_or_refused(text: String) {
            let _ = cells_from_text(&text);
            let _ = mark_from_text(&text);
        }

        #[test]
        fn marks_round_trip(
            pos: u64,
            seq: u32,
            transaction: u64,
            nanos in proptest::option::of(0_i64..2_000_000_000_000_000_000),
            own: bool,
        ) {
            let position = contract::Position { epoch: 1, pos: contract::LogPos::from_number(pos), seq };
            let at = nanos.and_then(|n| jiff::Timestamp::from_nanosecond(n.into()).ok());
            let mark = Mark {
                position,
                transaction,
                committed_at: at,
                origin: Origin::Snapshot,
                own,
                due: at,
                latest: at,
                gone: !own,
                reason: Some(SOFT_FLAG),
                renamed_from: at.map(|at| at.to_string()),
            };
            prop_assert_eq!(mark_from_text(&mark_text(&mark)), Some(mark));
        }
    }
}
