//! The row changes of `pgoutput`, protocol version 1
//! (<https://www.postgresql.org/docs/current/protocol-logicalrep-message-formats.html>).
//!
//! Takes any bytes: what it does not understand is an error, never a panic and never a guess.
//! Begin, Commit and logical messages are read by the replication client.

use bytes::Bytes;

/// The bytes are no change we understand, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

type Result<T> = std::result::Result<T, Malformed>;

/// One protocol message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// A table's columns, before its first change and whenever they changed.
    Relation(Relation),
    /// A new row.
    Insert { relation: u32, new: Tuple },
    /// A changed row.
    Update {
        relation: u32,
        old: Option<Old>,
        new: Tuple,
    },
    /// A removed row.
    Delete { relation: u32, old: Old },
    /// Emptied tables.
    Truncate { relations: Vec<u32> },
    /// Nothing about rows: a type's name, a replication origin.
    Other,
}

/// A table as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) id: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    /// `d`efault, `n`othing, `f`ull or `i`ndex.
    pub(crate) identity: u8,
    pub(crate) columns: Vec<Column>,
}

/// A column as the log describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Part of the replica identity.
    pub(crate) identity: bool,
    pub(crate) name: String,
    pub(crate) type_oid: u32,
}

/// The row before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Old {
    /// Only its replica identity; the other cells are sent as null and mean nothing.
    Key(Tuple),
    /// All of it.
    Full(Tuple),
}

/// The cells of a row.
pub(crate) type Tuple = Vec<Cell>;

/// A cell as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    /// A large value that did not change and was not sent.
    Unchanged,
    Text(Bytes),
}

/// Reads one message.
pub(crate) fn decode(data: Bytes) -> Result<Message> {
    let mut input = Input(data);
    let message = match input.byte()? {
        b'R' => Message::Relation(relation(&mut input)?),
        b'I' => {
            let relation = input.u32()?;
            input.expect(b'N')?;
            let new = tuple(&mut input)?;
            Message::Insert { relation, new }
        }
        b'U' => {
            let relation = input.u32()?;
            let (old, mark) = match input.byte()? {
                mark @ (b'K' | b'O') => (Some(old(&mut input, mark)?), input.byte()?),
                mark => (None, mark),
            };
            if mark != b'N' {
                return Err(Malformed("an update without a new row"));
            }
            let new = tuple(&mut input)?;
            Message::Update { relation, old, new }
        }
        b'D' => {
            let relation = input.u32()?;
            let mark = input.byte()?;
            let old = old(&mut input, mark)?;
            Message::Delete { relation, old }
        }
        b'T' => {
            let count = input.u32()?;
            let _options = input.byte()?;
            // Each takes four bytes: a count the message cannot hold is refused before memory is
            // reserved for it.
            let relations = (0..input.fits(count, 4)?)
                .map(|_| input.u32())
                .collect::<Result<_>>()?;
            Message::Truncate { relations }
        }
        b'Y' | b'O' => return Ok(Message::Other),
        _ => return Err(Malformed("an unknown kind of message")),
    };
    if input.0.is_empty() {
        Ok(message)
    } else {
        Err(Malformed("bytes behind the message's end"))
    }
}

fn relation(input: &mut Input) -> Result<Relation> {
    let id = input.u32()?;
    let schema = input.text()?;
    let name = input.text()?;
    let identity = input.byte()?;
    let count = u32::from(input.u16()?);
    let columns = (0..input.fits(count, 10)?)
        .map(|_| {
            let flags = input.byte()?;
            let name = input.text()?;
            let type_oid = input.u32()?;
            let _modifier = input.u32()?;
            Ok(Column {
                identity: flags & 1 == 1,
                name,
                type_oid,
            })
        })
        .collect::<Result<_>>()?;
    Ok(Relation {
        id,
        // The system schema is sent as nothing.
        schema: if schema.is_empty() {
            "pg_catalog".to_owned()
        } else {
            schema
        },
        name,
        identity,
        columns,
    })
}

