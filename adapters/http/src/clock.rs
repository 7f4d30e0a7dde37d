//! Whether an API's clock agrees with this machine's, by the date of an answer.

use contract::Finding;
use jiff::Timestamp;

/// Clocks that are apart by more make signatures, logins and lags go wrong.
const APART_MAX_SECONDS: u64 = 30;

/// What an answer's `Date` says beside our clock, when it has just come. Nothing where there is no
/// date, or where the answer came out of a cache (`Age`).
pub fn clock<'h>(
    what: &str,
    header: impl Fn(&str) -> Option<&'h str>,
    now: Timestamp,
) -> Option<Finding> {
    if header("age").is_some_and(|age| age.trim() != "0") {
        return None;
    }
    let date = httpdate::parse_http_date(header("date")?.trim()).ok()?;
    let date = Timestamp::try_from(date).ok()?;
    let what = format!("{what}: clock");
    let apart = date.as_second().abs_diff(now.as_second());
    Some(if apart > APART_MAX_SECONDS {
        let found = format!(
            "is {apart} s off this machine's: logins, signatures and waits that name a time may be refused"
        );
        Finding::warn(what, found).fix("set both clocks by the same time servers")
    } else {
        Finding::pass(what, "agrees with this machine's")
    })
}

#[cfg(test)]
mod tests {
    use contract::Level;

    use super::*;

    #[test]
    fn a_clock_that_is_off_is_said() {
        let now = "2026-11-27T14:00:00Z".parse().unwrap();
        let check = |date: &'static str, age: Option<&'static str>| {
            let header = move |name: &str| match name {
                "date" => Some(date),
                "age" => age,
                _ => None,
            };
            clock("destination shop", header, now).map(|found| found.level)
        };
        let right = "Fri, 27 Nov 2026 14:00:20 GMT";
        assert_eq!(check(right, None), Some(Level::Pass));
        assert_eq!(check(right, Some("0")), Some(Level::Pass));
        let late = "Fri, 27 Nov 2026 14:01:00 GMT";
        assert_eq!(check(late, None), Some(Level::Warn));
        assert_eq!(check(late, Some("60")), None, "out of a cache");
        assert_eq!(check("soon", None), None);
    }
}
