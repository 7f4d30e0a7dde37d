//! The tables of character sets that are not built in: what is asked from the server, and what its
//! answers make. No input or output here.

use std::fmt::Write as _;

use contract::value::unhex;

/// Stands for a code that is no character.
const NONE: u32 = u32::MAX;

/// Which codes of a character set are asked for: the first and last value of each byte.
type Codes = &'static [(u8, u8)];

/// All one byte codes.
const ONE: Codes = &[(0x00, 0xff)];
/// The first byte of a longer code is above ASCII, the second no control character or digit.
const TWO: Codes = &[(0x81, 0xfe), (0x40, 0xfe)];
/// Of the Japanese sets on Unix systems.
const THREE: Codes = &[(0x8f, 0x8f), (0xa1, 0xfe), (0xa1, 0xfe)];
/// Of `gb18030`, as far as it has a table. Codes from 0x90308130 on are in the order of Unicode.
const FOUR: Codes = &[(0x81, 0x84), (0x30, 0x39), (0x81, 0xfe), (0x30, 0x39)];

fn asked(name: &str) -> &'static [Codes] {
    match name {
        "big5" | "gbk" | "gb2312" | "euckr" | "sjis" | "cp932" => &[ONE, TWO],
        "ujis" | "eucjpms" => &[ONE, TWO, THREE],
        "gb18030" => &[ONE, TWO, FOUR],
        _ => &[ONE],
    }
}

/// The statements that ask the server for a character set, by one of the names of
/// [`charset_of`](super::charset_of). Each row is a code and the UTF-8 of its character, both in
/// hexadecimal. They read no table, and give up to 50,000 short rows.
pub(crate) fn questions(name: &str) -> Vec<String> {
    const DIGITS: &str = "0123456789ABCDEF";
    let mut digits = String::new();
    for (at, digit) in DIGITS.chars().enumerate() {
        let union = if at == 0 {
            "SELECT"
        } else {
            " UNION ALL SELECT"
        };
        let named = if at == 0 { " AS d" } else { "" };
        let _ = write!(digits, "{union} '{digit}'{named}");
    }
    let question = |codes: &Codes| {
        let byte = |at: usize| format!("CONCAT(h{at}.d, l{at}.d)");
        let bytes: Vec<_> = (0..codes.len()).map(byte).collect();
        let code = format!("CONCAT({})", bytes.join(", "));
        let from: Vec<_> = (0..codes.len())
            .flat_map(|at| ["h", "l"].map(|half| format!("({digits}) AS {half}{at}")))
            .collect();
        let only: Vec<_> = codes
            .iter()
            .enumerate()
            .map(|(at, (first, last))| {
                format!("{} BETWEEN '{first:02X}' AND '{last:02X}'", byte(at))
            })
            .collect();
        format!(
            "SELECT {code}, HEX(CONVERT(CONVERT(UNHEX({code}) USING {name}) USING utf8mb4)) \
             FROM {} WHERE {}",
            from.join(" CROSS JOIN "),
            only.join(" AND ")
        )
    };
    asked(name).iter().map(question).collect()
}

/// The characters of a set.
#[derive(Debug)]
pub(crate) struct Tables {
    name: &'static str,
    one: Box<[u32]>,
    /// By first and second byte; empty where the set has no such codes.
    two: Box<[u32]>,
    /// Longer codes, in their order.
    longer: Box<[(u32, u32)]>,
}

