//! MariaDB's backlog, and `mariadb-binlog`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::mariadb::{MariadbServer, program};

/// A table of stock.
pub const TABLE: &str = "
    CREATE TABLE stock (item_id int, warehouse_id int, bin varchar(32), on_hand numeric(18,4),
        allocated numeric(18,4), updated_at datetime(6), note varchar(200),
        PRIMARY KEY (item_id, warehouse_id))";

/// A procedure that changes each row of the table once, in an order that hits pages at random.
pub const PROCEDURE: &str = "
    CREATE PROCEDURE backlog(n int, per_transaction int) BEGIN
        DECLARE i int DEFAULT 0; DECLARE k int;
        START TRANSACTION;
        WHILE i < n DO
            SET k = (CAST(i AS UNSIGNED) * 7919) % n;
            UPDATE stock SET on_hand = on_hand + 1, allocated = allocated + 0.25,
                updated_at = now(6), note = concat('counted ', lpad(i, 9, '0'))
             WHERE item_id = k DIV 10 AND warehouse_id = k % 10;
            SET i = i + 1;
            IF i % per_transaction = 0 THEN COMMIT; START TRANSACTION; END IF;
        END WHILE; COMMIT;
    END";

/// The statement that fills the table.
pub fn rows(count: u64) -> String {
    format!(
        "INSERT INTO stock SELECT seq DIV 10, seq % 10, concat('A-', lpad(seq % 97, 3, '0')),
            (seq % 10000) + 0.1234, (seq % 100) + 0.5,
            timestamp'2026-01-01 00:00:00' + INTERVAL seq SECOND, concat('loaded ', lpad(seq, 9, '0'))
           FROM seq_0_to_{}",
        count.saturating_sub(1)
    )
}

/// `mariadb-binlog` in text mode (rows as pseudo SQL) to `/dev/null`, one file from its start to its
/// end, over the network as a replica reads it.
///
/// # Panics
/// When it fails.
pub fn limit(server: &MariadbServer, file: &str) -> Duration {
    let began = Instant::now();
    let status = Command::new(program("mariadb-binlog"))
        .args([
            "--no-defaults",
            "--read-from-remote-server",
            "-h127.0.0.1",
            "-uroot",
        ])
        .args([&format!("-P{}", server.port()), "--skip-ssl", "-v", file])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}
