//! The whole product through its binary, a file for each part of it. One program, so that it is linked once.

mod care;
mod changed;
mod deliveries;
mod disk;
mod e2e;
mod erp_upgrade;
mod erpnext;
mod killed;
mod local;
mod logs;
mod map;
mod mariadb;
mod metrics;
mod monitoring;
mod network;
mod northwind;
mod operate;
mod read;
mod related;
mod resync;
mod schema;
mod settings;
mod sqlserver;
mod state_file;
mod stopping;
mod taint;
