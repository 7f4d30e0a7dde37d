//! Keys of every type and collation, and how row `i` of 60 gets its key.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::format_push_string,
    reason = "tests; each test program uses its part"
)]

/// Words whose order depends on the collation.
const WORD: &str =
    "CONCAT(ELT(i % 10 + 1, 'a', 'B', 'Z', 'é', '_', ' x', 'ß', '''\\\\', 'zz', 'ä'), i)";
/// The same but for blanks at the end, which only some collations tell apart.
const PADDED: &str = "CONCAT('w', i DIV 2, REPEAT(' ', i % 2))";

/// The column, and its value.
pub const KEYS: &[(&str, &str)] = &[
    ("tinyint", "i - 30"),
    ("smallint unsigned zerofill", "i * 1000"),
    ("mediumint", "(i - 30) * 279620"),
    ("int", "(i - 30) * 70000000"),
    ("bigint", "(i - 30) * 300000000000000000"),
    (
        "bigint unsigned",
        "18446744073709551615 - CAST(i AS UNSIGNED) * 300000000000000000",
    ),
    (
        "decimal(65,30)",
        "(i - 30) * 1234567890123456789012345.000000000000000000000000000001",
    ),
    ("decimal(10,2) unsigned zerofill", "i * 0.25"),
    ("float", "(i - 30) / 3"),
    ("double", "(i - 30) / 3"),
    ("float unsigned zerofill", "i / 3"),
    ("double(20,3)", "(i - 30) / 3"),
    ("bit(9)", "i"),
    ("bit(64)", "18446744073709551615 - i"),
    ("year", "IF(i = 1, 0, 1900 + i)"),
    (
        "date",
        "CASE i WHEN 1 THEN '0000-00-00' WHEN 2 THEN '2026-00-00' WHEN 3 THEN '2026-02-00'
         WHEN 4 THEN '2026-02-31' ELSE '2000-01-01' + INTERVAL i * 300 DAY END",
    ),
    (
        "datetime(6)",
        "CASE i WHEN 1 THEN '0000-00-00' WHEN 2 THEN '2026-11-00 01:02:03.000004'
         ELSE '2026-10-25 00:00:00' + INTERVAL i * 17000001 MICROSECOND END",
    ),
    ("datetime", "'2026-10-25' + INTERVAL i MINUTE"),
    (
        "timestamp(3)",
        "IF(i = 1, '0000-00-00', FROM_UNIXTIME(1774742400 + i * 600.001))",
    ),
    ("time(2)", "SEC_TO_TIME((i - 30) * 100000.25)"),
    ("time", "SEC_TO_TIME((i - 30) * 100000)"),
    ("binary(4)", "UNHEX(LPAD(HEX(i * 65536), 8, '0'))"),
    ("varbinary(20)", "IF(i = 1, '', UNHEX(MD5(i)))"),
    ("set('a','b','c','d','e','f')", "i"),
    (
        "uuid",
        "CONCAT(LPAD(HEX(i * 7), 8, '0'), '-0000-4000-8000-', LPAD(HEX(600 - i), 12, '0'))",
    ),
    ("inet6", "CONCAT('2001:db8::', HEX(i))"),
    ("inet4", "CONCAT('10.', 70 - i, '.0.1')"),
    ("char(9)", WORD),
    ("varchar(20) CHARACTER SET latin1", WORD),
    (
        "varchar(20) CHARACTER SET latin1 COLLATE latin1_german2_ci",
        WORD,
    ),
    (
        "varchar(20) CHARACTER SET latin1 COLLATE latin1_general_cs",
        WORD,
    ),
    (
        "varchar(20) CHARACTER SET latin1 COLLATE latin1_swedish_nopad_ci",
        PADDED,
    ),
    ("varchar(20) COLLATE utf8mb4_general_ci", WORD),
    ("varchar(20) COLLATE utf8mb4_unicode_520_ci", WORD),
    ("varchar(20) COLLATE utf8mb4_uca1400_ai_ci", WORD),
    ("varchar(20) COLLATE utf8mb4_uca1400_nopad_as_cs", PADDED),
    ("varchar(20) COLLATE utf8mb4_bin", WORD),
    ("varchar(20) COLLATE utf8mb4_nopad_bin", PADDED),
    ("varchar(20) COLLATE utf8mb4_german2_ci", WORD),
    ("varchar(20) CHARACTER SET utf8mb3", WORD),
    (
        "varchar(20) CHARACTER SET latin2 COLLATE latin2_czech_cs",
        WORD,
    ),
    (
        "varchar(20) CHARACTER SET cp1250 COLLATE cp1250_czech_cs",
        WORD,
    ),
    ("varchar(20) CHARACTER SET cp850", WORD),
    ("varchar(20) CHARACTER SET koi8r", WORD),
    ("varchar(20) CHARACTER SET tis620", WORD),
    ("varchar(20) CHARACTER SET ucs2", WORD),
    (
        "varchar(20) CHARACTER SET utf16 COLLATE utf16_unicode_ci",
        WORD,
    ),
    ("varchar(20) CHARACTER SET utf16le", WORD),
    ("varchar(20) CHARACTER SET utf32 COLLATE utf32_bin", WORD),
    ("varchar(20) CHARACTER SET gbk", "CONCAT(WORD, '漢')"),
    ("varchar(20) CHARACTER SET sjis", "CONCAT('漢字', i)"),
    ("varchar(20) CHARACTER SET ujis", "CONCAT('漢字', i)"),
    ("varchar(20) CHARACTER SET big5", "CONCAT('漢', i)"),
    ("varchar(20) CHARACTER SET euckr", "CONCAT('한', i)"),
];

/// SQL that makes the tables `k0`, `k1` .. with 60 rows each, and one with labels.
pub fn tables() -> (Vec<(String, String)>, String) {
    let labels: Vec<String> = (1..=60).map(|n| format!("'m{}'", 100 - n)).collect();
    let labels = format!("enum({})", labels.join(","));
    let keys = KEYS
        .iter()
        .map(|(column, key)| ((*column).to_owned(), key.replace("WORD", WORD)))
        .chain([(labels, "IF(i = 60, 0, i)".to_owned())]);
    let mut sql = "SET NAMES utf8mb4; SET sql_mode = 'ALLOW_INVALID_DATES';".to_owned();
    let mut names = Vec::new();
    for (n, (column, key)) in keys.enumerate() {
        sql.push_str(&format!(
            "CREATE TABLE k{n} (k {column} NOT NULL PRIMARY KEY, n int) ENGINE = InnoDB;
             INSERT INTO k{n} SELECT {key}, i FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_60) s;"
        ));
        names.push((format!("k{n}"), column));
    }
    // Several columns, one of them downwards.
    sql.push_str(
        "CREATE TABLE several (a varchar(9) CHARACTER SET latin1, b int, e enum('z','y','x'), n int,
           PRIMARY KEY (a, b DESC, e)) ENGINE = InnoDB;
         INSERT INTO several SELECT ELT(i % 3 + 1, 'a', 'B', 'ä'), i % 5, i % 4, i
           FROM (SELECT CAST(seq AS SIGNED) AS i FROM seq_1_to_60) s;",
    );
    names.push(("several".to_owned(), "several".to_owned()));
    (names, sql)
}
