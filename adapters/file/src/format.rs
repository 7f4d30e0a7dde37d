//! How an event stands in a file: one line of JSON, or one record of CSV.

use contract::{Outgoing, cloudevent};

/// The two forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    JsonLines,
    Csv,
}

/// The columns of CSV.
const COLUMNS: [&str; 8] = [
    "id",
    "type",
    "subject",
    "op",
    "time",
    "source",
    "idempotencykey",
    "data",
];

impl Format {
    /// The ending of its files' names.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Csv => "csv",
        }
    }

    /// What a new file begins with.
    pub(crate) fn head(self) -> Vec<u8> {
        match self {
            Self::JsonLines => Vec::new(),
            Self::Csv => record(COLUMNS),
        }
    }

    /// The event with its line end.
    pub(crate) fn line(self, event: &Outgoing) -> Vec<u8> {
        match self {
            Self::JsonLines => {
                let mut line = cloudevent::structured(event);
                one_line(&mut line);
                line.push(b'\n');
                line
            }
            Self::Csv => {
                let mut data = event.json.to_vec();
                one_line(&mut data);
                let data = String::from_utf8_lossy(&data).into_owned();
                let attributes = cloudevent::attributes(event);
                record(COLUMNS.map(|column| {
                    let mut attributes = attributes.iter();
                    let found = attributes.find(|(name, _)| *name == column);
                    found.map_or(&*data, |(_, value)| value)
                }))
            }
        }
    }

    /// Whether a text within quotes may hold line ends.
    pub(crate) fn quotes(self) -> bool {
        self == Self::Csv
    }
}

/// Line ends in JSON can only stand between its parts, where a space says the same.
fn one_line(json: &mut [u8]) {
    for byte in json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
}

/// RFC 4180, every field quoted. No byte of it is zero: that is how lost pages are recognised.
fn record(fields: [&str; COLUMNS.len()]) -> Vec<u8> {
    let quoted = fields.map(|field| {
        let field = field.replace('"', "\"\"").replace('\0', "\u{fffd}");
        format!("\"{field}\"")
    });
    let mut line = quoted.join(",").into_bytes();
    line.extend_from_slice(b"\r\n");
    line
}
