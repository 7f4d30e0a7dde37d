//! Code pages: texts that a database holds as bytes, or that were read by the wrong page.

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};
use oem_cp::code_table::DECODING_TABLE_CP_MAP;

/// A code page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// By its name in the Encoding Standard.
    Named(&'static Encoding),
    /// A page of DOS, by its number.
    Dos(u16),
}

impl Page {
    /// `utf-8`, `windows-1252`, `iso-8859-2`, `cp850`, ..; `None` for a name nobody knows.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let lower = name.trim().to_ascii_lowercase();
        let number = ["cp", "ibm"]
            .iter()
            .find_map(|start| lower.strip_prefix(start));
        let number: Option<u16> = number.and_then(|number| number.parse().ok());
        if let Some(number) = number.filter(|number| DECODING_TABLE_CP_MAP.contains_key(number)) {
            return Some(Self::Dos(number));
        }
        let named = Encoding::for_label_no_replacement(lower.as_bytes())?;
        Some(Self::Named(named))
    }

    /// The text that bytes are; `None` where one of them is nothing in this page.
    pub(crate) fn text(self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Named(encoding) => {
                let text = encoding.decode_without_bom_handling_and_without_replacement(bytes)?;
                Some(text.into_owned())
            }
            Self::Dos(number) => DECODING_TABLE_CP_MAP
                .get(&number)?
                .decode_string_checked(bytes),
        }
    }

    /// The text that was meant where its bytes were read as Windows-1252; `None` where they
    /// cannot have been.
    pub(crate) fn mended(self, text: &str) -> Option<String> {
        let (bytes, _, lost) = WINDOWS_1252.encode(text);
        let wide = [UTF_16LE, UTF_16BE]
            .into_iter()
            .any(|wide| self == Self::Named(wide));
        if lost || wide {
            return None;
        }
        self.text(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pages_are_known_by_their_common_names() {
        for (name, bytes, text) in [
            ("utf-8", &b"Stra\xC3\x9Fe"[..], Some("Straße")),
            ("utf-8", b"Stra\xDFe", None),
            ("windows-1252", b"Stra\xDFe 5 \x80", Some("Straße 5 €")),
            ("Latin1", b"Stra\xDFe", Some("Straße")),
            ("iso-8859-2", b"\xA3\xF3d\xBC", Some("Łódź")),
            ("cp850", b"Stra\xE1e", Some("Straße")),
            ("CP437", b"\x9B", Some("¢")),
            ("ibm857", b"\xD5", None),
            ("shift_jis", b"\x83e\x83X\x83g", Some("テスト")),
        ] {
            let page = Page::named(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(page.text(bytes).as_deref(), text, "{name}");
        }
        for unknown in ["", "cp9999", "klingon", "utf-7"] {
            assert_eq!(Page::named(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_was_read_by_the_wrong_page_is_mended_or_refused() {
        let page = Page::named("utf-8").unwrap();
        assert_eq!(page.mended("StraÃŸe").as_deref(), Some("Straße"));
        assert_eq!(page.mended("plain").as_deref(), Some("plain"));
        // Right already: mending it again would be a guess.
        assert_eq!(page.mended("Straße"), None);
        assert_eq!(page.mended("漢"), None);
    }

    proptest! {
        #[test]
        fn any_text_that_was_misread_comes_back(text in "\\PC{0,20}") {
            let (misread, _) = WINDOWS_1252.decode_without_bom_handling(text.as_bytes());
            let page = Page::named("utf-8").unwrap();
            prop_assert_eq!(page.mended(&misread), Some(text));
        }
    }
}
