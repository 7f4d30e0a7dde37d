//! Every type with its values: how SQL writes each, and what it must become by every way it comes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests; each test program uses its part"
)]

mod moments;
mod texts;

use texts::{BYTES, TEXTS};

/// A column, and its values: each in SQL, and as type and text. Every column has a null as well.
pub struct Typed {
    pub declared: String,
    pub values: Vec<(String, String)>,
}

/// The session that writes the values: zero and partly zero dates, and labels that are none, are
/// stored as they are, and moments are another zone's.
pub const WRITER: &str =
    "SET NAMES utf8mb4; SET time_zone = '+05:30'; SET sql_mode = 'ALLOW_INVALID_DATES'";

pub type Fixed = (&'static str, &'static [(&'static str, &'static str)]);

const NUMBERS: &[Fixed] = &[
    (
        "tinyint",
        &[("-128", "int -128"), ("127", "int 127"), ("0", "int 0")],
    ),
    (
        "tinyint unsigned",
        &[("255", "int 255"), ("128", "int 128")],
    ),
    (
        "bool",
        &[("true", "int 1"), ("false", "int 0"), ("-1", "int -1")],
    ),
    (
        "smallint",
        &[("-32768", "int -32768"), ("32767", "int 32767")],
    ),
    (
        "smallint unsigned zerofill",
        &[("65535", "int 65535"), ("7", "int 7")],
    ),
    (
        "mediumint",
        &[
            ("-8388608", "int -8388608"),
            ("-5", "int -5"),
            ("-1", "int -1"),
            ("8388607", "int 8388607"),
        ],
    ),
    (
        "mediumint unsigned",
        &[("16777215", "int 16777215"), ("8388608", "int 8388608")],
    ),
    (
        "int",
        &[
            ("-2147483648", "int -2147483648"),
            ("2147483647", "int 2147483647"),
        ],
    ),
    (
        "int unsigned",
        &[("4294967295", "int 4294967295"), ("0", "int 0")],
    ),
    (
        "bigint",
        &[
            ("-9223372036854775808", "int -9223372036854775808"),
            ("9223372036854775807", "int 9223372036854775807"),
        ],
    ),
    (
        "bigint unsigned",
        &[
            ("18446744073709551615", "uint 18446744073709551615"),
            ("9223372036854775808", "uint 9223372036854775808"),
            ("9223372036854775807", "int 9223372036854775807"),
        ],
    ),
    (
        "year",
        &[
            ("'0000'", "int 0"),
            ("1901", "int 1901"),
            ("2000", "int 2000"),
            ("2155", "int 2155"),
        ],
    ),
    ("bit(1)", &[("b'0'", "bool false"), ("b'1'", "bool true")]),
    ("bit(2)", &[("b'10'", "int 2"), ("b'0'", "int 0")]),
    ("bit(8)", &[("255", "int 255"), ("128", "int 128")]),
    ("bit(9)", &[("256", "int 256"), ("511", "int 511")]),
    (
        "bit(33)",
        &[("4294967296", "int 4294967296"), ("1", "int 1")],
    ),
    (
        "bit(64)",
        &[
            ("18446744073709551615", "uint 18446744073709551615"),
            ("9223372036854775807", "int 9223372036854775807"),
        ],
    ),
    (
        "decimal(1,0)",
        &[("9", "decimal 9"), ("-9", "decimal -9"), ("0", "decimal 0")],
    ),
    (
        "decimal(10,2)",
        &[
            ("-99999999.99", "decimal -99999999.99"),
            ("0.10", "decimal 0.1"),
            ("1", "decimal 1"),
        ],
    ),
    (
        "decimal(12,4) unsigned zerofill",
        &[
            ("12.5", "decimal 12.5"),
            ("99999999.9999", "decimal 99999999.9999"),
        ],
    ),
    (
        "decimal(38,38)",
        &[
            (
                "0.99999999999999999999999999999999999999",
                "decimal 0.99999999999999999999999999999999999999",
            ),
            (
                "-0.00000000000000000000000000000000000001",
                "decimal -0.00000000000000000000000000000000000001",
            ),
        ],
    ),
    (
        "decimal(65,30)",
        &[
            (
                "-12345678901234567890123456789012345.000000000000000000000000000001",
                "invalid -12345678901234567890123456789012345.000000000000000000000000000001",
            ),
            (
                "0.000000000000000000000000000001",
                "decimal 0.000000000000000000000000000001",
            ),
            ("12345678", "decimal 12345678"),
        ],
    ),
    (
        "decimal(65,0)",
        &[
            (
                "99999999999999999999999999999999999999",
                "decimal 99999999999999999999999999999999999999",
            ),
            (
                "-100000000000000000000000000000000000001",
                "invalid -100000000000000000000000000000000000001",
            ),
            (
                "99999999999999999999999999999999999999999999999999999999999999999",
                "invalid 99999999999999999999999999999999999999999999999999999999999999999",
            ),
        ],
    ),
    (
        "float",
        &[
            ("0.1", "float 0.10000000149011612"),
            (
                "-3.4028234e38",
                "float -340282346638528860000000000000000000000",
            ),
            ("16777217", "float 16777216"),
            ("0", "float 0"),
        ],
    ),
    (
        "float unsigned zerofill",
        &[("1234567.8", "float 1234567.75"), ("0.5", "float 0.5")],
    ),
    (
        "float(7,4)",
        &[
            ("12.3456", "float 12.345600128173828"),
            ("999.9999", "float 999.9998779296875"),
        ],
    ),
    (
        "double",
        &[
            ("0.1", "float 0.1"),
            ("2.5e-7", "float 0.00000025"),
            ("1", "float 1"),
        ],
    ),
    (
        "double(20,3)",
        &[
            ("-12345678901.891", "float -12345678901.891"),
            ("1.0625", "float 1.062"),
        ],
    ),
];

