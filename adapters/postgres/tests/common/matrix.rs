//! Every type with its values: how SQL writes each, and what it must become by every way it comes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests; each test program uses its part"
)]

/// Types and tables the matrix needs.
pub const MADE: &str = "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree;
    CREATE SCHEMA \"Odd Schema\";
    CREATE TYPE colour AS ENUM ('red', 'grün', 'a \"quoted\" one', '');
    CREATE TYPE \"Odd Schema\".\"Size\" AS ENUM ('S', 'M');
    CREATE DOMAIN price AS numeric(14, 2) CHECK (VALUE >= 0);
    CREATE DOMAIN dear AS price CHECK (VALUE > 100);
    CREATE DOMAIN numbers AS int[];
    CREATE DOMAIN tint AS colour;
    CREATE DOMAIN code AS char(4);
    CREATE DOMAIN day AS date;
    CREATE TYPE spot AS (x int, label text, at timestamptz, raw bytea);
    CREATE TYPE floats AS RANGE (subtype = float8)";

/// A type, and texts of its values with what each must become.
pub type Column = (&'static str, &'static [(&'static str, &'static str)]);

pub const MATRIX: &[Column] = &[
    ("boolean", &[("true", "bool true"), ("false", "bool false")]),
    (
        "smallint",
        &[("-32768", "int -32768"), ("32767", "int 32767")],
    ),
    (
        "integer",
        &[
            ("-2147483648", "int -2147483648"),
            ("2147483647", "int 2147483647"),
            ("0", "int 0"),
        ],
    ),
    (
        "bigint",
        &[
            ("-9223372036854775808", "int -9223372036854775808"),
            ("9223372036854775807", "int 9223372036854775807"),
        ],
    ),
    (
        "numeric",
        &[
            ("NaN", "invalid NaN"),
            ("Infinity", "invalid Infinity"),
            ("-Infinity", "invalid -Infinity"),
            ("-0.00", "decimal 0"),
            (
                "12345678901234567890123456789012345678",
                "decimal 12345678901234567890123456789012345678",
            ),
            (
                "-0.00000000000000000000000000000000000001",
                "decimal -0.00000000000000000000000000000000000001",
            ),
            (
                "1234567890123456789012345678901234567890",
                "invalid 1234567890123456789012345678901234567890",
            ),
            ("1.2300", "decimal 1.23"),
            ("1e20", "decimal 100000000000000000000"),
        ],
    ),
    (
        "numeric(38,10)",
        &[(
            "1234567890123456789012345678.0123456789",
            "decimal 1234567890123456789012345678.0123456789",
        )],
    ),
    (
        "numeric(6,2)",
        &[
            ("12.5", "decimal 12.5"),
            ("-9999.99", "decimal -9999.99"),
            ("NaN", "invalid NaN"),
        ],
    ),
    ("numeric(5)", &[("99999", "decimal 99999")]),
    (
        "money",
        &[
            ("12.34", "decimal 12.34"),
            ("-1234567.80", "decimal -1234567.8"),
            ("-92233720368547758.08", "decimal -92233720368547758.08"),
            ("92233720368547758.07", "decimal 92233720368547758.07"),
            ("0", "decimal 0"),
        ],
    ),
    ("price", &[("12.50", "decimal 12.5"), ("0", "decimal 0")]),
    ("dear", &[("100.01", "decimal 100.01")]),
    (
        "real",
        &[
            ("0.1", "float 0.1"),
            (
                "3.4028235e38",
                "float 340282350000000000000000000000000000000",
            ),
            ("NaN", "invalid NaN"),
            ("-Infinity", "invalid -Infinity"),
            ("-0", "float -0"),
        ],
    ),
    (
        "double precision",
        &[
            ("0.30000000000000004", "float 0.30000000000000004"),
            ("1e-7", "float 0.0000001"),
            ("Infinity", "invalid Infinity"),
            ("-0", "float -0"),
        ],
    ),
    (
        "text",
        &[
            ("", "text "),
            (
                "tab\there 'quoted' \\ \u{e9} 漢 🎁 e\u{301}",
                "text tab\there 'quoted' \\ \u{e9} 漢 🎁 e\u{301}",
            ),
            (" padded ", "text  padded "),
            (
                "line\r\nline\u{0b}\u{1f}\u{7f}",
                "text line\r\nline\u{0b}\u{1f}\u{7f}",
            ),
            ("\\N", "text \\N"),
        ],
    ),
    (
        "varchar(5)",
        &[("ab", "text ab"), ("漢字漢字漢", "text 漢字漢字漢")],
    ),
    (
        "char(6)",
        &[
            ("ab", "text ab    "),
            ("", "text       "),
            ("漢", "text 漢     "),
        ],
    ),
    ("code", &[("K", "text K   ")]),
    ("\"char\"", &[("x", "text x"), ("", "text ")]),
    ("name", &[("a name", "text a name")]),
    ("citext", &[("MiXed", "text MiXed")]),
    (
        "colour",
        &[
            ("red", "text red"),
            ("grün", "text grün"),
            ("a \"quoted\" one", "text a \"quoted\" one"),
            ("", "text "),
        ],
    ),
    ("\"Odd Schema\".\"Size\"", &[("M", "text M")]),
    ("tint", &[("grün", "text grün")]),
    (
        "date",
        &[
            ("2024-02-29", "date 2024-02-29"),
            ("0001-01-01", "date 0001-01-01"),
            ("9999-12-31", "date 9999-12-31"),
            ("10000-01-01", "invalid 10000-01-01"),
            ("infinity", "invalid infinity"),
            ("-infinity", "invalid -infinity"),
            ("0044-03-15 BC", "invalid 0044-03-15 BC"),
        ],
    ),
    ("day", &[("2024-12-31", "date 2024-12-31")]),
    (
        "time",
        &[
            ("23:59:59.999999", "time 23:59:59.999999"),
            ("00:00", "time 00:00:00"),
            ("24:00", "invalid 24:00:00"),
        ],
    ),
    ("time(0)", &[("08:05:06.7", "time 08:05:07")]),
    (
        "timetz",
        &[
            ("12:00:00.5+02", "text 12:00:00.5+02"),
            ("00:00-12:30", "text 00:00:00-12:30"),
        ],
    ),
    (
        "timestamp",
        &[
            ("2024-02-29 12:00:00.5", "datetime 2024-02-29T12:00:00.5"),
            ("2024-03-31 02:30:00", "datetime 2024-03-31T02:30:00"),
            ("0001-01-01 00:00:00", "datetime 0001-01-01T00:00:00"),
            ("infinity", "invalid infinity"),
            ("0044-03-15 00:00:00 BC", "invalid 0044-03-15 00:00:00 BC"),
            (
                "294276-12-31 23:59:59.999999",
                "invalid 294276-12-31 23:59:59.999999",
            ),
        ],
    ),
    (
        "timestamptz",
        &[
            (
                "2024-02-29 12:00:00.123456+05:30",
                "timestamp 2024-02-29T06:30:00.123456Z",
            ),
            ("1850-01-01 00:00:00+00", "timestamp 1850-01-01T00:00:00Z"),
            ("infinity", "invalid infinity"),
            ("-infinity", "invalid -infinity"),
            (
                "0044-03-15 00:00:00+00 BC",
                "invalid 0044-03-15 00:00:00+00 BC",
            ),
            ("10000-01-01 00:00:00+00", "invalid 10000-01-01 00:00:00+00"),
        ],
    ),
    (
        "interval",
        &[
            ("1 year 2 days 03:04:05.6", "text 1 year 2 days 03:04:05.6"),
            ("-1 mon -1 day +00:00:01", "text -1 mons -1 days +00:00:01"),
            ("0", "text 00:00:00"),
        ],
    ),
    (
        "uuid",
        &[
            (
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                "uuid a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ),
            (
                "00000000-0000-0000-0000-000000000000",
                "uuid 00000000-0000-0000-0000-000000000000",
            ),
        ],
    ),
    (
        "json",
        &[
            (
                "{\"b\" : 1,  \"a\":[1.10], \"a\":2}",
                "json {\"b\" : 1,  \"a\":[1.10], \"a\":2}",
            ),
            ("\"\\ud800 alone\"", "json \"\\ud800 alone\""),
            ("\"\\u0000\"", "json \"\\u0000\""),
            ("null", "json null"),
            ("\"漢\"", "json \"漢\""),
        ],
    ),
    (
        "jsonb",
        &[
            (
                "{\"b\" : 1.10,  \"a\":2, \"a\":3}",
                "json {\"a\": 3, \"b\": 1.10}",
            ),
            ("null", "json null"),
            ("1e30", "json 1000000000000000000000000000000"),
        ],
    ),
    (
        "bytea",
        &[
            ("", "bytes "),
            ("\\x00ff10", "bytes 00ff10"),
            ("\\x5c5c2700", "bytes 5c5c2700"),
        ],
    ),
    ("bit(5)", &[("10110", "text 10110")]),
    ("varbit", &[("", "text "), ("101", "text 101")]),
    (
        "inet",
        &[
            ("10.1.2.3", "text 10.1.2.3"),
            ("::1/64", "text ::1/64"),
            ("10.1.2.3/8", "text 10.1.2.3/8"),
        ],
    ),
    ("cidr", &[("10.0.0.0/8", "text 10.0.0.0/8")]),
    (
        "macaddr",
        &[("08:00:2b:01:02:03", "text 08:00:2b:01:02:03")],
    ),
    (
        "macaddr8",
        &[("08:00:2b:01:02:03:04:05", "text 08:00:2b:01:02:03:04:05")],
    ),
    ("xml", &[("<a b=\"1\">漢</a>", "text <a b=\"1\">漢</a>")]),
    ("oid", &[("4000000000", "text 4000000000")]),
    ("pg_lsn", &[("16/B374D848", "text 16/B374D848")]),
    ("regclass", &[("pg_class", "text pg_class")]),
    ("tsvector", &[("fat:2 cat:1", "text 'cat':1 'fat':2")]),
    ("tsquery", &[("fat & !cat", "text 'fat' & !'cat'")]),
    ("point", &[("(0.1,-2)", "text (0.1,-2)")]),
    (
        "hstore",
        &[("a=>1, \"b \"=>NULL", "text \"a\"=>\"1\", \"b \"=>NULL")],
    ),
    ("ltree", &[("top.sub", "text top.sub")]),
    (
        "int[]",
        &[
            ("{1,NULL,3}", "text {1,NULL,3}"),
            ("{}", "text {}"),
            ("[0:1]={1,2}", "text [0:1]={1,2}"),
            ("{{1,2},{3,4}}", "text {{1,2},{3,4}}"),
        ],
    ),
    (
        "text[]",
        &[(
            "{\"a b\",NULL,\"c\\\"\",\"\",\"NULL\"}",
            "text {\"a b\",NULL,\"c\\\"\",\"\",\"NULL\"}",
        )],
    ),
    (
        "timestamptz[]",
        &[(
            "{\"2024-02-29 12:00:00+05:30\"}",
            "text {\"2024-02-29 06:30:00+00\"}",
        )],
    ),
    (
        "float8[]",
        &[(
            "{0.30000000000000004,NaN}",
            "text {0.30000000000000004,NaN}",
        )],
    ),
    ("bytea[]", &[("{\"\\\\x00ff\"}", "text {\"\\\\x00ff\"}")]),
    ("colour[]", &[("{red,NULL,grün}", "text {red,NULL,grün}")]),
    ("numbers", &[("{1,2}", "text {1,2}")]),
    (
        "spot",
        &[(
            "(1,\"a, \"\"b\"\"\",\"2024-02-29 12:00:00+05:30\",\"\\\\x00ff\")",
            "text (1,\"a, \"\"b\"\"\",\"2024-02-29 06:30:00+00\",\"\\\\x00ff\")",
        )],
    ),
    (
        "int4range",
        &[
            ("[1,5)", "text [1,5)"),
            ("empty", "text empty"),
            ("(,3]", "text (,4)"),
        ],
    ),
    ("numrange", &[("[1.10,2)", "text [1.10,2)")]),
    (
        "tstzrange",
        &[(
            "[2024-02-29 12:00:00+05:30,)",
            "text [\"2024-02-29 06:30:00+00\",)",
        )],
    ),
    (
        "floats",
        &[(
            "[0.1,0.30000000000000004]",
            "text [0.1,0.30000000000000004]",
        )],
    ),
    (
        "int4multirange",
        &[("{[1,2),[5,7)}", "text {[1,2),[5,7)}"), ("{}", "text {}")],
    ),
];

pub fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// The table `matrix` as SQL: a column of each type, and a row for each of its values in turn.
pub fn matrix() -> (String, Vec<String>) {
    let columns = MATRIX.iter().enumerate();
    let columns: Vec<String> = columns
        .map(|(n, (kind, _))| format!("c{n} {kind}"))
        .collect();
    let create = format!(
        "{MADE}; CREATE TABLE matrix (id int PRIMARY KEY, {}); ALTER TABLE matrix REPLICA IDENTITY FULL",
        columns.join(", ")
    );
    let most = MATRIX.iter().map(|(_, values)| values.len()).max().unwrap();
    // One more: nulls only.
    let rows = (0..=most).map(|n| {
        let cells = MATRIX.iter().map(|(kind, values)| match values.get(n) {
            Some((value, _)) => format!("{}::{kind}", literal(value)),
            None => "NULL".to_owned(),
        });
        format!(
            "INSERT INTO matrix VALUES ({n}, {})",
            cells.collect::<Vec<_>>().join(", ")
        )
    });
    (create, rows.collect())
}

/// What row `n` must be.
pub fn expected(n: usize) -> Vec<String> {
    let cells = MATRIX.iter().map(|(_, values)| match values.get(n) {
        Some((_, shown)) => (*shown).to_owned(),
        None => "null".to_owned(),
    });
    [format!("int {n}")].into_iter().chain(cells).collect()
}
