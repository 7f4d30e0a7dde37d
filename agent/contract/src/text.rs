//! A file's bytes as text, or where and why they are none: people save files as many things.

/// Why bytes are no text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotText {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What was found.
    pub found: String,
}

/// What to do about a file that is no text.
pub const SAVE_AS: &str = "save it as UTF-8 (in Notepad: Save as, Encoding UTF-8)";

/// The text of a UTF-8 file, without the mark that some editors put before it.
///
/// # Errors
/// Where it is something else, and what it looks like.
pub fn decode(bytes: &[u8]) -> Result<String, NotText> {
    let found = |at: usize, found: String| {
        let before = bytes.get(..at).unwrap_or_default();
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let in_line = String::from_utf8_lossy(before.get(start..).unwrap_or_default());
        NotText {
            line: before.split(|byte| *byte == b'\n').count(),
            column: 1 + in_line.chars().filter(|c| *c != '\u{feff}').count(),
            found,
        }
    };
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) || is_utf_16(bytes) {
        return Err(found(0, "the file is UTF-16, expected UTF-8".to_owned()));
    }
    if let Some(at) = bytes.iter().position(|byte| *byte == 0) {
        return Err(found(
            at,
            "the file holds a NUL byte, as no text does".to_owned(),
        ));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.strip_prefix('\u{feff}').unwrap_or(text).to_owned()),
        Err(error) => {
            let at = error.valid_up_to();
            let byte = bytes.get(at).copied().unwrap_or_default();
            let text = format!(
                "the byte {byte:02x} is no UTF-8: the file may be of an older encoding, such as Windows-1252"
            );
            Err(found(at, text))
        }
    }
}

/// Western text in UTF-16 has a NUL byte in each sign.
fn is_utf_16(bytes: &[u8]) -> bool {
    let start = bytes.get(..bytes.len().min(64)).unwrap_or_default();
    let nulls = start.split(|byte| *byte == 0).count() - 1;
    start.len() >= 4 && nulls * 5 >= start.len() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_utf_8_is_said_with_its_place() {
        assert_eq!(decode("\u{feff}a = 1".as_bytes()), Ok("a = 1".to_owned()));
        assert_eq!(decode(b""), Ok(String::new()));
        for (bytes, line, column, wanted) in [
            (&b"a = 1\nb = M\xfcller"[..], 2, 6, "the byte fc"),
            (b"\xff\xfea\0", 1, 1, "UTF-16"),
            (b"a\0 \0=\0 \x001\0", 1, 1, "UTF-16"),
            (b"a = 1 and more\nb = \"a\0b\"", 2, 7, "NUL"),
            ("\u{feff}\u{e4} = \u{0}".as_bytes(), 1, 5, "NUL"),
        ] {
            let not = decode(bytes).unwrap_err();
            assert_eq!((not.line, not.column), (line, column), "{not:?}");
            assert!(not.found.contains(wanted), "{not:?}");
        }
    }
}
