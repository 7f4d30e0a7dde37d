//! Logs whose bytes are broken where it matters: within table maps, rows, compressed rows and
//! compressed transactions, with checksums and packing that are right again. Whatever they say, they
//! are read to an end, and what cannot be read is an error.

use proptest::prelude::*;

use super::golden::{all, events, file, guessed, rows, sealed};
use super::rows::head_bytes;
use super::table_map::TableMap;
use crate::charset::tables::tests::recorded;
use crate::column::Column;

/// The types whose bodies are broken: a table map, rows of each version, whole and packed, a
/// transaction, a statement, and what describes a transaction.
const KINDS: &[u8] = &[
    2, 19, 23, 24, 25, 30, 31, 32, 33, 35, 39, 40, 42, 160, 162, 163, 165, 166, 167, 168,
];
/// Bytes of a checksum.
const SUM: usize = 4;
const HEADER: usize = 19;

/// What is broken: where, and by which byte.
type Spots = Vec<(prop::sample::Index, u8)>;

/// Rather lengths, flags and numbers at their ends than any byte.
fn spots() -> impl Strategy<Value = Spots> {
    let byte = prop_oneof![
        prop::sample::select(vec![
            0x00_u8, 0x01, 0x7f, 0x80, 0xfb, 0xfc, 0xfd, 0xfe, 0xff
        ]),
        any::<u8>(),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), byte), 1..6)
}

fn broken(bytes: &mut [u8], spots: &Spots) {
    for (at, byte) in spots {
        if !bytes.is_empty() {
            bytes[at.index(bytes.len())] = *byte;
        }
    }
}

/// The events of a log: type, and all of its bytes but the checksum.
fn split(log: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    let mut rest = log.strip_prefix(b"\xfebin").unwrap_or(log);
    while let Some(size) = rest.get(9..13) {
        let size = usize::try_from(u32::from_le_bytes(size.try_into().unwrap())).unwrap();
        let (whole, behind) = rest.split_at(size);
        found.push((whole[4], whole[..size - SUM].to_vec()));
        rest = behind;
    }
    found
}

/// An event of this body, with the header of another and room for a checksum.
fn event(header: &[u8], kind: u8, body: &[u8]) -> Vec<u8> {
    let mut whole = header[..HEADER].to_vec();
    whole[4] = kind;
    whole.extend_from_slice(body);
    whole.extend_from_slice(&[0; SUM]);
    let size = u32::try_from(whole.len()).unwrap();
    whole[9..13].copy_from_slice(&size.to_le_bytes());
    whole
}

/// A log of these events, with its checksums.
fn log(events: &[Vec<u8>]) -> Vec<u8> {
    sealed([&b"\xfebin"[..], &events.concat()].concat())
}

fn columns(map: &TableMap) -> Vec<Column> {
    let columns = map.described(&recorded()).unwrap_or_default();
    if columns.is_empty() {
        guessed(map)
    } else {
        columns
    }
}

/// Read to its end: no more events and rows than there are bytes to hold them.
fn read(log: &[u8], bytes_max: usize) {
    assert!(events(log).len() <= bytes_max / HEADER + 1);
    if let Ok(rows) = rows(log, &columns) {
        assert!(rows.len() <= bytes_max);
    }
}

/// As MariaDB packs rows, and MySQL a transaction.
fn packed_rows(kind: u8, body: &[u8]) -> Option<(u8, Vec<u8>)> {
    let kind_packed = match kind {
        23..=25 => kind + 143,
        30..=32 => kind + 139,
        _ => return None,
    };
    let head = head_bytes(kind, body, 6).ok()?;
    let (head, rows) = body.split_at(head);
    let mut packed = head.to_vec();
    packed.push(0x84);
    packed.extend(u32::try_from(rows.len()).unwrap().to_be_bytes());
    let mut packer = flate2::write::ZlibEncoder::new(packed, flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, rows).unwrap();
    Some((kind_packed, packer.finish().unwrap()))
}

fn payload(plain: &[u8]) -> Vec<u8> {
    let packed = zstd::encode_all(plain, 1).unwrap();
    let mut body = Vec::new();
    for (number, value) in [(2_u8, 0), (3, plain.len()), (1, packed.len())] {
        body.extend([number, 9, 0xfe]);
        body.extend(u64::try_from(value).unwrap().to_le_bytes());
    }
    body.push(0);
    body.extend(packed);
    body
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn broken_bodies_are_read_to_an_end(
        name in prop::sample::select(all()),
        which in any::<prop::sample::Index>(),
        spots in spots(),
        packed: bool,
    ) {
        prop_assume!(!name.contains("no-checksum"));
        let mut all = split(&file(&name));
        let wanted: Vec<usize> = (0..all.len()).filter(|at| KINDS.contains(&all[*at].0)).collect();
        let at = wanted[which.index(wanted.len())];
        broken(&mut all[at].1[HEADER..], &spots);
        let events: Vec<_> = all
            .iter()
            .map(|(kind, whole)| {
                let body = &whole[HEADER..];
                match packed_rows(*kind, body).filter(|_| packed) {
                    Some((kind, body)) => event(whole, kind, &body),
                    None => event(whole, *kind, body),
                }
            })
            .collect();
        let bytes: usize = all.iter().map(|(_, whole)| whole.len()).sum();
        // What a log compresses itself is larger than its file.
        read(&log(&events), bytes * 1000);
    }

    /// All events behind the format's as one transaction, the way MySQL packs them: without
    /// checksums.
    #[test]
    fn broken_transactions_are_read_to_an_end(
        name in prop::sample::select(all()),
        spots in spots(),
    ) {
        prop_assume!(!name.contains("no-checksum"));
        let all = split(&file(&name));
        let mut plain = Vec::new();
        for (_, whole) in &all[1..] {
            let mut whole = whole.clone();
            let size = u32::try_from(whole.len()).unwrap();
            whole[9..13].copy_from_slice(&size.to_le_bytes());
            plain.extend(whole);
        }
        broken(&mut plain, &spots);
        let format = event(&all[0].1, 15, &all[0].1[HEADER..]);
        let one = event(&all[0].1, 40, &payload(&plain));
        read(&log(&[format, one]), plain.len() * 1000);
    }
}

/// What the two above do changes nothing of a log that is not broken.
#[test]
fn a_log_that_is_packed_anew_is_the_same() {
    let name = "mysql-enum-set.000001";
    let plain = rows(&file(name), &columns).unwrap();
    assert!(!plain.is_empty());
    let all = split(&file(name));
    let packed: Vec<_> = all
        .iter()
        .map(|(kind, whole)| match packed_rows(*kind, &whole[HEADER..]) {
            Some((kind, body)) => event(whole, kind, &body),
            None => event(whole, *kind, &whole[HEADER..]),
        })
        .collect();
    assert_eq!(rows(&log(&packed), &columns).unwrap(), plain);
    let mut inside = Vec::new();
    for (_, whole) in &all[1..] {
        let mut whole = whole.clone();
        let size = u32::try_from(whole.len()).unwrap();
        whole[9..13].copy_from_slice(&size.to_le_bytes());
        inside.extend(whole);
    }
    let format = event(&all[0].1, 15, &all[0].1[HEADER..]);
    let one = event(&all[0].1, 40, &payload(&inside));
    assert_eq!(rows(&log(&[format, one]), &columns).unwrap(), plain);
}
