//! The one list of sources and destinations.
//!
//! A new adapter is a folder under `adapters/`, a line here and a line in this crate's manifest.

use contract::{BuildDestination, BuildSource, Question, Secrets, Section};

/// A kind of source.
pub struct SourceKind {
    /// Its `type` in the settings.
    pub name: &'static str,
    /// What it is, for a person who chooses.
    pub title: &'static str,
    /// A commented settings block.
    pub example: &'static str,
    /// What a guided set-up asks.
    pub questions: &'static [Question],
    /// What a mapping says about it and where its tables stand.
    pub mapping: &'static str,
    /// Reads its own settings.
    pub read: fn(&mut Section<'_>, &dyn Secrets) -> Option<BuildSource>,
}

/// A kind of destination.
pub struct DestinationKind {
    /// Its `type` in the settings.
    pub name: &'static str,
    /// What it is, for a person who chooses.
    pub title: &'static str,
    /// A commented settings block.
    pub example: &'static str,
    /// What a guided set-up asks.
    pub questions: &'static [Question],
    /// Reads its own settings.
    pub read: fn(&mut Section<'_>, &dyn Secrets) -> Option<BuildDestination>,
}

/// Every kind of source.
pub const SOURCES: &[SourceKind] = &[
    SourceKind {
        name: source_mysql::NAME,
        title: "MySQL and MariaDB",
        example: source_mysql::EXAMPLE,
        questions: source_mysql::QUESTIONS,
        mapping: "source: mysql\nschema: erp                      # the database that the tables stand in",
        read: source_mysql::read,
    },
    SourceKind {
        name: source_postgres::NAME,
        title: "PostgreSQL",
        example: source_postgres::EXAMPLE,
        questions: source_postgres::QUESTIONS,
        mapping: "source: postgres",
        read: source_postgres::read,
    },
    SourceKind {
        name: source_sqlite::NAME,
        title: "SQLite, through triggers",
        example: source_sqlite::EXAMPLE,
        questions: source_sqlite::QUESTIONS,
        mapping: "source: sqlite",
        read: source_sqlite::read,
    },
    SourceKind {
        name: source_sqlserver::NAME,
        title: "SQL Server and Azure SQL",
        example: source_sqlserver::EXAMPLE,
        questions: source_sqlserver::QUESTIONS,
        mapping: "source: sqlserver",
        read: source_sqlserver::read,
    },
];

/// Every kind of destination.
pub const DESTINATIONS: &[DestinationKind] = &[
    DestinationKind {
        name: destination_webhook::NAME,
        title: "signed HTTP requests to an address of yours",
        example: destination_webhook::EXAMPLE,
        questions: destination_webhook::QUESTIONS,
        read: destination_webhook::read,
    },
    DestinationKind {
        name: destination_file::NAME,
        title: "files in a folder, as JSON lines or CSV",
        example: destination_file::EXAMPLE,
        questions: destination_file::QUESTIONS,
        read: destination_file::read,
    },
    #[cfg(feature = "redis")]
    DestinationKind {
        name: destination_redis::NAME,
        title: "Redis Streams",
        example: destination_redis::EXAMPLE,
        questions: destination_redis::QUESTIONS,
        read: destination_redis::read,
    },
    #[cfg(feature = "kafka")]
    DestinationKind {
        name: destination_kafka::NAME,
        title: "Kafka and what speaks its protocol",
        example: destination_kafka::EXAMPLE,
        questions: destination_kafka::QUESTIONS,
        read: destination_kafka::read,
    },
    #[cfg(feature = "amqp")]
    DestinationKind {
        name: destination_amqp::NAME,
        title: "RabbitMQ and other brokers of AMQP 0.9.1",
        example: destination_amqp::EXAMPLE,
        questions: destination_amqp::QUESTIONS,
        read: destination_amqp::read,
    },
    #[cfg(feature = "mqtt")]
    DestinationKind {
        name: destination_mqtt::NAME,
        title: "MQTT 5",
        example: destination_mqtt::EXAMPLE,
        questions: destination_mqtt::QUESTIONS,
        read: destination_mqtt::read,
    },
    #[cfg(feature = "nats")]
    DestinationKind {
        name: destination_nats::NAME,
        title: "NATS JetStream",
        example: destination_nats::EXAMPLE,
        questions: destination_nats::QUESTIONS,
        read: destination_nats::read,
    },
    DestinationKind {
        name: destination_channel::NAME,
        title: "a destination file of your own",
        example: destination_channel::EXAMPLE,
        questions: destination_channel::QUESTIONS,
        read: destination_channel::read,
    },
    DestinationKind {
        name: destination_null::NAME,
        title: "nowhere: every event is taken and forgotten",
        example: destination_null::EXAMPLE,
        questions: destination_null::QUESTIONS,
        read: destination_null::read,
    },
];
