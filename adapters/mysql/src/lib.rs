//! Source: MySQL and MariaDB, captured from the binary log.

#[allow(dead_code, reason = "the stream that reads them comes next")]
mod binlog;
#[allow(dead_code, reason = "the stream that reads them comes next")]
mod charset;
#[allow(dead_code, reason = "the stream that reads them comes next")]
mod column;
