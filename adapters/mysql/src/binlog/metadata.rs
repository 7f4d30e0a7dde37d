//! What `binlog_row_metadata` adds to a table map: nothing at all, signs and character sets
//! (`MINIMAL`), or everything (`FULL`)
//! (<https://dev.mysql.com/doc/refman/8.4/en/replication-options-binary-log.html#sysvar_binlog_row_metadata>,
//! <https://mariadb.com/kb/en/replication-and-binary-log-system-variables/#binlog_row_metadata>).

use super::fields::Stored;
use super::input::Input;
use super::table_map::{StoredColumn, text};
use super::{Result, malformed};

/// Everything may be missing. Lists are as long as the table has columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) unsigned: Option<Vec<bool>>,
    /// Numbers of collations; 63 = bytes. None: nothing was said, or the column has none.
    pub(crate) collations: Option<Vec<Option<u16>>>,
    pub(crate) names: Option<Vec<String>>,
    /// Of enums and sets, in their own character set.
    pub(crate) labels: Vec<Option<Vec<Vec<u8>>>>,
    /// The collations of enums and sets.
    pub(crate) label_collations: Option<Vec<Option<u16>>>,
    /// The primary key: columns, counted from 0, and how many characters of each; 0 = all.
    pub(crate) key: Option<Vec<(usize, u64)>>,
    pub(crate) visible: Option<Vec<bool>>,
}

impl Metadata {
    /// Fields of (number, length, bytes) to the end.
    pub(super) fn read(
        mut input: Input<'_>,
        columns: &[StoredColumn],
        of_mariadb: bool,
    ) -> Result<Self> {
        let mut read = Self {
            labels: vec![None; columns.len()],
            ..Self::default()
        };
        while !input.is_empty() {
            let number = input.u8()?;
            let length = input.packed_length()?;
            let mut field = Input(input.take(length)?);
            read.field(number, &mut field, columns, of_mariadb)?;
        }
        Ok(read)
    }

    fn field(
        &mut self,
        number: u8,
        field: &mut Input<'_>,
        columns: &[StoredColumn],
        of_mariadb: bool,
    ) -> Result<()> {
        // MariaDB counts geometry among the texts, MySQL does not.
        let texts = if of_mariadb {
            Stored::has_collation
        } else {
            is_text
        };
        match number {
            1 => self.unsigned = Some(signs(field.rest(), columns)),
            2 => self.collations = Some(default_collations(field, columns, texts)?),
            3 => {
                let of: Vec<usize> = places(columns, texts);
                self.collations = Some(one_each(field, columns.len(), &of)?);
            }
            4 => {
                let names = (0..columns.len())
                    .map(|_| {
                        let length = field.packed_length()?;
                        text(field.take(length)?)
                    })
                    .collect::<Result<_>>()?;
                field.end()?;
                self.names = Some(names);
            }
            5 => self.labels(field, columns, |stored| matches!(stored, Stored::Set(_)))?,
            6 => self.labels(field, columns, |stored| matches!(stored, Stored::Enum(_)))?,
            8 | 9 => {
                let mut key = Vec::new();
                while !field.is_empty() {
                    let column = place(field, columns.len())?;
                    let characters = if number == 9 { field.packed()? } else { 0 };
                    key.push((column, characters));
                }
                self.key = Some(key);
            }
            10 => {
                self.label_collations = Some(default_collations(field, columns, labelled)?);
            }
            11 => {
                let of: Vec<usize> = places(columns, labelled);
                self.label_collations = Some(one_each(field, columns.len(), &of)?);
            }
            12 => {
                let bits = field.rest();
                let visible = (0..columns.len()).map(|at| high_bit(bits, at));
                self.visible = Some(visible.collect());
            }
            // 7: which geometry, 13: how many dimensions a vector has. Fields that are not known
            // add something to what the older ones say, so older readers leave them out.
            _ => {}
        }
        Ok(())
    }

    fn labels(
        &mut self,
        field: &mut Input<'_>,
        columns: &[StoredColumn],
        of: fn(Stored) -> bool,
    ) -> Result<()> {
        for at in places(columns, of) {
            let count = field.packed_length()?;
            let labels = (0..count)
                .map(|_| {
                    let length = field.packed_length()?;
                    field.take(length).map(<[u8]>::to_vec)
                })
                .collect::<Result<_>>()?;
            if let Some(place) = self.labels.get_mut(at) {
                *place = Some(labels);
            }
        }
        field.end()
    }
}

fn is_text(stored: Stored) -> bool {
    stored.has_collation() && !matches!(stored, Stored::Geometry(_))
}

fn labelled(stored: Stored) -> bool {
    matches!(stored, Stored::Enum(_) | Stored::Set(_))
}

fn places(columns: &[StoredColumn], of: fn(Stored) -> bool) -> Vec<usize> {
    let there = columns.iter().enumerate();
    there
        .filter(|(_, column)| of(column.stored))
        .map(|(at, _)| at)
        .collect()
}

/// A bit, counted from the highest of the first byte.
fn high_bit(bits: &[u8], at: usize) -> bool {
    bits.get(at / 8)
        .is_some_and(|byte| byte << (at % 8) & 0x80 != 0)
}