fn old(input: &mut Input, mark: u8) -> Result<Old> {
    match mark {
        b'K' => Ok(Old::Key(tuple(input)?)),
        b'O' => Ok(Old::Full(tuple(input)?)),
        _ => Err(Malformed("a row before that is neither key nor full")),
    }
}

fn tuple(input: &mut Input) -> Result<Tuple> {
    let count = u32::from(input.u16()?);
    (0..input.fits(count, 1)?)
        .map(|_| match input.byte()? {
            b'n' => Ok(Cell::Null),
            b'u' => Ok(Cell::Unchanged),
            b't' => {
                let length = input.u32()?;
                let length = input.fits(length, 1)?;
                Ok(Cell::Text(input.take(length)?))
            }
            _ => Err(Malformed("an unknown kind of cell")),
        })
        .collect()
}

/// Bytes being read.
struct Input(Bytes);

impl Input {
    fn take(&mut self, count: usize) -> Result<Bytes> {
        if self.0.len() < count {
            return Err(Malformed("it ends too early"));
        }
        Ok(self.0.split_to(count))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes
            .as_ref()
            .try_into()
            .map_err(|_| Malformed("it ends too early"))
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let bytes = self.take(end.ok_or(Malformed("a name without an end"))?)?;
        self.byte()?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Malformed("a name that is not UTF-8"))
    }

    fn expect(&mut self, mark: u8) -> Result<()> {
        if self.byte()? == mark {
            Ok(())
        } else {
            Err(Malformed("an insert without a new row"))
        }
    }

    /// A count of things of at least `size` bytes that the rest of the message can hold.
    fn fits(&self, count: u32, size: usize) -> Result<usize> {
        let count = usize::try_from(count).map_err(|_| Malformed("a count too large"))?;
        match count.checked_mul(size) {
            Some(bytes) if bytes <= self.0.len() => Ok(count),
            _ => Err(Malformed("a count larger than the message")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cell_bytes(cell: &Cell) -> Vec<u8> {
        match cell {
            Cell::Null => b"n".to_vec(),
            Cell::Unchanged => b"u".to_vec(),
            Cell::Text(text) => {
                let mut bytes = b"t".to_vec();
                bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
                bytes.extend(text);
                bytes
            }
        }
    }

    fn tuple_bytes(tuple: &Tuple) -> Vec<u8> {
        let mut bytes = u16::try_from(tuple.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(tuple.iter().flat_map(cell_bytes));
        bytes
    }

    fn old_bytes(old: &Old) -> Vec<u8> {
        let (mark, tuple) = match old {
            Old::Key(tuple) => (b'K', tuple),
            Old::Full(tuple) => (b'O', tuple),
        };
        [vec![mark], tuple_bytes(tuple)].concat()
    }

    fn encode(message: &Message) -> Vec<u8> {
        let mut bytes = Vec::new();
        match message {
            Message::Relation(relation) => {
                bytes.push(b'R');
                bytes.extend(relation.id.to_be_bytes());
                for name in [&relation.schema, &relation.name] {
                    bytes.extend(name.as_bytes());
                    bytes.push(0);
                }
                bytes.push(relation.identity);
                bytes.extend(u16::try_from(relation.columns.len()).unwrap().to_be_bytes());
                for column in &relation.columns {
                    bytes.push(u8::from(column.identity));
                    bytes.extend(column.name.as_bytes());
                    bytes.push(0);
                    bytes.extend(column.type_oid.to_be_bytes());
                    bytes.extend((-1_i32).to_be_bytes());
                }
            }
            Message::Insert { relation, new } => {
                bytes.push(b'I');
                bytes.extend(relation.to_be_bytes());
                bytes.push(b'N');
                bytes.extend(tuple_bytes(new));
            }
            Message::Update { relation, old, new } => {
                bytes.push(b'U');
                bytes.extend(relation.to_be_bytes());
                bytes.extend(old.iter().flat_map(old_bytes));
                bytes.push(b'N');
                bytes.extend(tuple_bytes(new));
            }
            Message::Delete { relation, old } => {
                bytes.push(b'D');
                bytes.extend(relation.to_be_bytes());
                bytes.extend(old_bytes(old));
            }
            Message::Truncate { relations } => {
                bytes.push(b'T');
                bytes.extend(u32::try_from(relations.len()).unwrap().to_be_bytes());
                bytes.push(0);
                bytes.extend(relations.iter().flat_map(|id| id.to_be_bytes()));
            }
            Message::Other => bytes.push(b'Y'),
        }
        bytes
    }

    fn any_tuple() -> impl Strategy<Value = Tuple> {
        let cell = prop_oneof![
            Just(Cell::Null),
            Just(Cell::Unchanged),
            any::<Vec<u8>>().prop_map(|bytes| Cell::Text(Bytes::from(bytes))),
        ];
        prop::collection::vec(cell, 0..6)
    }

    fn any_old() -> impl Strategy<Value = Old> {
        prop_oneof![
            any_tuple().prop_map(Old::Key),
            any_tuple().prop_map(Old::Full)
        ]
    }

    fn any_message() -> impl Strategy<Value = Message> {
        let column =
            (any::<bool>(), "[a-zé ]{0,8}", any::<u32>()).prop_map(|(identity, name, type_oid)| {
                Column {
                    identity,
                    name,
                    type_oid,
                }
            });
        let columns = prop::collection::vec(column, 0..6);
        prop_oneof![
            (
                any::<u32>(),
                "[a-z]{1,8}",
                "[a-z]{0,8}",
                any::<u8>(),
                columns
            )
                .prop_map(|(id, schema, name, identity, columns)| Message::Relation(
                    Relation {
                        id,
                        schema,
                        name,
                        identity,
                        columns,
                    }
                )),
            (any::<u32>(), any_tuple())
                .prop_map(|(relation, new)| Message::Insert { relation, new }),
            (any::<u32>(), prop::option::of(any_old()), any_tuple())
                .prop_map(|(relation, old, new)| Message::Update { relation, old, new }),
            (any::<u32>(), any_old()).prop_map(|(relation, old)| Message::Delete { relation, old }),
            prop::collection::vec(any::<u32>(), 0..6)
                .prop_map(|relations| Message::Truncate { relations }),
            Just(Message::Other),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>, tag in prop::sample::select(&b"RIUDTYOBCM"[..])) {
            let _ = decode(Bytes::from(bytes.clone()));
            let _ = decode(Bytes::from([vec![tag], bytes].concat()));
        }

        #[test]
        fn reads_what_was_written(message in any_message()) {
            prop_assert_eq!(decode(Bytes::from(encode(&message))), Ok(message));
        }

        /// A real message with bytes changed, cut off or added: an answer or an error.
        #[test]
        fn damage_never_panics(
            message in any_message(),
            at: prop::sample::Index,
            byte: u8,
            cut: prop::sample::Index,
        ) {
            let mut bytes = encode(&message);
            let spot = at.index(bytes.len());
            bytes[spot] = byte;
            let _ = decode(Bytes::from(bytes.clone()));
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = decode(Bytes::from(bytes));
        }

        #[test]
        fn a_cut_message_is_refused(message in any_message(), cut: prop::sample::Index) {
            let bytes = encode(&message);
            let length = cut.index(bytes.len());
            let short = Bytes::from(bytes).slice(..length);
            if message != Message::Other {
                prop_assert!(decode(short).is_err());
            }
        }
    }

    #[test]
    fn a_huge_count_reserves_no_memory() {
        let bytes = [b"T".to_vec(), u32::MAX.to_be_bytes().to_vec(), vec![0]].concat();
        assert_eq!(
            decode(Bytes::from(bytes)),
            Err(Malformed("a count larger than the message"))
        );
    }
}
