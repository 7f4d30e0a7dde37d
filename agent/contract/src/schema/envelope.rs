//! The parts of the envelope, in the order `Event` is serialised in. A test compares this table
//! with real events, so a part cannot be added on one side only.

use crate::event::EventKind;

/// What a part holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Id,
    TypeName,
    Minor,
    Text,
    Key,
    Version,
    Op,
    Reason,
    Origin,
    Moment,
    Truth,
    Digits,
    Mapping,
    BodyDigest,
    Texts,
    Body,
}

impl Shape {
    /// The plain name, for the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Id | Self::TypeName | Self::Text | Self::Digits | Self::BodyDigest => "text",
            Self::Op | Self::Reason | Self::Origin => "word",
            Self::Minor => "whole number",
            Self::Key | Self::Version | Self::Mapping | Self::Body => "object",
            Self::Moment => "timestamp",
            Self::Truth => "bool",
            Self::Texts => "list of texts",
        }
    }
}

/// When a part is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Always,
    Sometimes,
    /// In every tombstone, and nowhere else.
    Tombstone,
    /// In everything but tombstones.
    NoTombstone,
    /// In an upsert whose row was told under another key before.
    Renamed,
}

impl Presence {
    /// The plain name, for the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Always => "yes",
            Self::Sometimes => "no",
            Self::Tombstone => "if `op` is `delete`",
            Self::NoTombstone => "unless `op` is `delete`",
            Self::Renamed => "if its row had another key before",
        }
    }
}

/// A part of the envelope.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) shape: Shape,
    pub(super) presence: Presence,
    pub(super) meaning: &'static str,
}

impl Part {
    /// Facts have no tombstones, and so no reason for one; a fact whose key changes is held.
    pub(super) fn belongs_to(&self, kind: EventKind) -> bool {
        let of_states = matches!(self.presence, Presence::Tombstone | Presence::Renamed);
        kind == EventKind::State || !of_states
    }
}

const fn part(name: &'static str, shape: Shape, presence: Presence, meaning: &'static str) -> Part {
    Part {
        name,
        shape,
        presence,
        meaning,
    }
}

use Presence::{Always, NoTombstone, Renamed, Sometimes, Tombstone};

/// Every part, in wire order.
pub(super) const PARTS: &[Part] = &[
    part(
        "id",
        Shape::Id,
        Always,
        "id of the event: the same state of the source gives the same id on every attempt, replay \
         and machine",
    ),
    part(
        "type",
        Shape::TypeName,
        Always,
        "event type with its major version",
    ),
    part(
        "schema_minor",
        Shape::Minor,
        Always,
        "minor version of the event type the sender used",
    ),
    part(
        "tenant",
        Shape::Text,
        Always,
        "whose data it is, from the agent's settings",
    ),
    part(
        "source",
        Shape::Text,
        Always,
        "name of the source in the agent's settings",
    ),
    part(
        "key",
        Shape::Key,
        Always,
        "what the event is about: the parts of the type's key, all of them texts, company first",
    ),
    part(
        "renamed_from",
        Shape::Key,
        Renamed,
        "the key under which the same row was told before; a tombstone of that key comes with this \
         event",
    ),
    part(
        "version",
        Shape::Version,
        Always,
        "orders the events of one key: compare `epoch`, then `pos`, then `seq`",
    ),
    part(
        "op",
        Shape::Op,
        Always,
        "what the event does to its key at the receiver",
    ),
    part("reason", Shape::Reason, Tombstone, "why the key is gone"),
    part(
        "origin",
        Shape::Origin,
        Always,
        "why the event was made; receivers treat all alike, it is for audits",
    ),
    part(
        "occurred_at",
        Shape::Moment,
        Always,
        "when the change was committed at the source; when it was read, if `occurred_at_exact` is \
         false",
    ),
    part(
        "occurred_at_exact",
        Shape::Truth,
        Always,
        "whether the source told the moment of its commit",
    ),
    part(
        "read_at",
        Shape::Moment,
        Always,
        "when the agent read the change",
    ),
    part(
        "transaction",
        Shape::Digits,
        Sometimes,
        "number of the source's transaction, in digits; left out where the source has none",
    ),
    part(
        "mapping",
        Shape::Mapping,
        Always,
        "the mapping that made the event",
    ),
    part(
        "idempotency_key",
        Shape::Text,
        Always,
        "what a receiver stores to recognise what it holds: for states the `id`, with `/r` and a \
         number behind it when it is replayed on purpose; for facts company, table and row key of \
         the source, which a correction shares with its fact",
    ),
    part(
        "body_digest",
        Shape::BodyDigest,
        Always,
        "digest of the body, equal for equal bodies; `tombstone` where there is none",
    ),
    part(
        "warnings",
        Shape::Texts,
        Sometimes,
        "what looked odd and did not stop the event",
    ),
    part(
        "body",
        Shape::Body,
        NoTombstone,
        "the fields of the event type",
    ),
];

/// The parts of `version`.
pub(super) const VERSION: &[(&str, &str)] = &[
    (
        "epoch",
        "number that rises whenever the source's positions start anew, as after a restore",
    ),
    (
        "pos",
        "position in the source's log, as a text whose order, byte by byte, is the log's order",
    ),
    ("seq", "ordinal of the change inside its transaction"),
];

/// The parts of `mapping`.
pub(super) const MAPPING: &[(&str, &str)] = &[
    ("pack", "name of the mapping file's pack"),
    ("version", "version of the pack"),
    ("digest", "digest of the mapping file's bytes"),
    ("rule", "the rule in the file, its `id`"),
];
