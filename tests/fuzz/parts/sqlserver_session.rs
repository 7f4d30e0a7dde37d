//! What is sent beside a statement, without the session that sends it.

/// A value of a parameter, as the source has them.
#[allow(dead_code, reason = "the source makes the others")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Parameter {
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Uuid([u8; 16]),
    Null,
}
