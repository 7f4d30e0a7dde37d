//! What an answer says of limits, in the dialects that APIs speak. Pure. What cannot be read is
//! left out: all of it is a hint.

use std::time::Duration;

use contract::{Allowance, Decimal, Rate};
use jiff::Timestamp;

/// The longest wait taken from a server.
const WAIT_MAX: u64 = 24 * 3_600;

/// What an answer's status and headers say; `header` gives one by its name in lower case.
///
/// | said by | headers |
/// |---|---|
/// | RFC 9110 | `Retry-After`, seconds or a date |
/// | draft-ietf-httpapi-ratelimit-headers, -08 and later | `RateLimit: "default";r=50;t=30`, `RateLimit-Policy: "default";q=100;w=60` |
/// | its older versions, and many servers with `X-` | `RateLimit-Limit`, `-Remaining`, `-Reset` |
/// | Amazon | `x-amzn-RateLimit-Limit`, requests a second |
/// | BigCommerce | `X-Rate-Limit-Requests-Left`, `-Requests-Quota`, `-Time-Reset-Ms`, `-Time-Window-Ms` |
/// | Walmart | `X-Current-Token-Count`, `X-Next-Replenishment-Time` |
pub fn allowance<'h>(
    status: u16,
    header: impl Fn(&str) -> Option<&'h str>,
    now: Timestamp,
) -> Allowance {
    let mut said = Allowance {
        throttled: status == 429,
        wait: header("retry-after")
            .or_else(|| header("x-retry-after"))
            .and_then(|text| retry_after(text, now)),
        ..Allowance::default()
    };
    structured(&header, &mut said);
    let count = |name: &str| header(name).and_then(|text| text.trim().parse::<u32>().ok());
    for prefix in ["ratelimit", "x-ratelimit", "x-rate-limit"] {
        if said.requests_left.is_none() {
            said.requests_left = count(&format!("{prefix}-remaining"));
            said.reset = header(&format!("{prefix}-reset"))
                .and_then(|text| until(text, now))
                .filter(|_| said.requests_left.is_some());
        }
    }
    if said.requests_left.is_none() {
        let millis = |name: &str| {
            header(name)
                .and_then(|text| text.trim().parse::<u64>().ok())
                .map(Duration::from_millis)
        };
        said.requests_left = count("x-rate-limit-requests-left");
        said.reset = millis("x-rate-limit-time-reset-ms")
            .map(bounded)
            .filter(|_| said.requests_left.is_some());
        if let (Some(requests), Some(per)) = (
            count("x-rate-limit-requests-quota"),
            millis("x-rate-limit-time-window-ms"),
        ) && requests > 0
            && !per.is_zero()
        {
            said.rate = Some(Rate {
                requests,
                per: bounded(per),
            });
        }
    }
    if said.requests_left.is_none() {
        said.requests_left = count("x-current-token-count");
        said.reset = header("x-next-replenishment-time")
            .and_then(|text| until(text, now))
            .filter(|_| said.requests_left.is_some());
    }
    if let Some(rate) = header("x-amzn-ratelimit-limit").and_then(per_second) {
        said.rate = Some(rate);
    }
    said
}

/// The wait of a `Retry-After` header (seconds or an HTTP date, RFC 9110 section 10.2.3).
pub fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    // Some say half seconds; what is rounded up is never too early.
    if let Ok(seconds) = text.trim().parse::<Decimal>() {
        return whole(seconds).map(|seconds| Duration::from_secs(seconds.min(WAIT_MAX)));
    }
    date(text, now)
}

fn date(text: &str, now: Timestamp) -> Option<Duration> {
    let date = Timestamp::try_from(httpdate::parse_http_date(text.trim()).ok()?).ok()?;
    Some(bounded(contract::clock::until(now, date)))
}

fn whole(number: Decimal) -> Option<u64> {
    number.ceil().to_string().parse().ok()
}

fn bounded(time: Duration) -> Duration {
    time.min(Duration::from_secs(WAIT_MAX))
}