impl Tables {
    /// The set that the server's answers make. Its name is one of
    /// [`charset_of`](super::charset_of).
    pub(crate) fn new<'a>(
        name: &'static str,
        answers: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Self {
        let mut one = vec![NONE; 256];
        let mut two = Vec::new();
        let mut longer = Vec::new();
        for (code, answer) in answers {
            let Some(code) = unhex(code) else { continue };
            let Some(char) = answer.and_then(|answer| char_of(&code, answer)) else {
                continue;
            };
            let number = code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            let at = usize::try_from(number).unwrap_or(usize::MAX);
            match code.len() {
                1 => set(&mut one, at, char),
                2 => {
                    two.resize(1 << 16, NONE);
                    set(&mut two, at, char);
                }
                3 | 4 => longer.push((number, char)),
                _ => {}
            }
        }
        longer.sort_unstable();
        Self {
            name,
            one: one.into(),
            two: two.into(),
            longer: longer.into(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The text. None: the bytes are not valid.
    pub(super) fn decode(&self, bytes: &[u8]) -> Option<String> {
        let mut text = String::with_capacity(bytes.len() + bytes.len() / 2);
        let mut rest = bytes;
        while let Some((first, behind)) = rest.split_first() {
            let (char, left) = match self.one.get(usize::from(*first)) {
                Some(char) if *char != NONE => (*char, behind),
                _ => self.long(rest)?,
            };
            text.push(char::from_u32(char)?);
            rest = left;
        }
        Some(text)
    }

    /// A character of more than one byte, and what is behind it.
    fn long<'a>(&self, rest: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (pair, behind) = rest.split_first_chunk::<2>()?;
        let at = usize::from(u16::from_be_bytes(*pair));
        if let Some(char) = self.two.get(at).filter(|char| **char != NONE) {
            return Some((*char, behind));
        }
        if self.longer.is_empty() {
            return None;
        }
        for length in [3, 4] {
            let (code, behind) = rest.split_at_checked(length)?;
            let number = code.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            if let Ok(at) = self.longer.binary_search_by_key(&number, |(code, _)| *code) {
                return self.longer.get(at).map(|(_, char)| (*char, behind));
            }
        }
        let (code, behind) = rest.split_first_chunk::<4>()?;
        (self.name == "gb18030")
            .then(|| beyond(*code))
            .flatten()
            .map(|char| (char, behind))
    }
}

fn set(table: &mut [u32], at: usize, char: u32) {
    if let Some(place) = table.get_mut(at) {
        *place = char;
    }
}

/// The character of a code. What the server has none for, it answers with a question mark, and
/// bytes that are no one code with more characters than one.
fn char_of(code: &[u8], answer: &str) -> Option<u32> {
    let bytes = unhex(answer)?;
    let mut chars = std::str::from_utf8(&bytes).ok()?.chars();
    let char = chars.next().filter(|_| chars.next().is_none())?;
    (char != '?' || code == b"?").then_some(u32::from(char))
}

/// The characters of `gb18030` beyond the basic plane, which have no table.
fn beyond([a, b, c, d]: [u8; 4]) -> Option<u32> {
    let digit = |byte: u8, first: u8, last: u8| {
        (first..=last)
            .contains(&byte)
            .then(|| u32::from(byte - first))
    };
    let number = digit(a, 0x90, 0xe3)? * 12_600
        + digit(b, 0x30, 0x39)? * 1260
        + digit(c, 0x81, 0xfe)? * 10
        + digit(d, 0x30, 0x39)?;
    let char = 0x1_0000 + number;
    (char <= 0x10_ffff).then_some(char)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::OnceLock;

    use proptest::prelude::*;

    use super::super::charset_of;
    use super::*;

    #[test]
    fn answers_make_a_set() {
        let tables = Tables::new(
            "gbk",
            [
                ("41", Some("41")),
                ("3F", Some("3F")),
                ("81", Some("3F")),
                ("8140", Some("E4B882")),
                ("8141", Some("3F41")),
                ("8142", Some("3F")),
                ("8143", None),
                ("814", Some("41")),
            ],
        );
        assert_eq!(tables.decode(b"A?").as_deref(), Some("A?"));
        assert_eq!(tables.decode(b"A\x81\x40?").as_deref(), Some("A\u{4e02}?"));
        for invalid in [&b"\x81"[..], b"\x81\x41", b"\x81\x42", b"\x81\x43", b"B"] {
            assert_eq!(tables.decode(invalid), None, "{invalid:?}");
        }
        assert_eq!(questions("gbk").len(), 2);
        assert_eq!(questions("latin2").len(), 1);
    }

    #[test]
    fn gb18030_beyond_the_basic_plane_follows_unicode() {
        let tables = Tables::new("gb18030", [("81308130", Some("C280"))]);
        assert_eq!(
            tables.decode(b"\x81\x30\x81\x30").as_deref(),
            Some("\u{80}")
        );
        assert_eq!(
            tables.decode(b"\x90\x30\x81\x30").as_deref(),
            Some("\u{10000}")
        );
        assert_eq!(
            tables.decode(b"\xe3\x32\x9a\x35").as_deref(),
            Some("\u{10ffff}")
        );
        assert_eq!(tables.decode(b"\xe3\x32\x9a\x36"), None);
        assert_eq!(tables.decode(b"\x81\x30\x81\x31"), None);
    }

    /// What MariaDB 10.11 answers: all one byte sets from `@` on, and some codes of longer ones.
    pub(crate) fn recorded() -> crate::charset::Charsets {
        static READ: OnceLock<crate::charset::Charsets> = OnceLock::new();
        READ.get_or_init(read).clone()
    }

    fn read() -> crate::charset::Charsets {
        let all = include_str!("../../tests/golden/mariadb-charsets.tsv");
        let mut charsets = crate::charset::Charsets::default();
        let rows = || all.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        for collation in (1..=97).filter(|collation| charset_of(*collation).is_some()) {
            let name = charset_of(collation).unwrap();
            let ascii: Vec<_> = (0..0x40).map(|code| format!("{code:02X}")).collect();
            let answers = rows()
                .filter(|row| row[0] == name)
                .map(|row| (row[1], Some(row[2])))
                .chain(
                    ascii
                        .iter()
                        .map(|code| (code.as_str(), Some(code.as_str()))),
                );
            charsets.add(Tables::new(name, answers));
        }
        charsets
    }

    #[test]
    fn every_recorded_answer_is_what_is_read() {
        let charsets = recorded();
        let mut count = 0;
        for line in include_str!("../../tests/golden/mariadb-charsets.tsv").lines() {
            let row: Vec<_> = line.split('\t').collect();
            let (code, answer) = (unhex(row[1]).unwrap(), unhex(row[2]).unwrap());
            let answer = String::from_utf8(answer).unwrap();
            let collation = (1..=97).find(|c| charset_of(*c) == Some(row[0])).unwrap();
            let read = charsets.decoder(collation).unwrap().decode(&code);
            // Where the server has no character, it says so with a question mark.
            let valid = code == b"?" || !answer.contains('?');
            assert_eq!(read, valid.then_some(answer), "{line}");
            count += 1;
        }
        assert!(count > 4000, "{count}");
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, code in "[0-9A-F]{0,10}", answer in "[0-9A-F]{0,8}") {
            let tables = Tables::new("gb18030", [(code.as_str(), Some(answer.as_str()))]);
            let _ = tables.decode(&bytes);
        }
    }
}
