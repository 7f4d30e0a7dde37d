//! PostgreSQL's backlog, and `pg_recvlogical`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::postgres::{PostgresServer, program};

/// A table of stock, and a procedure that changes each of its rows once, in an order that hits pages
/// at random.
pub const TABLES: &str = "
    CREATE TABLE stock (item_id int, warehouse_id int, bin text, on_hand numeric(18,4),
        allocated numeric(18,4), updated_at timestamp, note text,
        PRIMARY KEY (item_id, warehouse_id));
    CREATE PROCEDURE backlog(n int, per_transaction int) LANGUAGE plpgsql AS $$
    DECLARE k int; BEGIN
        FOR i IN 0 .. n - 1 LOOP
            k := (i::bigint * 7919) % n;
            UPDATE stock SET on_hand = on_hand + 1, allocated = allocated + 0.25,
                updated_at = clock_timestamp(), note = 'counted ' || lpad(i::text, 9, '0')
             WHERE item_id = k / 10 AND warehouse_id = k % 10;
            IF (i + 1) % per_transaction = 0 THEN COMMIT; END IF;
        END LOOP; COMMIT;
    END $$";

/// The statement that fills the table.
pub fn rows(count: u64) -> String {
    format!(
        "INSERT INTO stock SELECT g / 10, g % 10, 'A-' || lpad((g % 97)::text, 3, '0'),
            (g % 10000) + 0.1234, (g % 100) + 0.5,
            timestamp '2026-01-01' + g * interval '1 second', 'loaded ' || lpad(g::text, 9, '0')
           FROM generate_series(0, {count} - 1) g"
    )
}

/// `pg_recvlogical` to `/dev/null`, from its start to its end at `end`.
///
/// # Panics
/// When it fails.
pub fn limit(
    server: &PostgresServer,
    database: &str,
    slot: &str,
    publication: &str,
    end: &str,
) -> Duration {
    let began = Instant::now();
    let status = Command::new(program("pg_recvlogical"))
        .args(["-h", "127.0.0.1", "-U", "postgres", "-d", database])
        .args(["-p", &server.port().to_string(), "--start", "-S", slot])
        .args(["-f", "/dev/null", "-E", end, "--no-loop"])
        .args(["-o", "proto_version=1"])
        .args(["-o", &format!("publication_names={publication}")])
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}
