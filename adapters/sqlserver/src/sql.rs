//! Names and texts in SQL.

use contract::TableName;

/// A name in SQL.
pub(crate) fn name(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

/// A table in SQL.
pub(crate) fn table(table: &TableName) -> String {
    format!("{}.{}", name(&table.schema), name(&table.name))
}

/// A text in SQL, of any characters.
pub(crate) fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}

/// A name that may stand without quotes, such as that of a collation: those are never quoted, so that one
/// with other characters is taken for none.
pub(crate) fn plain_name(name: &str) -> Option<&str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (!name.is_empty() && name.len() <= 128 && name.bytes().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quoting_holds() {
        assert_eq!(name("a]b"), "[a]]b]");
        assert_eq!(name("a[.'b"), "[a[.'b]");
        assert_eq!(literal("it's"), "N'it''s'");
        assert_eq!(
            table(&TableName::new("d]bo", "o.rders")),
            "[d]]bo].[o.rders]"
        );
        assert_eq!(
            plain_name("SQL_Latin1_General_CP1_CI_AS"),
            Some("SQL_Latin1_General_CP1_CI_AS")
        );
        for wrong in ["", "a b", "a;b", "a]", "ä"] {
            assert_eq!(plain_name(wrong), None, "{wrong}");
        }
    }

    /// Reads a quoted name or text back: what follows its end is outside.
    fn end(text: &str, close: char) -> Option<(String, &str)> {
        let mut inside = String::new();
        let mut rest = text.char_indices();
        while let Some((at, c)) = rest.next() {
            if c != close {
                inside.push(c);
            } else if text[at + 1..].starts_with(close) {
                inside.push(close);
                rest.next();
            } else {
                return Some((inside, &text[at + 1..]));
            }
        }
        None
    }

    proptest! {
        #[test]
        fn nothing_escapes_its_quotes(text: String) {
            let (name, literal) = (name(&text), literal(&text));
            prop_assert_eq!(end(&name[1..], ']'), Some((text.clone(), "")));
            prop_assert_eq!(end(&literal[2..], '\''), Some((text, "")));
        }
    }
}
