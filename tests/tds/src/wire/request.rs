//! The requests of a client that is in.

use super::handler::{Isolation, Transaction};
use super::parameter::{Parameter, parameter};
use super::reader::{Malformed, Reader, text};
use super::types::{Length, Type};
use super::value::Value;

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Request {
    Batch(String),
    Calls(Vec<Call>),
    Transaction {
        first: Transaction,
        then: Option<Transaction>,
    },
}

/// The call of a procedure.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Call {
    pub(super) procedure: Procedure,
    pub(super) parameters: Vec<Parameter>,
}

/// Which procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Procedure {
    ExecuteSql,
    Prepare,
    Execute,
    PrepareExecute,
    Unprepare,
    Named(String),
}

/// The most parameters of a call.
const PARAMETERS_MAX: usize = 2100;

/// Reads the headers before a request: the transaction that the client believes to be in.
pub(super) fn headers(from: &mut Reader<'_>) -> Result<u64, Malformed> {
    let length = from.length()?;
    let rest = length
        .checked_sub(4)
        .ok_or_else(|| Malformed(format!("headers of {length} bytes")))?;
    let mut headers = Reader::new(from.take(rest)?);
    let mut transaction = None;
    while !headers.is_empty() {
        let length = headers.length()?;
        let rest = length
            .checked_sub(4)
            .ok_or_else(|| Malformed(format!("a header of {length} bytes")))?;
        let mut header = Reader::new(headers.take(rest)?);
        match header.u16()? {
            2 => {
                transaction = Some(header.u64()?);
                let outstanding = header.u32()?;
                if outstanding != 1 || !header.is_empty() {
                    return Err(Malformed(format!("{outstanding} requests at once")));
                }
            }
            // Wishes to be told of changes, and traces.
            1 | 3 => {}
            kind => return Err(Malformed(format!("a header of kind {kind}"))),
        }
    }
    transaction.ok_or_else(|| Malformed("a request without its transaction".to_owned()))
}

/// Reads a request of this kind of packet, with its transaction.
pub(super) fn read(kind: u8, body: &[u8]) -> Result<(u64, Request), Malformed> {
    let mut from = Reader::new(body);
    let transaction = headers(&mut from)?;
    let request = match kind {
        0x01 => Request::Batch(text(from.take(from.left())?)?),
        0x03 => Request::Calls(calls(&mut from)?),
        0x0E => transaction_request(&mut from)?,
        0x07 => {
            return Err(Malformed(
                "rows in bulk, which this server does not take".to_owned(),
            ));
        }
        _ => {
            return Err(Malformed(format!(
                "a packet of kind {kind:#04x} after the login"
            )));
        }
    };
    Ok((transaction, request))
}

fn calls(from: &mut Reader<'_>) -> Result<Vec<Call>, Malformed> {
    let mut calls = Vec::new();
    loop {
        calls.push(call(from)?);
        match from.peek() {
            None => return Ok(calls),
            // One ends and another begins; clients may end the last one too.
            Some(0xFF | 0x80) => {
                from.u8()?;
                if from.is_empty() {
                    return Ok(calls);
                }
            }
            Some(other) => return Err(Malformed(format!("{other:#04x} between two calls"))),
        }
        if calls.len() >= 1000 {
            return Err(Malformed("more than 1000 calls in a request".to_owned()));
        }
    }
}

fn call(from: &mut Reader<'_>) -> Result<Call, Malformed> {
    let length = from.u16()?;
    let procedure = if length == u16::MAX {
        match from.u16()? {
            10 => Procedure::ExecuteSql,
            11 => Procedure::Prepare,
            12 => Procedure::Execute,
            13 => Procedure::PrepareExecute,
            15 => Procedure::Unprepare,
            // Cursors, mostly.
            1 => Procedure::Named("sp_cursor".to_owned()),
            2 => Procedure::Named("sp_cursoropen".to_owned()),
            3 => Procedure::Named("sp_cursorprepare".to_owned()),
            4 => Procedure::Named("sp_cursorexecute".to_owned()),
            5 => Procedure::Named("sp_cursorprepexec".to_owned()),
            6 => Procedure::Named("sp_cursorunprepare".to_owned()),
            7 => Procedure::Named("sp_cursorfetch".to_owned()),
            8 => Procedure::Named("sp_cursoroption".to_owned()),
            9 => Procedure::Named("sp_cursorclose".to_owned()),
            14 => Procedure::Named("sp_prepexecrpc".to_owned()),
            number => return Err(Malformed(format!("procedure number {number}"))),
        }
    } else {
        let name = from.utf16(usize::from(length))?;
        let bare = name.rsplit('.').next().unwrap_or_default();
        match bare.trim_matches(['[', ']']).to_ascii_lowercase().as_str() {
            "sp_executesql" => Procedure::ExecuteSql,
            "sp_prepare" => Procedure::Prepare,
            "sp_execute" => Procedure::Execute,
            "sp_prepexec" => Procedure::PrepareExecute,
            "sp_unprepare" => Procedure::Unprepare,
            _ => Procedure::Named(name),
        }
    };
    let _options = from.u16()?;
    let mut parameters = Vec::new();
    while !matches!(from.peek(), None | Some(0xFF | 0x80)) {
        if parameters.len() > PARAMETERS_MAX {
            return Err(Malformed(format!("more than {PARAMETERS_MAX} parameters")));
        }
        parameters.push(parameter(from)?);
    }
    Ok(Call {
        procedure,
        parameters,
    })
}