/// A time from now, or a moment: seconds or milliseconds since 1970, an RFC 3339 or an HTTP date.
fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(number) = text.parse::<Decimal>() {
        let number = whole(number)?;
        let moment = match number {
            0..1_000_000_000 => return Some(bounded(Duration::from_secs(number))),
            1_000_000_000..100_000_000_000 => Timestamp::from_second(i64::try_from(number).ok()?),
            _ => Timestamp::from_millisecond(i64::try_from(number).ok()?),
        };
        return Some(bounded(contract::clock::until(now, moment.ok()?)));
    }
    if let Ok(moment) = text.parse::<Timestamp>() {
        return Some(bounded(contract::clock::until(now, moment)));
    }
    date(text, now)
}

/// `RateLimit` and `RateLimit-Policy`: lists of names with parameters. The tightest counts.
fn structured<'h>(header: &impl Fn(&str) -> Option<&'h str>, said: &mut Allowance) {
    let items = |text: &'h str| {
        text.split(',').map(|item| {
            item.split(';')
                .skip(1)
                .filter_map(|part| part.split_once('='))
                .collect::<Vec<_>>()
        })
    };
    let number = |parts: &[(&str, &str)], name: &str| {
        let found = parts.iter().find(|(known, _)| known.trim() == name)?;
        found.1.trim().parse::<u32>().ok()
    };
    let left = header("ratelimit").map(items).into_iter().flatten();
    let left = left.filter_map(|parts| Some((number(&parts, "r")?, number(&parts, "t"))));
    if let Some((left, reset)) = left.min_by_key(|(left, reset)| (*left, std::cmp::Reverse(*reset)))
    {
        said.requests_left = Some(left);
        said.reset = reset.map(|seconds| bounded(Duration::from_secs(seconds.into())));
    }
    let policies = header("ratelimit-policy").map(items).into_iter().flatten();
    // Of policies in another unit than requests nothing is taken.
    let policies = policies.filter(|parts| {
        !parts
            .iter()
            .any(|(name, unit)| name.trim() == "qu" && unit.trim() != "\"requests\"")
    });
    let rates = policies.filter_map(|parts| {
        Some((
            number(&parts, "q").filter(|q| *q > 0)?,
            number(&parts, "w").filter(|w| *w > 0)?,
        ))
    });
    // Compared by requests in the same time.
    let tightest = rates.min_by(|left, right| {
        (u64::from(left.0) * u64::from(right.1)).cmp(&(u64::from(right.0) * u64::from(left.1)))
    });
    if let Some((requests, window)) = tightest {
        said.rate = Some(Rate {
            requests,
            per: bounded(Duration::from_secs(window.into())),
        });
    }
}

/// So many requests a second, which may be less than one.
fn per_second(text: &str) -> Option<Rate> {
    let number: Decimal = text.trim().parse().ok()?;
    if number.is_negative() || number == Decimal::ZERO {
        return None;
    }
    // 0.0055 a second is 55 in 10,000 seconds.
    let scale = number.scale().min(4);
    let seconds = 10_u64.pow(scale);
    let requests = number
        .try_mul(Decimal::from(i64::try_from(seconds).ok()?))
        .ok()?;
    let requests: u32 = requests.floor().to_string().parse().ok()?;
    if requests == 0 {
        return None;
    }
    let shared = shared_divisor(u64::from(requests), seconds);
    let requests = u32::try_from(u64::from(requests) / shared).ok()?;
    Some(Rate {
        requests,
        per: Duration::from_secs(seconds / shared),
    })
}

