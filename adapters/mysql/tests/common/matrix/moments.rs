//! Dates and times, with each number of decimal places.

use super::Typed;

fn values(all: &[(String, &str, String)]) -> Vec<(String, String)> {
    let value =
        |(sql, kind, is): &(String, &str, String)| (format!("'{sql}'"), format!("{kind} {is}"));
    all.iter().map(value).collect()
}

pub fn dates() -> Typed {
    let same = |kind, day: &str| (day.to_owned(), kind, day.to_owned());
    Typed {
        declared: "date".to_owned(),
        values: values(&[
            same("date", "2026-11-26"),
            same("date", "9999-12-31"),
            same("date", "1000-01-01"),
            same("invalid", "0000-01-01"),
            same("invalid", "0000-00-00"),
            same("invalid", "2026-00-00"),
            same("invalid", "2026-11-00"),
            same("invalid", "2026-02-31"),
        ]),
    }
}

/// A fraction as it is written with so many places, and as our values have it: without zeros at the
/// end.
fn fraction(digits: &str, places: usize) -> (String, String) {
    if places == 0 {
        return (String::new(), String::new());
    }
    let whole = format!(".{}", &digits[..places]);
    let short = whole.trim_end_matches('0').trim_end_matches('.').to_owned();
    (whole, short)
}

pub fn times(places: usize) -> Typed {
    let (of, short) = fraction("789010", places);
    let (zero, _) = fraction("000000", places);
    let (last, _) = fraction("999999", places);
    let mut all = vec![
        (format!("12:34:56{of}"), "time", format!("12:34:56{short}")),
        (format!("00:00:00{zero}"), "time", "00:00:00".to_owned()),
        (format!("23:59:59{last}"), "time", format!("23:59:59{last}")),
        (
            format!("24:00:00{zero}"),
            "invalid",
            format!("24:00:00{zero}"),
        ),
        (
            format!("-00:00:01{of}"),
            "invalid",
            format!("-00:00:01{of}"),
        ),
        (
            format!("-838:59:58{last}"),
            "invalid",
            format!("-838:59:58{last}"),
        ),
        (
            format!("838:59:59{zero}"),
            "invalid",
            format!("838:59:59{zero}"),
        ),
    ];
    if places > 0 {
        let (least, _) = fraction(&format!("{:0>1$}", 1, places), places);
        let least = format!("-00:00:00{least}");
        all.push((least.clone(), "invalid", least));
    }
    Typed {
        declared: format!("time({places})"),
        values: values(&all),
    }
}

pub fn date_times(places: usize) -> Typed {
    let (of, short) = fraction("789010", places);
    let (zero, _) = fraction("000000", places);
    let (last, _) = fraction("999999", places);
    let invalid = |day: &str| (format!("{day}{of}"), "invalid", format!("{day}{of}"));
    Typed {
        declared: format!("datetime({places})"),
        values: values(&[
            (
                format!("2026-11-26 12:34:56{of}"),
                "datetime",
                format!("2026-11-26T12:34:56{short}"),
            ),
            (
                format!("9999-12-31 23:59:59{last}"),
                "datetime",
                format!("9999-12-31T23:59:59{last}"),
            ),
            (
                "0000-00-00 00:00:00".to_owned(),
                "invalid",
                format!("0000-00-00 00:00:00{zero}"),
            ),
            invalid("0000-01-01 01:02:03"),
            invalid("2026-00-00 01:02:03"),
            invalid("2026-02-00 01:02:03"),
            invalid("2026-02-31 23:59:59"),
        ]),
    }
}

/// Written by a session in +05:30.
pub fn timestamps(places: usize) -> Typed {
    let (of, short) = fraction("789010", places);
    let (zero, _) = fraction("000000", places);
    Typed {
        declared: format!("timestamp({places}) NULL"),
        values: values(&[
            (
                format!("2026-11-26 12:34:56{of}"),
                "timestamp",
                format!("2026-11-26T07:04:56{short}Z"),
            ),
            (
                "1970-01-01 05:30:01".to_owned(),
                "timestamp",
                "1970-01-01T00:00:01Z".to_owned(),
            ),
            (
                format!("2038-01-19 08:44:07{of}"),
                "timestamp",
                format!("2038-01-19T03:14:07{short}Z"),
            ),
            // Where the server's own zone repeats an hour.
            (
                "2026-10-25 05:30:00".to_owned(),
                "timestamp",
                "2026-10-25T00:00:00Z".to_owned(),
            ),
            (
                "2026-10-25 06:30:00".to_owned(),
                "timestamp",
                "2026-10-25T01:00:00Z".to_owned(),
            ),
            (
                "0000-00-00 00:00:00".to_owned(),
                "invalid",
                format!("0000-00-00 00:00:00{zero}"),
            ),
        ]),
    }
}