fn transaction_request(from: &mut Reader<'_>) -> Result<Request, Malformed> {
    let kind = from.u16()?;
    let begin = |from: &mut Reader<'_>| -> Result<Transaction, Malformed> {
        let isolation = match from.u8()? {
            0 => None,
            1 => Some(Isolation::ReadUncommitted),
            2 => Some(Isolation::ReadCommitted),
            3 => Some(Isolation::RepeatableRead),
            4 => Some(Isolation::Serializable),
            5 => Some(Isolation::Snapshot),
            other => return Err(Malformed(format!("isolation level {other}"))),
        };
        Ok(Transaction::Begin {
            isolation,
            name: name(from)?,
        })
    };
    let request = match kind {
        5 => Request::Transaction {
            first: begin(from)?,
            then: None,
        },
        7 | 8 => {
            let name = name(from)?;
            let first = if kind == 7 {
                Transaction::Commit
            } else {
                Transaction::Rollback { name }
            };
            let then = if from.u8()? & 1 != 0 {
                Some(begin(from)?)
            } else {
                None
            };
            Request::Transaction { first, then }
        }
        9 => Request::Transaction {
            first: Transaction::Save { name: name(from)? },
            then: None,
        },
        _ => return Err(Malformed(format!("request {kind} about the transaction"))),
    };
    if !from.is_empty() {
        return Err(Malformed(format!(
            "{} bytes after request {kind}",
            from.left()
        )));
    }
    Ok(request)
}

/// The name of a transaction, whose length is told in bytes.
fn name(from: &mut Reader<'_>) -> Result<String, Malformed> {
    let bytes = usize::from(from.u8()?);
    text(from.take(bytes)?)
}

/// The text of a parameter that must be one.
pub(super) fn text_of(parameter: Option<&Parameter>) -> Result<String, Malformed> {
    match parameter.map(|parameter| &parameter.value) {
        Some(Value::Text(text)) => Ok(text.clone()),
        Some(Value::Null) => Ok(String::new()),
        other => Err(Malformed(format!("a text is expected, not {other:?}"))),
    }
}

/// The number of a parameter that must be one.
pub(super) fn number_of(parameter: Option<&Parameter>) -> Result<i32, Malformed> {
    match parameter.map(|parameter| &parameter.value) {
        Some(Value::Int(number)) => Ok(*number),
        other => Err(Malformed(format!("a number is expected, not {other:?}"))),
    }
}

/// Gives values without a name the names that were declared for them, in order; and NULLs their types, which
/// some clients say nowhere else.
pub(super) fn name_by_declaration(declaration: &str, parameters: &mut [Parameter]) {
    let mut depth = 0_usize;
    let pieces = declaration.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    for (piece, parameter) in pieces.zip(parameters) {
        let mut words = piece.split_whitespace();
        let name = words.next().unwrap_or_default();
        if parameter.name.is_empty() {
            name.clone_into(&mut parameter.name);
        }
        let declared = words.next().and_then(declared);
        if let (Value::Null, Some(kind)) = (&parameter.value, declared) {
            parameter.kind = kind;
        }
    }
}

/// The type of a NULL by its declaration: those whose sizes matter to no NULL.
fn declared(kind: &str) -> Option<Type> {
    let name = kind.split('(').next()?.to_ascii_lowercase();
    Some(match name.as_str() {
        "bit" => Type::Bit,
        "int" => Type::Int,
        "bigint" => Type::BigInt,
        "float" => Type::Float,
        "nvarchar" => Type::NVarChar(Length::Max),
        "varbinary" => Type::VarBinary(Length::Max),
        "uniqueidentifier" => Type::UniqueIdentifier,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::types::Collation;

    #[test]
    fn values_take_the_declared_names() {
        let unnamed = Parameter {
            name: String::new(),
            kind: Type::Int,
            collation: Collation::LATIN1,
            value: Value::Null,
            output: false,
        };
        let mut parameters = vec![unnamed.clone(), unnamed];
        name_by_declaration("@a decimal(10, 2), @b nvarchar(5)", &mut parameters);
        assert_eq!(parameters[0].name, "@a");
        assert_eq!(parameters[1].name, "@b");
        assert_eq!(parameters[1].kind, Type::NVarChar(Length::Max));
    }
}
