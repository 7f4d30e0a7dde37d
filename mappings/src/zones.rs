//! Time zones by their IANA names.

use contract::finding::nearest;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// A zone by its name. Zones come from the database inside the binary: a mapping means the same on
/// every machine.
///
/// # Errors
/// That there is none, and the nearest name.
pub(crate) fn named(name: &str) -> Result<TimeZone, (String, String)> {
    let database = TimeZoneDatabase::bundled();
    database.get(name).map_err(|_| {
        let names: Vec<String> = database.available().map(|n| n.to_string()).collect();
        let fix = match nearest(name, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean `{name}`?"),
            None => "a name such as Europe/Berlin or America/Chicago".to_owned(),
        };
        (format!("there is no time zone `{name}`"), fix)
    })
}
