//! The one list of sources and destinations.
//!
//! A new adapter is a folder under `adapters/`, a line here and a line in this crate's manifest.

use contract::{BuildDestination, BuildSource, Secrets, Section};

/// A kind of source.
pub struct SourceKind {
    /// Its `type` in the settings.
    pub name: &'static str,
    /// A commented settings block.
    pub example: &'static str,
    /// What a mapping says about it and where its tables stand.
    pub mapping: &'static str,
    /// Reads its own settings.
    pub read: fn(&mut Section<'_>, &dyn Secrets) -> Option<BuildSource>,
}

/// A kind of destination.
pub struct DestinationKind {
    /// Its `type` in the settings.
    pub name: &'static str,
    /// A commented settings block.
    pub example: &'static str,
    /// Reads its own settings.
    pub read: fn(&mut Section<'_>, &dyn Secrets) -> Option<BuildDestination>,
}

/// Every kind of source.
pub const SOURCES: &[SourceKind] = &[
    SourceKind {
        name: source_mysql::NAME,
        example: source_mysql::EXAMPLE,
        mapping: "source: mysql\nschema: erp                      # the database that the tables stand in",
        read: source_mysql::read,
    },
    SourceKind {
        name: source_postgres::NAME,
        example: source_postgres::EXAMPLE,
        mapping: "source: postgres",
        read: source_postgres::read,
    },
    SourceKind {
        name: source_sqlite::NAME,
        example: source_sqlite::EXAMPLE,
        mapping: "source: sqlite",
        read: source_sqlite::read,
    },
    SourceKind {
        name: source_sqlserver::NAME,
        example: source_sqlserver::EXAMPLE,
        mapping: "source: sqlserver",
        read: source_sqlserver::read,
    },
];

/// Every kind of destination.
pub const DESTINATIONS: &[DestinationKind] = &[
    DestinationKind {
        name: destination_webhook::NAME,
        example: destination_webhook::EXAMPLE,
        read: destination_webhook::read,
    },
    DestinationKind {
        name: destination_channel::NAME,
        example: destination_channel::EXAMPLE,
        read: destination_channel::read,
    },
    DestinationKind {
        name: destination_file::NAME,
        example: destination_file::EXAMPLE,
        read: destination_file::read,
    },
    #[cfg(feature = "redis")]
    DestinationKind {
        name: destination_redis::NAME,
        example: destination_redis::EXAMPLE,
        read: destination_redis::read,
    },
    #[cfg(feature = "kafka")]
    DestinationKind {
        name: destination_kafka::NAME,
        example: destination_kafka::EXAMPLE,
        read: destination_kafka::read,
    },
    #[cfg(feature = "amqp")]
    DestinationKind {
        name: destination_amqp::NAME,
        example: destination_amqp::EXAMPLE,
        read: destination_amqp::read,
    },
    #[cfg(feature = "mqtt")]
    DestinationKind {
        name: destination_mqtt::NAME,
        example: destination_mqtt::EXAMPLE,
        read: destination_mqtt::read,
    },
    #[cfg(feature = "nats")]
    DestinationKind {
        name: destination_nats::NAME,
        example: destination_nats::EXAMPLE,
        read: destination_nats::read,
    },
    DestinationKind {
        name: destination_null::NAME,
        example: destination_null::EXAMPLE,
        read: destination_null::read,
    },
];
