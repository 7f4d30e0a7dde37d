//! What the shim noted, note by note.

use std::path::Path;

/// A line of what was noted, and the bytes behind it.
#[derive(Debug)]
pub(super) struct Note<'a> {
    pub(super) what: &'a str,
    pub(super) inode: &'a str,
    pub(super) offset: usize,
    pub(super) name: &'a str,
    pub(super) data: &'a [u8],
}

/// All of them, in order. What was being noted when the program was killed is left out.
pub(super) fn notes(bytes: &[u8]) -> Vec<Note<'_>> {
    let mut notes = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let line = std::str::from_utf8(&rest[..end]).unwrap();
        rest = &rest[end + 1..];
        let [what, inode, offset, size, name] =
            line.splitn(5, '\t').collect::<Vec<_>>().try_into().unwrap();
        let size = if what == "write" {
            size.parse().unwrap()
        } else {
            0
        };
        if rest.len() < size {
            break;
        }
        let (data, behind) = rest.split_at(size);
        rest = behind;
        notes.push(Note {
            what,
            inode,
            offset: offset.parse().unwrap(),
            name,
            data,
        });
    }
    notes
}

/// How often the disk did what [`Shim::fault`](super::Shim::fault) says, as the shim noted in `log` until now.
pub fn faults(log: &Path) -> usize {
    let bytes = std::fs::read(log).unwrap_or_default();
    let is_fault = |note: &&Note<'_>| ["fault", "cut", "lost"].contains(&note.what);
    notes(&bytes).iter().filter(is_fault).count()
}
