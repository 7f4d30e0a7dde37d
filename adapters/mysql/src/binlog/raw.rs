//! One event, not understood yet: its header, its body and the checksum behind it
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_replication_binlog_event.html>).

use bytes::{BufMut, Bytes, BytesMut};
use contract::SourceError;

use super::input::Input;
use super::{Hidden, Result, Trouble, malformed};

/// Bytes of a header.
pub(crate) const HEADER: usize = 19;
/// Bytes of a checksum.
const SUM: usize = 4;
/// The type of a format description.
const FORMAT_DESCRIPTION: u8 = 15;
/// Set while the log file is being written. The checksum of a format description is of the header
/// without it.
const IN_USE: u16 = 0x01;
/// Made for the connection, not in the log.
const ARTIFICIAL: u16 = 0x20;

/// What stands behind the body of every event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// Nobody has said so far.
    Unknown,
    /// Nothing.
    Off,
    /// Four bytes.
    Crc32,
    /// Nothing, and not even behind what is made up for the connection.
    Never,
}

impl Checksum {
    fn by_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Off),
            1 => Some(Self::Crc32),
            _ => None,
        }
    }
}

/// An event's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Seconds since 1970.
    pub(crate) timestamp: u32,
    pub(crate) kind: u8,
    pub(crate) server_id: u32,
    /// Bytes of header, body and checksum.
    pub(crate) size: u32,
    /// Where the next event begins in the log file; 0 = not in the log.
    pub(crate) end: u32,
    pub(crate) flags: u16,
}

impl Header {
    fn read(input: &mut Input<'_>) -> Result<Self> {
        Ok(Self {
            timestamp: input.u32()?,
            kind: input.u8()?,
            server_id: input.u32()?,
            size: input.u32()?,
            end: input.u32()?,
            flags: input.u16()?,
        })
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(self.timestamp);
        out.put_u8(self.kind);
        out.put_u32_le(self.server_id);
        out.put_u32_le(self.size);
        out.put_u32_le(self.end);
        out.put_u16_le(self.flags);
    }

    /// Of no use to those who read the log from the server.
    pub(super) fn is_ignorable(&self) -> bool {
        self.flags & 0x80 != 0
    }

    /// Made for the connection, not in the log.
    pub(crate) fn is_artificial(&self) -> bool {
        self.flags & ARTIFICIAL != 0 || self.end == 0
    }
}

/// One event as the server sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Raw {
    pub(crate) header: Header,
    /// All of it, from the header to the checksum, if there is one.
    whole: Hidden,
}

impl Raw {
    /// An event from all its bytes, as they stand in a log file.
    pub(crate) fn new(whole: Bytes) -> std::result::Result<Self, SourceError> {
        let mut input = Input(&whole);
        let doing = "read the binary log";
        let header = Header::read(&mut input).map_err(|trouble| trouble.at(doing))?;
        if usize::try_from(header.size) != Ok(whole.len()) {
            return Err(SourceError::Malformed(format!(
                "{doing}: an event of {} bytes says that it has {}",
                whole.len(),
                header.size
            )));
        }
        Ok(Self {
            header,
            whole: Hidden(whole),
        })
    }

    /// An event from the parts that a client has taken it apart into. How many bytes it has cut off
    /// behind the body follows from the size in the header: none, the checksum, or, of a format
    /// description, the number of the algorithm as well.
    pub(crate) fn from_parts(
        header: Header,
        body: &[u8],
        algorithm: Option<u8>,
        checksum: Option<[u8; SUM]>,
    ) -> std::result::Result<Self, SourceError> {
        let mut whole = BytesMut::with_capacity(HEADER + body.len() + SUM + 1);
        header.put(&mut whole);
        whole.put_slice(body);
        let cut = usize::try_from(header.size)
            .unwrap_or(0)
            .checked_sub(whole.len());
        match (cut, algorithm, checksum) {
            (Some(0), _, _) => {}
            (Some(SUM), _, Some(sum)) => whole.put_slice(&sum),
            (Some(5), Some(number), Some(sum)) if header.kind == FORMAT_DESCRIPTION => {
                whole.put_u8(number);
                whole.put_slice(&sum);
            }
            _ => {
                return Err(SourceError::Malformed(format!(
                    "read the binary log: the event of type {} before {} says that it has {} bytes, \
                     and came with {}",
                    header.kind,
                    header.end,
                    header.size,
                    whole.len()
                )));
            }
        }
        Self::new(whole.freeze())
    }

    /// What is being read, for errors: the type and where the log goes on behind it.
    pub(crate) fn doing(&self) -> String {
        format!(
            "read the event of type {} before position {} of the binary log",
            self.header.kind, self.header.end
        )
    }

    /// The body without the checksum, which is verified, and what it says of the algorithm.
    pub(super) fn open(&self, checksum: Checksum) -> Result<(Bytes, Checksum)> {
        let body = self.whole.0.slice(HEADER.min(self.whole.0.len())..);
        if self.header.kind == FORMAT_DESCRIPTION {
            return self.open_format(&body);
        }
        // Heartbeats have a position, although they are in no log.
        let made_up = self.header.is_artificial() || matches!(self.header.kind, 27 | 41);
        match checksum {
            Checksum::Crc32 => Ok((self.verified(&body)?, checksum)),
            Checksum::Never => Ok((body, checksum)),
            Checksum::Off if !made_up => Ok((body, checksum)),
            // What is made up for the connection has a checksum or none by another rule than the
            // log itself: MariaDB adds one although `binlog_checksum` is `NONE`. It is there where
            // it is right.
            Checksum::Off | Checksum::Unknown => {
                Ok((self.verified(&body).unwrap_or(body), checksum))
            }
        }
    }

