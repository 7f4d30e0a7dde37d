//! Columns from the table map itself, where `binlog_row_metadata = FULL` tells enough.

use std::sync::Arc;

use super::fields::Stored;
use super::table_map::TableMap;
use crate::charset::Charsets;
use crate::column::{Column, Kind};

/// The number that stands for bytes among the collations.
const BYTES: u16 = 63;

impl TableMap {
    /// The columns as the table had them when the log was written. None: the log does not tell all
    /// of it (`binlog_row_metadata` is not `FULL`), or a character set is not known.
    ///
    /// MariaDB's `uuid`, `inet4` and `inet6` are bytes of a fixed length here, and its `json` is
    /// text: only the catalogue knows better ([`refine`]).
    pub(crate) fn described(&self, charsets: &Charsets) -> Option<Vec<Column>> {
        let names = self.metadata.names.as_ref()?;
        let columns = self.columns.iter().zip(names).enumerate();
        columns
            .map(|(at, (column, name))| {
                Some(Column {
                    name: name.clone(),
                    kind: self.kind(at, column.stored, charsets)?,
                    nullable: column.nullable,
                    declared: format!("{:?}", column.stored),
                })
            })
            .collect()
    }

    fn kind(&self, at: usize, stored: Stored, charsets: &Charsets) -> Option<Kind> {
        let metadata = &self.metadata;
        Some(match stored {
            Stored::Tiny | Stored::Short | Stored::Medium | Stored::Long | Stored::LongLong => {
                Kind::Int {
                    unsigned: *metadata.unsigned.as_ref()?.get(at)?,
                }
            }
            Stored::Float => Kind::Float,
            Stored::Double => Kind::Double,
            Stored::Year => Kind::Year,
            Stored::Bit(bits) => Kind::Bit(u8::try_from(bits).ok()?),
            Stored::Decimal { .. } => Kind::Decimal,
            Stored::Date => Kind::Date,
            Stored::Time(_) => Kind::Time,
            Stored::DateTime(_) => Kind::DateTime,
            Stored::Timestamp(_) => Kind::Timestamp,
            // Whether they have decimal places, only the declaration tells.
            Stored::OldTime | Stored::OldDateTime | Stored::OldTimestamp => return None,
            Stored::Char(length) => match self.collation(at)? {
                BYTES => Kind::Bytes {
                    fixed: Some(usize::from(length)),
                },
                collation => Kind::Text { collation },
            },
            Stored::VarChar(_)
            | Stored::Blob(_)
            | Stored::PackedVarChar(_)
            | Stored::PackedBlob(_) => match self.collation(at)? {
                BYTES => Kind::Bytes { fixed: None },
                collation => Kind::Text { collation },
            },
            Stored::Json(_) => Kind::Json,
            Stored::Geometry(_) => Kind::Geometry,
            Stored::Vector(_) => Kind::Bytes { fixed: None },
            Stored::Enum(_) => Kind::Enum(self.labels(at, charsets)?),
            Stored::Set(_) => Kind::Set(self.labels(at, charsets)?),
        })
    }

    fn collation(&self, at: usize) -> Option<u16> {
        *self.metadata.collations.as_ref()?.get(at)?
    }

    fn labels(&self, at: usize, charsets: &Charsets) -> Option<Arc<[String]>> {
        let collation = (*self.metadata.label_collations.as_ref()?.get(at)?)?;
        let decoder = charsets.decoder(collation).ok()?;
        let labels = self.metadata.labels.get(at)?.as_ref()?;
        labels.iter().map(|label| decoder.decode(label)).collect()
    }
}

/// What the log cannot tell, from the catalogue's column of the same name: that bytes of a fixed
/// length are a UUID or an address, and how the column was declared.
pub(crate) fn refine(columns: &mut [Column], catalogue: &[Column]) {
    for column in columns {
        let named = catalogue.iter().find(|known| known.name == column.name);
        let Some(known) = named else { continue };
        let same = match (&column.kind, &known.kind) {
            (Kind::Bytes { fixed: Some(16) }, Kind::Uuid | Kind::Inet6)
            | (Kind::Bytes { fixed: Some(4) }, Kind::Inet4) => {
                column.kind = known.kind.clone();
                true
            }
            (ours, theirs) => ours == theirs,
        };
        if same {
            column.declared.clone_from(&known.declared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: Kind, declared: &str) -> Column {
        Column {
            name: name.to_owned(),
            kind,
            nullable: true,
            declared: declared.to_owned(),
        }
    }

    #[test]
    fn the_catalogue_adds_only_what_the_log_leaves_open() {
        let fixed = |bytes| Kind::Bytes { fixed: Some(bytes) };
        let mut columns = [
            column("u", fixed(16), "Char(16)"),
            column("a", fixed(4), "Char(4)"),
            column("b", fixed(16), "Char(16)"),
            column("gone", fixed(16), "Char(16)"),
            column("n", Kind::Int { unsigned: false }, "Long"),
            column("m", Kind::Int { unsigned: true }, "Long"),
        ];
        let catalogue = [
            column("u", Kind::Uuid, "uuid"),
            column("a", Kind::Inet4, "inet4"),
            // Another length: the column was another one when the log was written.
            column("b", Kind::Inet4, "inet4"),
            column("n", Kind::Int { unsigned: false }, "int(11)"),
            // The log knows the sign better.
            column("m", Kind::Int { unsigned: false }, "int(11)"),
        ];
        refine(&mut columns, &catalogue);
        assert_eq!(
            columns,
            [
                column("u", Kind::Uuid, "uuid"),
                column("a", Kind::Inet4, "inet4"),
                column("b", fixed(16), "Char(16)"),
                column("gone", fixed(16), "Char(16)"),
                column("n", Kind::Int { unsigned: false }, "int(11)"),
                column("m", Kind::Int { unsigned: true }, "Long"),
            ]
        );
    }
}
