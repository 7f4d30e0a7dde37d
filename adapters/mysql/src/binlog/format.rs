//! What a log file says of its own format
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Format__description__event.html>).

use bytes::Bytes;

use super::input::Input;
use super::raw::{Checksum, HEADER};
use super::{Result, Trouble, malformed};

/// The first event of every log file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FormatDescription {
    pub(crate) checksum: Checksum,
    /// Such as `10.11.19-MariaDB-log`.
    pub(crate) server_version: String,
    /// Not zero: written when the server started, so transactions left open before it are gone.
    pub(crate) created: u32,
    /// Bytes of the fixed part of each type of event, from type 1 on.
    fixed_lengths: Bytes,
}

impl FormatDescription {
    pub(super) fn read(body: &Bytes, checksum: Checksum) -> Result<Self> {
        let mut input = Input(body);
        let version = input.u16()?;
        if version != 4 {
            return Err(Trouble::Malformed(
                format!("a log of the format {version}, and only 4 is known").into(),
            ));
        }
        let server_version = String::from_utf8_lossy(input.take(50)?)
            .trim_end_matches('\0')
            .to_owned();
        let created = input.u32()?;
        if usize::from(input.u8()?) != HEADER {
            return Err(malformed(
                "a log whose events have headers of unknown length",
            ));
        }
        let at = body.len() - input.left();
        Ok(Self {
            checksum,
            server_version,
            created,
            fixed_lengths: body.slice(at..),
        })
    }
}

/// How the events that come next are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Format {
    pub(super) checksum: Checksum,
    /// Written by MariaDB, and not by MySQL.
    pub(super) of_mariadb: bool,
    fixed_lengths: Bytes,
}

impl Format {
    /// Before the first format description: nobody has said yet whether events have checksums.
    pub(crate) fn new() -> Self {
        Self {
            checksum: Checksum::Unknown,
            of_mariadb: false,
            fixed_lengths: Bytes::new(),
        }
    }

    /// From now on as this description says.
    pub(crate) fn learn(&mut self, description: &FormatDescription) {
        self.checksum = description.checksum;
        self.of_mariadb = description.server_version.contains("MariaDB");
        self.fixed_lengths = description.fixed_lengths.clone();
    }

    /// For events inside a compressed transaction, which have no checksums
    /// (<https://dev.mysql.com/worklog/task/?id=3549>).
    pub(crate) fn inside_payload(&self) -> Self {
        Self {
            checksum: Checksum::Never,
            of_mariadb: self.of_mariadb,
            fixed_lengths: self.fixed_lengths.clone(),
        }
    }

    /// Bytes of a table's number in events of this type: four in logs of very old servers, whose
    /// fixed part has six bytes.
    pub(crate) fn table_id_bytes(&self, kind: u8) -> usize {
        let at = usize::from(kind).wrapping_sub(1);
        if self.fixed_lengths.get(at) == Some(&6) {
            4
        } else {
            6
        }
    }
}