/// One bit for each column of a number. Years have one as well, and are never negative: MariaDB says
/// so, MySQL does not.
fn signs(bits: &[u8], columns: &[StoredColumn]) -> Vec<bool> {
    let mut next = 0;
    let signs = columns.iter().map(|column| {
        if !column.stored.has_sign() {
            return false;
        }
        next += 1;
        column.stored == Stored::Year || high_bit(bits, next - 1)
    });
    signs.collect()
}

/// One for most, and pairs of (which of them, another one) for the others.
fn default_collations(
    field: &mut Input<'_>,
    columns: &[StoredColumn],
    of: fn(Stored) -> bool,
) -> Result<Vec<Option<u16>>> {
    let usual = collation(field)?;
    let of = places(columns, of);
    let mut all = vec![None; columns.len()];
    for at in &of {
        if let Some(place) = all.get_mut(*at) {
            *place = Some(usual);
        }
    }
    while !field.is_empty() {
        let at = place(field, of.len())?;
        let other = collation(field)?;
        if let Some(place) = of.get(at).and_then(|at| all.get_mut(*at)) {
            *place = Some(other);
        }
    }
    Ok(all)
}

fn one_each(field: &mut Input<'_>, columns: usize, of: &[usize]) -> Result<Vec<Option<u16>>> {
    let mut all = vec![None; columns];
    for at in of {
        let one = collation(field)?;
        if let Some(place) = all.get_mut(*at) {
            *place = Some(one);
        }
    }
    field.end()?;
    Ok(all)
}

fn collation(field: &mut Input<'_>) -> Result<u16> {
    u16::try_from(field.packed()?).map_err(|_| malformed("a collation with an impossible number"))
}

fn place(field: &mut Input<'_>, count: usize) -> Result<usize> {
    usize::try_from(field.packed()?)
        .ok()
        .filter(|at| *at < count)
        .ok_or(malformed("a column that the table does not have"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(stored: &[Stored]) -> Vec<StoredColumn> {
        let column = |stored: &Stored| StoredColumn {
            stored: *stored,
            nullable: false,
        };
        stored.iter().map(column).collect()
    }

    #[test]
    fn years_have_a_sign_that_says_nothing() {
        let columns = columns(&[
            Stored::Long,
            Stored::Year,
            Stored::Long,
            Stored::Date,
            Stored::Tiny,
        ]);
        // As MariaDB writes it, and as MySQL.
        for bits in [0b0101_0000, 0b0001_0000] {
            assert_eq!(
                signs(&[bits], &columns),
                [false, true, false, false, true],
                "{bits:#b}"
            );
        }
    }

    #[test]
    fn collations_count_what_the_server_counts() {
        let columns = columns(&[
            Stored::Long,
            Stored::Geometry(4),
            Stored::VarChar(10),
            Stored::Blob(2),
        ]);
        let by = |of_mariadb: bool, field: &[u8]| {
            Metadata::read(Input(field), &columns, of_mariadb).map(|read| read.collations)
        };
        let all = vec![None, Some(63), Some(45), Some(8)];
        let read = |field: &[u8]| by(true, field);
        assert_eq!(read(&[3, 3, 63, 45, 8]), Ok(Some(all.clone())));
        // One for most, and exceptions.
        assert_eq!(read(&[2, 5, 45, 0, 63, 2, 8]), Ok(Some(all)));
        // MySQL leaves geometry out.
        let plain = vec![None, None, Some(45), Some(8)];
        assert_eq!(by(false, &[3, 2, 45, 8]), Ok(Some(plain.clone())));
        assert_eq!(by(false, &[2, 3, 45, 1, 8]), Ok(Some(plain)));
        assert!(read(&[3, 1, 45]).is_err());
        assert!(read(&[3, 5, 45, 8, 8, 8, 8]).is_err());
        assert!(read(&[2, 3, 45, 3, 8]).is_err());
        assert!(read(&[2, 4, 45]).is_err());
        // What is not known adds to the rest.
        assert_eq!(read(&[99, 2, 1, 1]), Ok(None));
    }

    #[test]
    fn keys_and_labels_of_columns_that_are_not_there_are_refused() {
        let columns = columns(&[Stored::Long, Stored::Enum(1)]);
        let read = |field: &[u8]| Metadata::read(Input(field), &columns, true);
        assert_eq!(read(&[8, 1, 1]).unwrap().key, Some(vec![(1, 0)]));
        assert_eq!(
            read(&[9, 4, 1, 10, 0, 0]).unwrap().key,
            Some(vec![(1, 10), (0, 0)])
        );
        assert!(read(&[8, 1, 2]).is_err());
        let labels = read(&[6, 5, 2, 1, b'a', 1, b'b']).unwrap().labels;
        assert_eq!(labels, [None, Some(vec![b"a".to_vec(), b"b".to_vec()])]);
        // More labels than bytes, and one that is longer than what holds it.
        assert!(read(&[6, 4, 0xfd, 0xff, 0xff, 0xff]).is_err());
        assert!(read(&[6, 2, 1, 9]).is_err());
        assert!(read(&[4, 2, 1, b'a']).is_err());
    }
}
