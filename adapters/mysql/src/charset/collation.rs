//! Which character set the number of a collation belongs to.
//!
//! The numbers are those of `information_schema.COLLATIONS` of MariaDB 10.11, of MariaDB's
//! `uca1400` collations (256 numbers for each Unicode set), and of MySQL 8 and 9, whose own ones no
//! server of the other kind uses
//! (<https://dev.mysql.com/doc/refman/8.4/en/show-collation.html>).

/// The character set, by the name that both servers give it today.
pub(crate) fn charset_of(collation: u16) -> Option<&'static str> {
    // From 1024 on, without padding: the number of the same collation with padding plus 1024, or of
    // the binary one.
    Some(match collation {
        1 | 84 | 1025 | 1108 => "big5",
        3 | 69 | 1027 | 1093 => "dec8",
        4 | 80 | 1028 | 1104 => "cp850",
        6 | 72 | 1030 | 1096 => "hp8",
        7 | 74 | 1031 | 1098 => "koi8r",
        5 | 8 | 15 | 31 | 47..=49 | 94 | 1032 | 1071 => "latin1",
        2 | 9 | 21 | 27 | 77 | 1033 | 1101 => "latin2",
        10 | 82 | 1034 | 1106 => "swe7",
        11 | 65 | 1035 | 1089 => "ascii",
        12 | 91 | 1036 | 1115 => "ujis",
        13 | 88 | 1037 | 1112 => "sjis",
        16 | 71 | 1040 | 1095 => "hebrew",
        18 | 89 | 1042 | 1113 => "tis620",
        19 | 85 | 1043 | 1109 => "euckr",
        22 | 75 | 1046 | 1099 => "koi8u",
        24 | 86 | 1048 | 1110 => "gb2312",
        25 | 70 | 1049 | 1094 => "greek",
        26 | 34 | 44 | 66 | 99 | 1050 | 1090 => "cp1250",
        28 | 87 | 1052 | 1111 => "gbk",
        30 | 78 | 1054 | 1102 => "latin5",
        32 | 64 | 1056 | 1088 => "armscii8",
        33 | 76 | 83 | 192..=215 | 223 | 576..=578 | 1057 | 1107 | 1216 | 1238 | 2048..=2303 => {
            "utf8mb3"
        }
        35 | 90 | 128..=151 | 159 | 640..=642 | 1059 | 1114 | 1152 | 1174 | 2560..=2815 => "ucs2",
        36 | 68 | 1060 | 1092 => "cp866",
        37 | 73 | 1061 | 1097 => "keybcs2",
        38 | 43 | 1062 | 1067 => "macce",
        39 | 53 | 1063 | 1077 => "macroman",
        40 | 81 | 1064 | 1105 => "cp852",
        20 | 41 | 42 | 79 | 1065 | 1103 => "latin7",
        45 | 46 | 224..=247 | 255..=323 | 608..=610 | 1069 | 1070 | 1248 | 1270 | 2304..=2559 => {
            "utf8mb4"
        }
        14 | 23 | 50..=52 | 1074 | 1075 => "cp1251",
        54 | 55 | 101..=124 | 672..=674 | 1078 | 1079 | 1125 | 1147 | 2816..=3071 => "utf16",
        56 | 62 | 1080 | 1086 => "utf16le",
        57 | 67 | 1081 | 1091 => "cp1256",
        29 | 58 | 59 | 1082 | 1083 => "cp1257",
        60 | 61 | 160..=183 | 736..=738 | 1084 | 1085 | 1184 | 1206 | 3072..=3327 => "utf32",
        63 => "binary",
        92 | 93 | 1116 | 1117 => "geostd8",
        95 | 96 | 1119 | 1120 => "cp932",
        97 | 98 | 1121 | 1122 => "eucjpms",
        248..=250 => "gb18030",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS` of MariaDB 10.11.19.
    #[test]
    fn every_collation_of_the_server_is_known() {
        let all = include_str!("../../tests/golden/mariadb-collations.tsv");
        let mut count = 0;
        for line in all.lines() {
            let (number, name) = line.split_once('\t').unwrap();
            assert_eq!(charset_of(number.parse().unwrap()), Some(name), "{line}");
            count += 1;
        }
        assert!(count > 1000, "{count}");
    }
}
