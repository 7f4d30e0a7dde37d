//! A private MariaDB server beside the agent.

use std::process::{Command, Stdio};
use std::time::Instant;

use harness::backlog::mariadb as backlog;
use harness::mariadb::{MariadbOptions, MariadbServer, program};
use mysql_async::prelude::Queryable as _;

use crate::drain::{BATCH, MAPPING, first_load, received};
use crate::options::Options;
use crate::place::Place;
use crate::sink::Sink;
use crate::table::{Round, print};

pub struct Mariadb {
    pub server: MariadbServer,
    pub place: Place,
}

impl Mariadb {
    /// A server with a database `erp` set up by `tables`, and an agent prepared for `mapping`.
    pub async fn new(tables: &str, mapping: &str) -> Self {
        let options = MariadbOptions::default()
            .setting("innodb_buffer_pool_size=512M")
            .setting("innodb_log_file_size=1G")
            .setting("max_binlog_size=1G");
        let server = MariadbServer::start(options);
        server
            .run(&format!("CREATE DATABASE erp; USE erp; {tables}"))
            .await;
        let source = format!(
            "type = \"mysql\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"root\"\n",
            server.port()
        );
        let place = Place::new(&source, mapping);
        Self { server, place }
    }

    /// Waits until the agent has read and stored all that is in the log now, and delivered it.
    pub async fn caught_up(&self) {
        let (file, offset, ..): (String, u64, String, String) =
            self.server.ask("SHOW MASTER STATUS").await;
        let number = file.rsplit('.').next().unwrap_or_default();
        let end = format!("{number:0>10}:{offset:016x}");
        self.place
            .until(&end, |status| {
                let source = &status["sources"][0];
                let position = source["checkpoint"].as_str().unwrap_or_default();
                // `epoch/life:file:offset,..`
                let here = position.splitn(3, [':', '/']).nth(2).unwrap_or_default();
                let behind = &status["destinations"][0]["backlog"];
                source["snapshot_done"] == 1 && here >= end.as_str() && *behind == 0
            })
            .await;
    }
}

/// The mapping of PostgreSQL's backlog, for MariaDB's.
fn mapping() -> String {
    let here = MAPPING.replace("source: postgres", "source: mysql\nschema: erp");
    here.replace("public.stock", "stock")
}

async fn filled(rows: u64, sink: &Sink) -> Mariadb {
    let erp = Mariadb::new(
        &format!("{}; {}", backlog::TABLE, backlog::rows(rows)),
        &mapping(),
    )
    .await;
    erp.place.deliver_to(&sink.url, BATCH, "");
    erp
}

/// A backlog: the agent beside `mariadb-binlog` as text, counted at the receiver.
pub async fn drain(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let erp = filled(rows, &sink).await;
    let place = &erp.place;
    first_load(place, &sink, rows).await;
    let mut db = erp.server.connect(Some("erp")).await;
    db.query_drop(backlog::PROCEDURE).await.unwrap();
    db.query_drop("FLUSH BINARY LOGS").await.unwrap();
    db.query_drop(format!("CALL backlog({rows}, 100)"))
        .await
        .unwrap();
    let (file, ..): (String, u64, String, String) = erp.server.ask("SHOW MASTER STATUS").await;
    place.keep();
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("drain_mariadb: round {round} of {}", options.rounds);
        let limit = backlog::limit(&erp.server, &file);
        let mut runs = Vec::new();
        for _ in 0..2 {
            place.back();
            runs.push(received(place, &sink, rows).await);
        }
        let [first, second] = runs.try_into().ok().unwrap();
        rounds.push(Round {
            limit_seconds: limit.as_secs_f64(),
            first,
            second,
        });
    }
    print("drain_mariadb", "mariadb-binlog", rows, &rounds);
}

/// The first reading of a table, beside the client that asks for all of it.
pub async fn snapshot(options: &Options) {
    let rows = options.rows;
    let sink = Sink::start();
    let erp = filled(rows, &sink).await;
    let place = &erp.place;
    let mut rounds = Vec::new();
    for round in 1..=options.rounds {
        println!("snapshot_mariadb: round {round} of {}", options.rounds);
        let limit_seconds = select(&erp);
        place.anew();
        let first = received(place, &sink, rows).await;
        place.anew();
        let second = received(place, &sink, rows).await;
        rounds.push(Round {
            limit_seconds,
            first,
            second,
        });
    }
    print("snapshot_mariadb", "SELECT", rows, &rounds);
}

fn select(erp: &Mariadb) -> f64 {
    let began = Instant::now();
    let status = Command::new(program("mariadb"))
        .args([
            "--no-defaults",
            "--protocol=tcp",
            "-h127.0.0.1",
            "-uroot",
            "--skip-ssl",
        ])
        .args(["--quick", "--batch", "--skip-column-names"])
        .arg(format!("-P{}", erp.server.port()))
        .args(["erp", "-e", "SELECT * FROM stock"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed().as_secs_f64()
}