    /// A format description says itself what stands behind the body of each event, and always has
    /// room for a checksum
    /// (<https://dev.mysql.com/worklog/task/?id=2540>).
    fn open_format(&self, body: &Bytes) -> Result<(Bytes, Checksum)> {
        // The version of the format, the server's version (50 bytes), a time, a header's length.
        const FIXED: usize = 2 + 50 + 4 + 1;
        if body.len() < FIXED {
            return Err(malformed("a format description that ends too early"));
        }
        let version = body.get(2..52).unwrap_or_default();
        if !has_checksums(version) {
            return Ok((body.clone(), Checksum::Off));
        }
        let at = body
            .len()
            .checked_sub(SUM + 1)
            .filter(|at| *at >= FIXED)
            .ok_or(malformed("a format description that ends too early"))?;
        let number = body.get(at).copied().unwrap_or(u8::MAX);
        let checksum = Checksum::by_number(number).ok_or_else(|| {
            Trouble::Malformed(format!("a checksum of the unknown kind {number}").into())
        })?;
        if checksum == Checksum::Crc32 {
            self.verified(body)?;
        }
        Ok((body.slice(..at), checksum))
    }

    fn verified(&self, body: &Bytes) -> Result<Bytes> {
        let at = body
            .len()
            .checked_sub(SUM)
            .ok_or(malformed("it has no room for a checksum"))?;
        let mut stored = Input(body.get(at..).unwrap_or_default());
        let stored = stored.u32()?;
        let mut header = BytesMut::with_capacity(HEADER);
        let mut first = self.header;
        if first.kind == FORMAT_DESCRIPTION {
            first.flags &= !IN_USE;
        }
        first.put(&mut header);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&header);
        hasher.update(body.get(..at).unwrap_or_default());
        if hasher.finalize() == stored {
            Ok(body.slice(..at))
        } else {
            Err(malformed(
                "its checksum is wrong: the log is damaged, on the server's disk or on the way",
            ))
        }
    }
}

/// Whether a server of this version writes checksums, and the algorithm into the format
/// description: MySQL from 5.6.1 on, MariaDB from 5.3 on
/// (<https://mariadb.com/kb/en/format_description_event/>).
fn has_checksums(version: &[u8]) -> bool {
    let text = String::from_utf8_lossy(version);
    let text = text.trim_end_matches('\0');
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
        numbers.next().unwrap_or(0),
    );
    if text.contains("MariaDB") {
        version >= (5, 3, 0)
    } else {
        version >= (5, 6, 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotate(name: &[u8], sum: bool) -> Vec<u8> {
        let size = HEADER + 8 + name.len() + if sum { 4 } else { 0 };
        let header = Header {
            timestamp: 0,
            kind: 4,
            server_id: 1,
            size: u32::try_from(size).unwrap(),
            end: 0,
            flags: ARTIFICIAL,
        };
        let mut out = BytesMut::new();
        header.put(&mut out);
        out.put_u64_le(4);
        out.put_slice(name);
        if sum {
            let crc = crc32fast::hash(&out);
            out.put_u32_le(crc);
        }
        out.to_vec()
    }

    #[test]
    fn a_checksum_is_verified_and_cut_off_by_the_algorithm() {
        let whole = rotate(b"bin.000001", true);
        let raw = Raw::new(Bytes::from(whole.clone())).unwrap();
        for checksum in [Checksum::Crc32, Checksum::Unknown, Checksum::Off] {
            let (body, _) = raw.open(checksum).unwrap();
            assert_eq!(&body[8..], b"bin.000001");
        }
        let plain = Raw::new(Bytes::from(rotate(b"bin.000001", false))).unwrap();
        for checksum in [Checksum::Off, Checksum::Unknown] {
            let (body, _) = plain.open(checksum).unwrap();
            assert_eq!(&body[8..], b"bin.000001");
        }
        assert!(plain.open(Checksum::Crc32).is_err());
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            if let Ok(raw) = Raw::new(Bytes::from(broken)) {
                // Another type is another event, but no less broken.
                assert!(raw.open(Checksum::Crc32).is_err(), "{at}");
            }
        }
    }

    #[test]
    fn parts_are_put_together_by_the_size_in_the_header() {
        let whole = rotate(b"bin.000001", true);
        let raw = Raw::new(Bytes::from(whole.clone())).unwrap();
        let sum = <[u8; 4]>::try_from(&whole[whole.len() - 4..]).unwrap();
        let glued = Raw::from_parts(raw.header, &whole[HEADER..], None, None).unwrap();
        assert_eq!(glued, raw);
        let cut = &whole[HEADER..whole.len() - 4];
        assert_eq!(
            Raw::from_parts(raw.header, cut, None, Some(sum)),
            Ok(raw.clone())
        );
        assert!(Raw::from_parts(raw.header, cut, None, None).is_err());
        assert!(Raw::from_parts(raw.header, &cut[1..], Some(1), Some(sum)).is_err());
        assert!(
            Raw::from_parts(raw.header, &[&whole[HEADER..], b"x"].concat(), None, None).is_err()
        );
    }

    #[test]
    fn which_versions_have_checksums() {
        for (version, has) in [
            ("5.1.23-rc-log", false),
            ("5.6.0", false),
            ("5.6.1", true),
            ("8.0.36", true),
            ("10.11.19-MariaDB-0+deb12u1-log", true),
            ("5.5.68-MariaDB", true),
            ("", false),
        ] {
            assert_eq!(has_checksums(version.as_bytes()), has, "{version}");
        }
    }
}
