//! The type matrix: a column of every type, and rows with their ordinary and their odd values.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "tests; each test program uses its part"
)]

/// The table `every`.
pub const EVERY_TYPE: &str = "CREATE EXTENSION citext;
         CREATE TYPE colour AS ENUM ('red', 'green');
         CREATE DOMAIN money2 AS numeric(14, 2);
         CREATE DOMAIN price AS money2 CHECK (VALUE >= 0);
         CREATE DOMAIN code AS text;
         CREATE TABLE every (
            id int PRIMARY KEY, n numeric, n2 numeric(38, 10), s smallint, b bigint, t text,
            v varchar(20), c char(8), ci citext, f4 real, f8 double precision, bo boolean,
            d date, tm time, ts timestamp, tz timestamptz, u uuid, j json, jb jsonb, by bytea,
            e colour, p price, k code, iv interval, ar int[], ta text[], ip inet, mo money,
            bi bit(5), ra int4range, cash numeric(5) NULL, x xml, o oid, ttz timetz, nm name,
            g int GENERATED ALWAYS AS (id * 2) STORED)";

/// Its rows: ordinary values, odd ones, and those no type of ours holds.
pub const EVERY_VALUE: &str = "INSERT INTO every VALUES
             (1, 12345678901234567890.123456789, 1234567890123456789012345678.0123456789, -32768,
              9223372036854775807, E'tab\\there ''quoted'' \\\\ é 漢', 'v', 'pad', 'CiText', 0.1,
              0.1, true, '2024-02-29', '23:59:59.999999', '2024-02-29 12:00:00.5',
              '2024-02-29 12:00:00.123456+05:30', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
              '{\"b\" : 1,  \"a\":[1.10]}', '{\"b\" : 1.10,  \"a\":2}', '\\x00ff10', 'green', 12.50,
              'K', '1 year 2 days 03:04:05.6', '{1,NULL,3}', '{\"a b\",NULL,\"c\\\"\"}',
              '10.1.2.3', 12.34, B'10110', '[1,5)', 99999, '<a>1</a>', 4000000000,
              '12:00:00+02', 'nam'),
             (2, 'NaN', NULL, NULL, NULL, '', NULL, '', NULL, 'NaN', '-Infinity', false, 'infinity',
              '24:00:00', '-infinity', 'infinity', NULL, 'null', 'null', '', 'red', 0, NULL, NULL,
              '{}', NULL, '::1/64', NULL, NULL, 'empty', NULL, NULL, NULL, NULL, NULL),
             (3, 1e50, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1e-7, 1.7976931348623157e308,
              NULL, '0044-03-15 BC', NULL, '294276-12-31 23:59:59', '0044-03-15 00:00:00 BC', NULL,
              NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
              NULL, NULL, NULL, NULL)";
