//! The words every room of Lighterman shares.
//!
//! A [`Source`] yields [`RowChange`]s, each a [`Row`] of [`Value`]s at a [`Position`]. A mapping
//! turns them into [`Event`]s. A [`Destination`] takes events and reports one [`Outcome`] for
//! each, and [`delivery`] says what state that leads to. [`Finding`]s say what a check found.
//!
//! This crate does no I/O and knows no database, API, file format or runtime.

pub mod behind;
pub mod body;
pub mod canary;
pub mod catalogue;
pub mod change;
pub mod clock;
pub mod cloudevent;
pub mod decimal;
pub mod delivery;
pub mod destination;
pub mod event;
pub mod finding;
pub mod gate;
pub mod listing;
pub mod look;
pub mod position;
pub mod question;
pub mod read_query;
pub mod schema;
pub mod secret;
pub mod section;
pub mod source;
pub mod sql_parameters;
pub mod text;
pub mod trace_context;
pub mod value;
mod words;

pub use behind::{Behind, KeptFor};
pub use body::{Body, BodyError, BodySchema, FieldSchema, FieldType, FieldValue};
pub use canary::{Canary, Proof};
pub use catalogue::{ColumnInfo, ColumnKind, TableInfo};
pub use change::{Op, Row, RowChange, RowKey, TableName, TableShape};
pub use clock::Clock;
pub use decimal::{Decimal, DecimalError};
pub use destination::{
    Answer, BuildDestination, Compared, Destination, DestinationTraits, Outcome, Outgoing, Report,
    Resend, Taken,
};
pub use event::{
    Envelope, Event, EventId, EventKey, EventKind, EventOp, EventType, MappingRef, Origin,
};
pub use finding::{Finding, Level, Place};
pub use gate::{Allowance, Gate, Limits, Points, Rate};
pub use listing::{ListedEntry, ListedPage, NotListed};
pub use look::{Heartbeat, KeptEnd, LogKept, Look};
pub use position::{LogPos, Position};
pub use question::Question;
pub use read_query::{PlacedQuery, ReadQuery, ReadRows};
pub use secret::{Secret, SecretPlace, Secrets};
pub use section::{Key, Node, NodeKind, Problems, Section};
pub use source::{
    BuildSource, CapturedTable, ChangeBatch, ChangeStream, ChunkLimits, Login, Preparation, Resume,
    Sees, SnapshotChunk, SnapshotReader, Source, SourceContext, SourceError, Untold,
};
pub use sql_parameters::{PlacedSql, SqlLexis, SqlProblem, place_parameters};
pub use value::Value;
