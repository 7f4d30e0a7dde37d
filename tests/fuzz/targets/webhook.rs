//! What a receiver answers: status, headers and body; what they say of limits and of its clock.
#![no_main]

use std::time::Duration;

use contract::{Answer, Outcome};
use fuzz::Input;
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

#[path = "../../../adapters/http/src/clock.rs"]
mod clock;
#[path = "../../../adapters/http/src/limits.rs"]
mod limits;
#[path = "../../../adapters/webhook/src/outcome.rs"]
mod outcome;

use outcome::Listed;

/// No server makes us wait longer.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3_600);

// An answer is three lines of head and a body: the status, when it came, and headers as `name: value`.
fuzz_target!(|data: &[u8]| {
    let mut input = Input::new(data);
    let status = u16::from_le_bytes(input.array());
    let seconds = i64::from(u32::from_le_bytes(input.array()));
    let now = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let rest = String::from_utf8_lossy(input.rest()).into_owned();
    let (head, body) = rest.split_once("\n\n").unwrap_or((&rest, ""));
    let headers: Vec<(String, &str)> = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |name: &str| {
        let found = headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| *value)
    };
    let said = limits::allowance(status, header, now);
    assert_eq!(said.throttled, status == 429);
    for wait in [said.wait, said.reset].into_iter().flatten() {
        assert!(wait <= WAIT_MAX, "{wait:?}");
    }
    if let Some(rate) = &said.rate {
        assert!(rate.requests > 0 && !rate.per.is_zero() && rate.per <= WAIT_MAX);
    }
    let _ = clock::clock("webhook", header, now);
    let answer = Answer {
        status: Some(status),
        body: body.to_owned(),
        latency_ms: 1,
    };
    let whole = outcome::of(status, answer.clone(), said.wait);
    judge(status, &whole);
    let ids = ["evt_1", "evt_2", "evt_1"];
    let broken = outcome::listed(body.as_bytes(), true, &ids, &answer);
    assert!(matches!(broken, Listed::Untold(_)), "{broken:?}");
    if let Listed::Each(each) = outcome::listed(body.as_bytes(), false, &ids, &answer) {
        assert_eq!(each.len(), ids.len());
        for one in each.iter().flatten() {
            let status = one.answer().and_then(|answer| answer.status);
            judge(status.expect("the receiver's own"), one);
        }
        assert_eq!(
            each.first(),
            each.last(),
            "the same event has the same outcome"
        );
    }
});

/// Nothing is taken for applied that the receiver did not say it had, and nothing is told at length.
fn judge(status: u16, outcome: &Outcome) {
    let applied = matches!(outcome, Outcome::Applied(_));
    assert_eq!(applied, (200..=299).contains(&status), "{status}");
    if let Outcome::Retry { cause, .. }
    | Outcome::Rejected { cause, .. }
    | Outcome::Unknown { cause, .. } = outcome
    {
        assert!(
            cause.chars().count() <= 400,
            "a cause of {} characters",
            cause.len()
        );
    }
}
