//! A statement in the log
//! (<https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html>).

use bytes::Bytes;

use super::input::Input;
use super::{Hidden, Result, compressed, malformed};

/// A statement, or the border of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The session that ran it.
    pub(crate) thread: u32,
    /// How it ended on the server: 0 = well.
    pub(crate) error: u16,
    /// The session's default schema, empty = none.
    pub(crate) schema: String,
    /// The number of a collation of the character set that the text is written in.
    pub(crate) collation: Option<u16>,
    /// Bits of the session's `sql_mode`.
    pub(crate) sql_mode: Option<u64>,
    /// The statement, in the session's character set.
    pub(crate) text: Hidden,
}

/// The fixed part.
struct Head<'a> {
    thread: u32,
    error: u16,
    variables: &'a [u8],
    schema: &'a [u8],
}

impl Query {
    pub(super) fn read(body: &Bytes) -> Result<Self> {
        let mut input = Input(body);
        let head = Head::read(&mut input, 0)?;
        Self::of(&head, body.slice(body.len() - input.left()..))
    }

    /// `LOAD DATA` in statement format: a file's number, where its name stands in the text, and what
    /// becomes of rows that are there twice come before the session's variables.
    pub(super) fn read_load(body: &Bytes) -> Result<Self> {
        let mut input = Input(body);
        let head = Head::read(&mut input, 4 + 4 + 4 + 1)?;
        Self::of(&head, body.slice(body.len() - input.left()..))
    }

    /// As MariaDB writes it with `log_bin_compress`.
    pub(super) fn read_compressed(body: &Bytes) -> Result<Self> {
        let mut input = Input(body);
        let head = Head::read(&mut input, 0)?;
        Self::of(&head, Bytes::from(compressed::unpack(input.rest())?))
    }

    fn of(head: &Head<'_>, text: Bytes) -> Result<Self> {
        let schema = std::str::from_utf8(head.schema)
            .map_err(|_| malformed("the name of a schema that is not UTF-8"))?;
        let (collation, sql_mode) = variables(head.variables)?;
        Ok(Self {
            thread: head.thread,
            error: head.error,
            schema: schema.to_owned(),
            collation,
            sql_mode,
            text: Hidden(text),
        })
    }

    /// Whether `"` quotes a name instead of a text.
    pub(crate) fn has_ansi_quotes(&self) -> bool {
        const ANSI_QUOTES: u64 = 4;
        self.sql_mode.is_some_and(|mode| mode & ANSI_QUOTES != 0)
    }

    /// Whether `\` is a character like others.
    pub(crate) fn has_no_escapes(&self) -> bool {
        const NO_BACKSLASH_ESCAPES: u64 = 1 << 20;
        self.sql_mode
            .is_some_and(|mode| mode & NO_BACKSLASH_ESCAPES != 0)
    }
}

impl<'a> Head<'a> {
    /// With so many bytes of another fixed part.
    fn read(input: &mut Input<'a>, more: usize) -> Result<Self> {
        let thread = input.u32()?;
        let _seconds = input.u32()?;
        let schema = usize::from(input.u8()?);
        let error = input.u16()?;
        let variables = usize::from(input.u16()?);
        input.take(more)?;
        let variables = input.take(variables)?;
        let schema = input.take(schema)?;
        if input.u8()? != 0 {
            return Err(malformed("the name of a schema without its end"));
        }
        Ok(Self {
            thread,
            error,
            variables,
            schema,
        })
    }
}

/// Character set and SQL mode among the session's variables. The list ends at one that is not
/// known, as servers themselves read it: how long it is, nobody says.
fn variables(bytes: &[u8]) -> Result<(Option<u16>, Option<u64>)> {
    let mut input = Input(bytes);
    let (mut collation, mut sql_mode) = (None, None);
    while !input.is_empty() {
        let short = |input: &mut Input<'_>, more: usize| {
            let length = usize::from(input.u8()?);
            input.take(length + more).map(|_| ())
        };
        match input.u8()? {
            1 => sql_mode = Some(input.u64()?),
            4 => {
                collation = Some(input.u16()?);
                input.take(4)?;
            }
            // A length and a text; the oldest kind has a zero byte behind it.
            2 => short(&mut input, 1)?,
            5 | 6 => short(&mut input, 0)?,
            7 | 8 | 18 => input.take(2).map(|_| ())?,
            0 | 3 | 10 => input.take(4).map(|_| ())?,
            9 | 17 | 129 => input.take(8).map(|_| ())?,
            // User and host.
            11 => {
                short(&mut input, 0)?;
                short(&mut input, 0)?;
            }
            12 => schemas(&mut input)?,
            13 | 128 => input.take(3).map(|_| ())?,
            16 | 19 | 20 => input.take(1).map(|_| ())?,
            _ => break,
        }
    }
    Ok((collation, sql_mode))
}

/// The names of the schemas that the statement wrote to; more than 16 are not listed.
fn schemas(input: &mut Input<'_>) -> Result<()> {
    const TOO_MANY: u8 = 254;
    let count = input.u8()?;
    if count == TOO_MANY {
        return Ok(());
    }
    for _ in 0..count {
        let end = input.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or(malformed("the name of a schema without its end"))?;
        input.take(end + 1)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(variables: &[u8], schema: &[u8], text: &[u8]) -> Bytes {
        let mut out = vec![7, 0, 0, 0, 0, 0, 0, 0];
        out.push(u8::try_from(schema.len()).unwrap());
        out.extend([5, 1]);
        out.extend(u16::try_from(variables.len()).unwrap().to_le_bytes());
        out.extend(variables);
        out.extend(schema);
        out.push(0);
        out.extend(text);
        Bytes::from(out)
    }

    #[test]
    fn character_set_and_mode_are_found_behind_every_other_variable() {
        let all = [
            &b"\x00\0\0\0\0\x06\x03std\x02\x03std\0\x03\0\0\0\0\x05\x06SYSTEM\x07\0\0\x08\0\0"[..],
            b"\x09\0\0\0\0\0\0\0\0\x0a\0\0\0\0\x0b\x04root\x09localhost\x0c\x02ab\0c\0",
            b"\x0c\xfe\x0d\0\0\0\x10\0\x11\0\0\0\0\0\0\0\0\x12\0\0\x13\0\x14\0\x80\0\0\0",
            b"\x81\0\0\0\0\0\0\0\0\x01\x04\0\x10\0\0\0\0\0\x04\x2d\x01\0\0\0\0\xf0what",
        ]
        .concat();
        let query = Query::read(&body(&all, b"shop", b"BEGIN")).unwrap();
        assert_eq!(query.schema, "shop");
        assert_eq!(&query.text.0[..], b"BEGIN");
        assert_eq!((query.thread, query.error), (7, 261));
        assert_eq!(query.collation, Some(0x012d));
        assert!(query.has_ansi_quotes() && query.has_no_escapes());
        let cut = Query::read(&body(b"\x01\0\0", b"", b""));
        assert!(cut.is_err());
    }
}
