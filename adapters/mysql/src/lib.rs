//! Source: MySQL and MariaDB, captured from the binary log.
