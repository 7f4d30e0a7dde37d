//! Texts and bytes.

use super::Fixed;

/// Texts by their column's character set: what it has, and what becomes of bytes.
pub const TEXTS: &[Fixed] = &[
    (
        "char(8)",
        &[
            ("'pad  '", "text pad"),
            ("''", "text "),
            ("'é漢𝄞'", "text é漢𝄞"),
        ],
    ),
    (
        "char(255)",
        &[("'é'", "text é"), ("REPEAT('x', 3)", "text xxx")],
    ),
    (
        "char(8) CHARACTER SET latin1",
        &[("'ä €'", "text ä €"), ("x'80'", "text €")],
    ),
    (
        "char(5) CHARACTER SET cp1250",
        &[("'ž  '", "text ž"), ("x'80'", "text €")],
    ),
    (
        "char(3) CHARACTER SET ucs2",
        &[("'é '", "text é"), ("'漢'", "text 漢")],
    ),
    (
        "varchar(20) CHARACTER SET latin1",
        &[
            ("'café €'", "text café €"),
            ("x'80818d8f909d'", "text €\u{81}\u{8d}\u{8f}\u{90}\u{9d}"),
            ("'é '", "text é "),
        ],
    ),
    (
        "varchar(20) CHARACTER SET latin2",
        &[("'łódź'", "text łódź"), ("x'80'", "text \u{80}")],
    ),
    (
        "varchar(20) CHARACTER SET cp1250",
        &[("'žluť €'", "text žluť €"), ("x'8a'", "text Š")],
    ),
    (
        "varchar(20) CHARACTER SET cp1251",
        &[("'Жук'", "text Жук"), ("x'88'", "text €")],
    ),
    (
        "varchar(20) CHARACTER SET cp850",
        &[("'naïve ░'", "text naïve ░"), ("x'81'", "text ü")],
    ),
    (
        "varchar(20) CHARACTER SET cp852",
        &[("'čaj'", "text čaj"), ("x'80'", "text Ç")],
    ),
    (
        "varchar(20) CHARACTER SET koi8r",
        &[("'Ж'", "text Ж"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET greek",
        &[("'Ωμ'", "text Ωμ"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET gbk",
        &[("'漢字 a'", "text 漢字 a"), ("x'8140'", "text 丂")],
    ),
    (
        "varchar(20) CHARACTER SET gb2312",
        &[("'汉字'", "text 汉字"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET big5",
        &[("'漢字'", "text 漢字"), ("x'a440'", "text 一")],
    ),
    (
        "varchar(20) CHARACTER SET euckr",
        &[("'한글'", "text 한글"), ("'a'", "text a")],
    ),
    // 0x5c as the second byte, and the one of half-width letters.
    (
        "varchar(20) CHARACTER SET sjis",
        &[("'漢字ｱ表'", "text 漢字ｱ表"), ("x'955c'", "text 表")],
    ),
    (
        "varchar(20) CHARACTER SET cp932",
        &[("'漢①～'", "text 漢①～"), ("x'8740'", "text ①")],
    ),
    (
        "varchar(20) CHARACTER SET ujis",
        &[("'漢字'", "text 漢字"), ("x'8eb1'", "text ｱ")],
    ),
    (
        "varchar(20) CHARACTER SET eucjpms",
        &[("'漢①'", "text 漢①"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET ascii",
        &[("'a'", "text a"), ("''", "text ")],
    ),
    (
        "varchar(20) CHARACTER SET utf8mb3",
        &[("'é漢'", "text é漢"), ("''", "text ")],
    ),
    (
        "varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_ai_ci",
        &[
            ("'it''s \\\\ 𝄞'", "text it's \\ 𝄞"),
            ("' x '", "text  x "),
            ("'a\\0b\\n'", "text a\0b\n"),
        ],
    ),
    (
        "varchar(20) CHARACTER SET ucs2",
        &[("'é漢'", "text é漢"), ("''", "text ")],
    ),
    (
        "varchar(20) CHARACTER SET utf16",
        &[("'é漢𝄞'", "text é漢𝄞"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET utf16le",
        &[("'é漢𝄞'", "text é漢𝄞"), ("'a'", "text a")],
    ),
    (
        "varchar(20) CHARACTER SET utf32",
        &[("'é漢𝄞'", "text é漢𝄞"), ("'a'", "text a")],
    ),
    // A length of two bytes from 256 bytes on.
    (
        "varchar(63) CHARACTER SET utf8mb4",
        &[("'é'", "text é"), ("'漢'", "text 漢")],
    ),
    (
        "varchar(64) CHARACTER SET utf8mb4",
        &[("'é'", "text é"), ("'漢'", "text 漢")],
    ),
    (
        "varchar(300) COMPRESSED",
        &[("'é'", "text é"), ("''", "text ")],
    ),
    (
        "tinytext CHARACTER SET cp1250",
        &[("'ž'", "text ž"), ("''", "text ")],
    ),
    (
        "text CHARACTER SET latin1",
        &[("'é€'", "text é€"), ("''", "text ")],
    ),
    (
        "mediumtext CHARACTER SET sjis",
        &[("'漢字'", "text 漢字"), ("''", "text ")],
    ),
    ("longtext", &[("'𝄞'", "text 𝄞"), ("''", "text ")]),
    ("text COMPRESSED", &[("'é'", "text é"), ("''", "text ")]),
    (
        "json",
        &[
            (
                "'{\"a\": [1, null, \"é\"]}'",
                "text {\"a\": [1, null, \"é\"]}",
            ),
            ("'1'", "text 1"),
        ],
    ),
    (
        "varchar(9) INVISIBLE",
        &[("'hidden'", "text hidden"), ("''", "text ")],
    ),
];

pub const BYTES: &[Fixed] = &[
    (
        "binary(6)",
        &[
            ("'ab'", "bytes 616200000000"),
            ("x'000000000000'", "bytes 000000000000"),
            ("x'ff0000000020'", "bytes ff0000000020"),
        ],
    ),
    ("binary(1)", &[("x'00'", "bytes 00"), ("x'ff'", "bytes ff")]),
    (
        "varbinary(20)",
        &[
            ("x'6100'", "bytes 6100"),
            ("x''", "bytes "),
            ("x'00ff10'", "bytes 00ff10"),
        ],
    ),
    (
        "varbinary(300)",
        &[("x'00'", "bytes 00"), ("x'20'", "bytes 20")],
    ),
    ("tinyblob", &[("x'00'", "bytes 00"), ("x''", "bytes ")]),
    ("blob", &[("x'ff00'", "bytes ff00"), ("x''", "bytes ")]),
    (
        "mediumblob",
        &[("x'ff00'", "bytes ff00"), ("x''", "bytes ")],
    ),
    ("longblob", &[("x'ff00'", "bytes ff00"), ("x''", "bytes ")]),
    (
        "blob COMPRESSED",
        &[("x'ff00'", "bytes ff00"), ("x''", "bytes ")],
    ),
    (
        "uuid",
        &[
            (
                "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
                "uuid a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            ),
            (
                "'00000000-0000-0000-0000-000000000000'",
                "uuid 00000000-0000-0000-0000-000000000000",
            ),
            (
                "'ffffffff-ffff-ffff-ffff-ffffffffff00'",
                "uuid ffffffff-ffff-ffff-ffff-ffffffffff00",
            ),
        ],
    ),
    (
        "inet4",
        &[
            ("'0.0.0.0'", "text 0.0.0.0"),
            ("'10.1.0.0'", "text 10.1.0.0"),
            ("'255.255.255.255'", "text 255.255.255.255"),
        ],
    ),
    (
        "inet6",
        &[
            ("'::'", "text ::"),
            ("'2001:db8::'", "text 2001:db8::"),
            ("'::ffff:1.2.3.4'", "text ::ffff:1.2.3.4"),
            ("'fe80::1:0'", "text fe80::1:0"),
        ],
    ),
    (
        "point",
        &[
            (
                "ST_PointFromText('POINT(1 -2.5)', 4326)",
                "bytes e61000000101000000000000000000f03f00000000000004c0",
            ),
            (
                "ST_PointFromText('POINT(0 0)')",
                "bytes 00000000010100000000000000000000000000000000000000",
            ),
        ],
    ),
    (
        "geometry",
        &[(
            "ST_GeomFromText('LINESTRING(0 0, 1 1)')",
            "bytes 000000000102000000020000000000000000000000000000000000000000000000\
             0000f03f000000000000f03f",
        )],
    ),
];