const LABELS: &[Fixed] = &[
    (
        "enum('a','it''s','x,y','Ä €','back\\\\slash')",
        &[
            ("'it''s'", "text it's"),
            ("'x,y'", "text x,y"),
            ("'Ä €'", "text Ä €"),
            ("5", "text back\\slash"),
            // None of them: stored under the number 0.
            ("'none'", "text "),
        ],
    ),
    (
        "enum('é','ü') CHARACTER SET latin1",
        &[("'ü'", "text ü"), ("'é'", "text é")],
    ),
    (
        "enum('漢','字') CHARACTER SET gbk",
        &[("'字'", "text 字"), ("'漢'", "text 漢")],
    ),
    (
        "set('p','q','é') CHARACTER SET latin1",
        &[
            ("'p,é'", "text p,é"),
            ("''", "text "),
            ("'p,q,é'", "text p,q,é"),
            ("'none'", "text "),
        ],
    ),
];

pub fn matrix() -> Vec<Typed> {
    let fixed = [NUMBERS, LABELS, TEXTS, BYTES].concat();
    let fixed = fixed.into_iter().map(|(declared, values)| Typed {
        declared: declared.to_owned(),
        values: values
            .iter()
            .map(|(sql, is)| ((*sql).to_owned(), (*is).to_owned()))
            .collect(),
    });
    let mut all: Vec<Typed> = fixed.collect();
    all.push(doubles());
    all.push(many_labels());
    all.push(moments::dates());
    for places in 0..=6 {
        all.extend([
            moments::times(places),
            moments::date_times(places),
            moments::timestamps(places),
        ]);
    }
    all
}

/// The greatest and the least.
fn doubles() -> Typed {
    let value = |sql: &str| {
        (
            sql.to_owned(),
            format!("float {}", sql.parse::<f64>().unwrap()),
        )
    };
    Typed {
        declared: "double".to_owned(),
        values: ["-1.7976931348623157e308", "2.2250738585072014e-308", "1e22"]
            .map(value)
            .to_vec(),
    }
}

/// More labels than one byte can count.
fn many_labels() -> Typed {
    let labels: Vec<String> = (1..=300).map(|n| format!("'m{n}'")).collect();
    let value = |n: usize| (format!("'m{n}'"), format!("text m{n}"));
    Typed {
        declared: format!("enum({})", labels.join(",")),
        values: [1, 255, 256, 300].map(value).to_vec(),
    }
}
