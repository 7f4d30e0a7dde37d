//! What a declared type says of a column's values.

use std::sync::Arc;

use crate::column::Kind;

/// The kind of a column by its `DATA_TYPE`, its `COLUMN_TYPE` and the number of its collation;
/// `None` = a type we do not know.
pub(crate) fn kind(data_type: &str, declared: &str, collation: Option<u16>) -> Option<Kind> {
    let width = || -> Option<usize> {
        let (_, rest) = declared.split_once('(')?;
        rest.split([')', ',']).next()?.trim().parse().ok()
    };
    let text = || collation.map(|collation| Kind::Text { collation });
    let labels = || labels(declared.split_once('(')?.1);
    Some(match data_type.to_ascii_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => Kind::Int {
            unsigned: declared.contains(" unsigned"),
        },
        "year" => Kind::Year,
        "bit" => Kind::Bit(u8::try_from(width().unwrap_or(1)).ok()?),
        "decimal" => Kind::Decimal,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "datetime" => Kind::DateTime,
        "timestamp" => Kind::Timestamp,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => text()?,
        "binary" => Kind::Bytes {
            fixed: Some(width().unwrap_or(1)),
        },
        "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            Kind::Bytes { fixed: None }
        }
        "enum" => Kind::Enum(labels()?),
        "set" => Kind::Set(labels()?),
        "json" => Kind::Json,
        "uuid" => Kind::Uuid,
        "inet4" => Kind::Inet4,
        "inet6" => Kind::Inet6,
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => Kind::Geometry,
        _ => return None,
    })
}

/// The labels of an `enum` or `set` as `COLUMN_TYPE` lists them, behind the opening bracket. The
/// server doubles quotes and writes backslash, line ends and zero bytes as escapes (tried at MariaDB
/// 10.11); everything else stands as it is, brackets and commas too.
fn labels(list: &str) -> Option<Arc<[String]>> {
    let mut labels = Vec::new();
    let mut rest = list.chars().peekable();
    loop {
        if rest.next()? != '\'' {
            return None;
        }
        let mut label = String::new();
        loop {
            match rest.next()? {
                '\'' if rest.peek() == Some(&'\'') => {
                    rest.next();
                    label.push('\'');
                }
                '\'' => break,
                '\\' => label.push(match rest.next()? {
                    'n' => '\n',
                    'r' => '\r',
                    '0' => '\0',
                    'Z' => '\u{1a}',
                    other => other,
                }),
                other => label.push(other),
            }
        }
        labels.push(label);
        match rest.next()? {
            ',' => {}
            ')' => return Some(labels.into()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_with_their_quoting() {
        let read = |list: &str| labels(list).map(|labels| labels.to_vec());
        let some = |labels: &[&str]| Some(labels.iter().map(|l| (*l).to_owned()).collect());
        assert_eq!(read("'a','b')"), some(&["a", "b"]));
        assert_eq!(
            read(r"'a\\b','c\nd','it''s','x,y)','')"),
            some(&["a\\b", "c\nd", "it's", "x,y)", ""])
        );
        for broken in ["", "'a", "'a'", "a)", "'a'b)", "'a',)", "'a\\"] {
            assert_eq!(read(broken), None, "{broken}");
        }
    }

    #[test]
    fn declared_types_say_what_comes() {
        for (data_type, declared, expected) in [
            (
                "int",
                "int(10) unsigned zerofill",
                Kind::Int { unsigned: true },
            ),
            (
                "bigint",
                "bigint(20) unsigned",
                Kind::Int { unsigned: true },
            ),
            ("int", "int unsigned", Kind::Int { unsigned: true }),
            ("mediumint", "mediumint(9)", Kind::Int { unsigned: false }),
            ("bit", "bit(5)", Kind::Bit(5)),
            ("binary", "binary(5)", Kind::Bytes { fixed: Some(5) }),
            ("varbinary", "varbinary(5)", Kind::Bytes { fixed: None }),
            ("decimal", "decimal(19,5) unsigned", Kind::Decimal),
            ("char", "char(3)", Kind::Text { collation: 8 }),
        ] {
            assert_eq!(
                kind(data_type, declared, Some(8)),
                Some(expected),
                "{declared}"
            );
        }
        assert_eq!(kind("xmltype", "xmltype", None), None);
    }
}
