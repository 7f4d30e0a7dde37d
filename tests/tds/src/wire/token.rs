//! The tokens of answers that are neither columns nor rows.

use super::answer::ServerError;
use super::encode::{Unfit, long_text, narrow, short_text};
use super::types::Collation;

pub(super) const DONE: u8 = 0xFD;
pub(super) const DONE_PROC: u8 = 0xFE;
pub(super) const DONE_IN_PROC: u8 = 0xFF;

pub(super) const MORE: u16 = 0x01;
pub(super) const ERROR: u16 = 0x02;
pub(super) const COUNT: u16 = 0x10;
pub(super) const ATTENTION: u16 = 0x20;
pub(super) const SERVER_ERROR: u16 = 0x100;

/// The statement that ended, as far as clients care.
pub(super) const SELECT: u16 = 0xC1;
pub(super) const UPDATE: u16 = 0xC5;

/// Writes one of the tokens that end something.
pub(super) fn done(out: &mut Vec<u8>, token: u8, status: u16, command: u16, rows: u64) {
    out.push(token);
    out.extend(status.to_le_bytes());
    out.extend(command.to_le_bytes());
    out.extend(rows.to_le_bytes());
}

/// Writes an error, or a message.
pub(super) fn message(
    out: &mut Vec<u8>,
    is_error: bool,
    error: &ServerError,
    server: &str,
) -> Result<(), Unfit> {
    let mut body = Vec::new();
    body.extend(error.number.to_le_bytes());
    body.extend([error.state, error.class]);
    long_text(&mut body, &error.text)?;
    short_text(&mut body, server)?;
    short_text(&mut body, &error.procedure)?;
    body.extend(error.line.to_le_bytes());
    sized(out, if is_error { 0xAA } else { 0xAB }, &body)
}

fn sized(out: &mut Vec<u8>, token: u8, body: &[u8]) -> Result<(), Unfit> {
    out.push(token);
    let length: u16 = narrow(body.len(), "a token")?;
    out.extend(length.to_le_bytes());
    out.extend(body);
    Ok(())
}

/// Writes that something of the connection changed, both values as texts.
pub(super) fn changed_text(out: &mut Vec<u8>, what: u8, new: &str, old: &str) -> Result<(), Unfit> {
    let mut body = vec![what];
    short_text(&mut body, new)?;
    short_text(&mut body, old)?;
    sized(out, 0xE3, &body)
}

/// Writes that something of the connection changed, both values as bytes.
pub(super) fn changed(out: &mut Vec<u8>, what: u8, new: &[u8], old: &[u8]) -> Result<(), Unfit> {
    let mut body = vec![what];
    for bytes in [new, old] {
        body.push(narrow(bytes.len(), "a value")?);
        body.extend(bytes);
    }
    sized(out, 0xE3, &body)
}

/// Writes that the client is to go to another server, by TCP.
pub(super) fn routed(out: &mut Vec<u8>, host: &str, port: u16) -> Result<(), Unfit> {
    let mut place = vec![0];
    place.extend(port.to_le_bytes());
    long_text(&mut place, host)?;
    let mut body = vec![20];
    let length: u16 = narrow(place.len(), "a route")?;
    body.extend(length.to_le_bytes());
    body.extend(place);
    // There is no old one.
    body.extend([0, 0]);
    sized(out, 0xE3, &body)
}

/// Writes that the collation changed.
pub(super) fn changed_collation(out: &mut Vec<u8>, new: Collation) -> Result<(), Unfit> {
    changed(out, 7, &new.bytes(), &[])
}

/// Writes the name and version of the server, and the version of the protocol that is spoken.
pub(super) fn login_ack(out: &mut Vec<u8>, protocol: u32, version: [u8; 4]) -> Result<(), Unfit> {
    let mut body = vec![1];
    body.extend(protocol.to_be_bytes());
    short_text(&mut body, "Microsoft SQL Server\0\0")?;
    body.extend(version);
    sized(out, 0xAD, &body)
}

/// Writes which of the features that were asked for are there.
pub(super) fn features(out: &mut Vec<u8>, features: &[(u8, &[u8])]) -> Result<(), Unfit> {
    out.push(0xAE);
    for (feature, data) in features {
        out.push(*feature);
        let length: u32 = narrow(data.len(), "a feature")?;
        out.extend(length.to_le_bytes());
        out.extend(*data);
    }
    out.push(0xFF);
    Ok(())
}

/// Writes the bytes of an integrated login.
pub(super) fn sspi(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Unfit> {
    sized(out, 0xED, bytes)
}

/// Writes the status that a procedure returned.
pub(super) fn returned(out: &mut Vec<u8>, status: i32) {
    out.push(0x79);
    out.extend(status.to_le_bytes());
}