fn shared_divisor(left: u64, right: u64) -> u64 {
    if right == 0 {
        left.max(1)
    } else {
        shared_divisor(right, left % right)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, headers: &[(&str, &'static str)]) -> Allowance {
        let now = "1994-11-06T08:49:07Z".parse().unwrap();
        let owned: Vec<(String, &'static str)> = headers
            .iter()
            .map(|(name, text)| (name.to_ascii_lowercase(), *text))
            .collect();
        allowance(
            status,
            |name| {
                owned
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, text)| *text)
            },
            now,
        )
    }

    #[expect(clippy::unnecessary_wraps, reason = "what a header says, or nothing")]
    fn seconds(number: u64) -> Option<Duration> {
        Some(Duration::from_secs(number))
    }

    #[test]
    fn waits_are_read_in_both_forms_and_bounded() {
        let cases = [
            ("120", seconds(120)),
            ("0.4", seconds(1)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", seconds(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", seconds(0)),
            ("999999999", seconds(86_400)),
            ("soon", None),
            ("-5", None),
        ];
        for (text, wait) in cases {
            assert_eq!(said(503, &[("Retry-After", text)]).wait, wait, "{text}");
        }
    }

    #[test]
    fn the_newest_draft_is_read_and_the_tightest_counts() {
        let found = said(
            200,
            &[
                ("RateLimit", "\"burst\";r=50;t=30, \"day\";r=3;t=4000"),
                (
                    "RateLimit-Policy",
                    "\"burst\";q=100;w=60, \"day\";q=1000;w=86400, \"bytes\";q=1;w=1;qu=\"content-bytes\"",
                ),
            ],
        );
        assert_eq!(
            (found.requests_left, found.reset),
            (Some(3), seconds(4_000))
        );
        assert_eq!(
            found.rate,
            Some(Rate {
                requests: 1_000,
                per: Duration::from_hours(24)
            })
        );
        assert!(!found.throttled);
    }

    #[test]
    fn older_headers_are_read_with_times_and_moments() {
        let found = said(
            429,
            &[
                ("X-RateLimit-Remaining", "0"),
                ("X-RateLimit-Reset", "784111777"),
            ],
        );
        assert!(found.throttled);
        // Seconds since 1970 began with ten digits in 2001.
        assert_eq!(
            (found.requests_left, found.reset),
            (Some(0), seconds(86_400))
        );
        let found = said(
            200,
            &[
                ("RateLimit-Remaining", "7"),
                ("RateLimit-Reset", "12"),
                ("RateLimit-Limit", "10"),
            ],
        );
        assert_eq!((found.requests_left, found.reset), (Some(7), seconds(12)));
    }

    #[test]
    fn vendors_own_headers_are_read() {
        let found = said(200, &[("x-amzn-RateLimit-Limit", "0.5")]);
        assert_eq!(
            found.rate,
            Some(Rate {
                requests: 1,
                per: Duration::from_secs(2)
            })
        );
        assert_eq!(
            said(200, &[("x-amzn-RateLimit-Limit", "5.0")]).rate,
            Some(Rate {
                requests: 5,
                per: Duration::from_secs(1)
            })
        );
        let found = said(
            429,
            &[
                ("X-Rate-Limit-Requests-Left", "0"),
                ("X-Rate-Limit-Requests-Quota", "150"),
                ("X-Rate-Limit-Time-Reset-Ms", "1500"),
                ("X-Rate-Limit-Time-Window-Ms", "30000"),
            ],
        );
        assert_eq!(
            (found.requests_left, found.reset),
            (Some(0), Some(Duration::from_millis(1_500)))
        );
        assert_eq!(
            found.rate,
            Some(Rate {
                requests: 150,
                per: Duration::from_secs(30)
            })
        );
        let found = said(
            200,
            &[
                ("X-Current-Token-Count", "2"),
                ("X-Next-Replenishment-Time", "784111807000"),
            ],
        );
        assert_eq!((found.requests_left, found.reset), (Some(2), seconds(60)));
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let found = said(
            200,
            &[
                ("RateLimit", "default;r=x"),
                ("RateLimit-Policy", "q"),
                ("x-amzn-ratelimit-limit", "0"),
                ("X-Current-Token-Count", "-1"),
            ],
        );
        assert_eq!(found, Allowance::default());
    }
}
