//! A column of every type, and rows with what is odd about each.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::format_push_string,
    reason = "tests; each test program uses its part"
)]

/// Makes the tables.
pub const EVERY_TYPE: &str = "
SET NAMES utf8mb4; SET time_zone = '+05:30';
SET sql_mode = 'ALLOW_INVALID_DATES';
CREATE TABLE numbers (
    id int PRIMARY KEY, t tinyint, tu tinyint unsigned, s smallint, su smallint unsigned zerofill,
    m mediumint, mu mediumint unsigned, i int, iu int unsigned, b bigint, bu bigint unsigned, bo bool,
    y year, b1 bit(1), b10 bit(10), b64 bit(64), d decimal(10,2), dz decimal(12,4) unsigned zerofill,
    d38 decimal(38,38), d65 decimal(65,30), d650 decimal(65,0), f float, fz float unsigned zerofill,
    f2 float(7,4), db double, db2 double(20,3), e enum('a','it''s','x,y','Ä €',''),
    st set('p','q','é') CHARACTER SET latin1) ENGINE = InnoDB;
CREATE TABLE moments (
    id int PRIMARY KEY, d date, t time, t2 time(2), t6 time(6), dt datetime, dt3 datetime(3),
    dt6 datetime(6), ts timestamp NULL, ts1 timestamp(1) NULL, ts6 timestamp(6) NULL) ENGINE = InnoDB;
CREATE TABLE texts (
    id int PRIMARY KEY, c char(8), cl char(8) CHARACTER SET latin1, v varchar(20),
    l1 varchar(20) CHARACTER SET latin1, l2 varchar(20) CHARACTER SET latin2,
    cp varchar(20) CHARACTER SET cp1250, u3 varchar(20) CHARACTER SET utf8mb3,
    c8 varchar(20) CHARACTER SET cp850, uc varchar(20) CHARACTER SET ucs2,
    u16 varchar(20) CHARACTER SET utf16, u32 varchar(20) CHARACTER SET utf32,
    g varchar(20) CHARACTER SET gbk, sj varchar(20) CHARACTER SET sjis,
    a varchar(20) CHARACTER SET ascii, tt tinytext, tx text CHARACTER SET latin1, lt longtext,
    bi binary(6), vb varbinary(20), bl blob, lb longblob, j json, vc varchar(300) COMPRESSED,
    uu uuid, i4 inet4, i6 inet6, p point, inv varchar(9) INVISIBLE,
    vg varchar(40) AS (CONCAT(v, '!')) VIRTUAL, sg varchar(40) AS (CONCAT(v, '?')) STORED
    ) ENGINE = InnoDB;
";

/// Fills them; dates that are none, labels that are none and texts of invalid bytes too.
pub const EVERY_VALUE: &str = r#"
SET NAMES utf8mb4; SET time_zone = '+05:30';
SET sql_mode = 'ALLOW_INVALID_DATES';
INSERT INTO numbers VALUES
 (1, -128, 255, -32768, 7, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808,
  18446744073709551615, true, 0, b'1', b'1111111111', 18446744073709551615, -99999999.99, 12.5,
  0.99999999999999999999999999999999999999, -12345678901234567890123456789012345.000000000000000000000000000001,
  99999999999999999999999999999999999999999999999999999999999999999, 0.1, 1234567.8, 12.3456, 0.1,
  -12345678901234567.891, 'it''s', 'p,é'),
 (2, 127, 0, 32767, 65535, -1, 0, 2147483647, 0, 9223372036854775807, 0, false, 2155, b'0', b'0', 0,
  0, 0, 0, 0.5, -1, -3.4e38, 0, -0.0001, 1.7976931348623157e308, 0, 'Ä €', 'p,q,é'),
 (3, 0, 1, 0, 1, 8388607, 1, 0, 1, 0, 9223372036854775808, 2, 1901, NULL, b'1', 1, 1.10, 00012.3400,
  -0.5, 1e30, 5, 1.17549435e-38, 3e-5, 999.9999, 5e-324, 1.0005, 'none', ''),
 (4, 1, 1, 1, 1, -5, 1, 1, 1, 1, 1, 1, 2026, b'1', b'101', 5, 0.01, 1, 0.1, 1, 1, 16777217, 1, 1, -0.0,
  1, '', 'q');
INSERT INTO numbers (id) VALUES (5);
INSERT INTO moments VALUES
 (1, '2026-11-26', '12:34:56', '12:34:56.78', '12:34:56.789012', '2026-11-26 12:34:56',
  '2026-11-26 12:34:56.789', '2026-11-26 12:34:56.789012', '2026-11-26 12:34:56',
  '2026-11-26 12:34:56.7', '2026-11-26 12:34:56.789012'),
 (2, '0000-00-00', '-838:59:59', '838:59:58.99', '-00:00:00.000001', '0000-00-00 00:00:00',
  '0000-00-00 00:00:00.000', '0000-00-00', '0000-00-00', '0000-00-00', '0000-00-00'),
 (3, '2026-00-00', '24:00:00', '00:00:00', '838:59:59.000000', '2026-02-00 01:02:03',
  '2026-02-31 23:59:59.999', '9999-12-31 23:59:59.999999', '1970-01-01 05:30:01',
  '2038-01-19 08:44:07.9', '1970-01-01 05:30:01.000001'),
 (4, '2026-02-31', '00:00:00', '-00:00:00.01', '23:59:59.999999', '1000-01-01', '0001-01-01',
  '0000-01-01 00:00:00', '2026-03-29 02:30:00', '2026-10-25 02:30:00', '2026-10-25 03:30:00');
INSERT INTO moments (id) VALUES (5);
INSERT INTO texts (id, c, cl, v, l1, l2, cp, u3, c8, uc, u16, u32, g, sj, a, tt, tx, lt, bi, vb, bl, lb, j,
  vc, uu, i4, i6, p, inv) VALUES
 (1, 'pad  ', 'ä €', 'it''s \\ 𝄞', 'café €', 'łódź', 'žluť', 'é漢', 'naïve', 'é漢', 'é漢𝄞', '𝄞', 'abc', 'abc',
  'plain', 't', REPEAT('é', 300), REPEAT('漢', 20000), 'ab', x'00ff10', x'00', REPEAT(x'ff', 70000),
  '{"a": 1, "b": [true, null, "é"]}', REPEAT('compress ', 20), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  '10.1.0.0', '2001:db8::', ST_PointFromText('POINT(1 -2.5)', 4326), 'hidden'),
 (2, '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '""', '',
  '00000000-0000-0000-0000-000000000000', '0.0.0.0', '::', NULL, ''),
 (3, 'a\0b', x'8081', ' x ', x'818d8f909d', x'80', x'81', 'a', x'ff', 'a', 'a', 'a', 'a', 'a', 'a', 'a', x'80',
  'a', x'000000000000', x'6100', x'', x'', '1', 'x', 'ffffffff-ffff-ffff-ffff-ffffffffff00',
  '255.255.255.255', '::ffff:1.2.3.4', ST_PointFromText('POINT(0 0)'), 'x');
INSERT INTO texts (id) VALUES (4);
"#;

/// The tables.
pub const EVERY: &[&str] = &["numbers", "moments", "texts"];
