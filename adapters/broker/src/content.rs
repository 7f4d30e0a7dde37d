//! The two CloudEvents content modes.

use contract::{Outgoing, Section, cloudevent};

/// Where an event's attributes stand: in the JSON beside its data, or in the protocol's own headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// One JSON text with all of it.
    Structured,
    /// Attributes as headers, the data alone as what is sent.
    Binary,
}

impl Content {
    /// Reads `content`.
    pub fn read(section: &mut Section<'_>) -> Self {
        match section.word_or("content", &["structured", "binary"], "structured") {
            "binary" => Self::Binary,
            _ => Self::Structured,
        }
    }

    /// The content type of what is sent.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Structured => cloudevent::STRUCTURED,
            Self::Binary => cloudevent::DATA,
        }
    }

    /// What is sent.
    pub fn payload(self, event: &Outgoing) -> Vec<u8> {
        match self {
            Self::Structured => cloudevent::structured(event),
            Self::Binary => event.json.to_vec(),
        }
    }

    /// The attributes that stand in headers, under their names with the protocol's prefix.
    pub fn headers(self, event: &Outgoing, prefix: &str) -> Vec<(String, String)> {
        let attributes = match self {
            Self::Structured => return Vec::new(),
            Self::Binary => cloudevent::attributes(event),
        };
        let named = attributes.into_iter();
        named
            .map(|(name, value)| (format!("{prefix}{name}"), value))
            .collect()
    }
}
