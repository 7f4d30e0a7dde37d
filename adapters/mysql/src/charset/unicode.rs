//! Unicode in its several forms, and `latin1`.

/// Up to three bytes a character.
pub(super) fn is_utf8mb3(text: &str) -> bool {
    text.bytes().all(|byte| byte < 0xf0)
}

/// The characters of `latin1` from 0x80 to 0x9f: Windows' code page 1252, but that its five holes are
/// the control characters of the same number
/// (<https://dev.mysql.com/doc/refman/8.4/en/charset-we-sets.html>).
const LATIN1: [char; 32] = [
    '\u{20ac}', '\u{81}', '\u{201a}', '\u{192}', '\u{201e}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2c6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8d}', '\u{17d}', '\u{8f}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201c}', '\u{201d}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2dc}', '\u{2122}', '\u{161}', '\u{203a}', '\u{153}', '\u{9d}', '\u{17e}', '\u{178}',
];

pub(super) fn latin1(bytes: &[u8]) -> String {
    if let Some(text) = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| text.is_ascii())
    {
        return text.to_owned();
    }
    let char = |byte: &u8| {
        let special = byte.checked_sub(0x80).map(usize::from);
        special
            .and_then(|at| LATIN1.get(at))
            .copied()
            .unwrap_or(char::from(*byte))
    };
    bytes.iter().map(char).collect()
}

/// Two bytes a character, most significant first; halves of pairs are no characters.
pub(super) fn ucs2(bytes: &[u8]) -> Option<String> {
    let pairs = units(bytes)?;
    pairs
        .map(|pair| char::from_u32(u32::from(u16::from_be_bytes(pair))))
        .collect()
}

pub(super) fn utf16(bytes: &[u8], number: fn([u8; 2]) -> u16) -> Option<String> {
    let pairs = units(bytes)?;
    char::decode_utf16(pairs.map(number))
        .collect::<Result<_, _>>()
        .ok()
}

pub(super) fn utf32(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    units
        .iter()
        .map(|unit| char::from_u32(u32::from_be_bytes(*unit)))
        .collect()
}

fn units(bytes: &[u8]) -> Option<impl Iterator<Item = [u8; 2]> + '_> {
    let (units, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| units.iter().copied())
}
