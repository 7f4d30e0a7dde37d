//! What the MySQL and MariaDB source does, a file for each part of it. One program, so that it is linked once.

mod capture;
mod catalogue;
mod check;
mod common;
mod damaged;
mod ddl;
mod groups;
mod history;
mod login;
mod lost;
mod mysql8;
mod network;
mod newer;
mod order;
mod positions;
mod privileges;
mod query;
mod silent;
mod snapshot;
mod statements;
mod suite;
mod tls;
mod types;
mod visibility;
