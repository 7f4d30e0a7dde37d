//! Servers that the seeds of one job share, each started when it is first needed.

use std::cell::OnceCell;
use std::sync::Arc;

use harness::brokers::{Mosquitto, Nats, Rabbit, Redis, Tansu};
use harness::mariadb::{MariadbOptions, MariadbServer};
use harness::postgres::PostgresServer;

/// A job plays its seeds one after the other, so what happens to a whole server (a log that is purged) happens to one
/// seed. Servers to which nothing happens as a whole are shared by all jobs.
#[derive(Default)]
pub struct Servers {
    postgres: OnceCell<Arc<PostgresServer>>,
    mariadb: OnceCell<Arc<MariadbServer>>,
    nats: OnceCell<Nats>,
    redis: OnceCell<Redis>,
    rabbit: OnceCell<Rabbit>,
    mosquitto: OnceCell<Mosquitto>,
    tansu: OnceCell<Tansu>,
}

impl Servers {
    pub fn postgres(&self) -> Arc<PostgresServer> {
        Arc::clone(self.postgres.get_or_init(PostgresServer::shared))
    }

    pub fn mariadb(&self) -> Arc<MariadbServer> {
        let start = || Arc::new(MariadbServer::start(MariadbOptions::default()));
        Arc::clone(self.mariadb.get_or_init(start))
    }

    pub fn nats(&self) -> &Nats {
        self.nats.get_or_init(Nats::start)
    }

    pub fn redis(&self) -> &Redis {
        self.redis.get_or_init(Redis::start)
    }

    pub fn rabbit(&self) -> &Rabbit {
        self.rabbit.get_or_init(Rabbit::start)
    }

    pub fn mosquitto(&self) -> &Mosquitto {
        self.mosquitto.get_or_init(Mosquitto::start)
    }

    pub fn tansu(&self) -> &Tansu {
        self.tansu.get_or_init(Tansu::start)
    }
}
