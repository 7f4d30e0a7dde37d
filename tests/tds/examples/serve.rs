//! The scripted server as a program, to walk beside it by hand what a page says.
//!
//! ```sh
//! cargo run -p tds-server --example serve -- ACME SQLEXPRESS tables.sql
//! ```
//!
//! It is an Express edition with one database and one named instance at 127.0.0.9, which its SQL Browser
//! tells the port of. It encrypts, with a certificate that nobody vouches for, as a server does by itself. The
//! login `sa` has the password `Secret-1`. Each line that comes in is a batch of it, whose rows are printed;
//! it ends when nothing more comes.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "an example"
)]

use std::io::BufRead as _;
use std::net::Ipv4Addr;

use tds_server::model::Database;
use tds_server::statements::ResultSet;
use tds_server::wire::{Browser, Encryption, Options, Server, named_port};

#[path = "../tests/support/certificate.rs"]
mod certificate;

const HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(instance)) = (arguments.next(), arguments.next()) else {
        panic!("serve DATABASE INSTANCE [FILE.sql ..]");
    };
    let database = Database::new(&name);
    database.allow_snapshot(false);
    database.options(|options| {
        options.engine_edition = 4;
        "Express Edition (64-bit)".clone_into(&mut options.edition);
        options.agent_running = false;
    });
    for file in arguments {
        let sql = std::fs::read_to_string(&file).unwrap();
        database.run(&sql).unwrap();
    }
    let (certificate, _) = certificate::certificate();
    let options = Options {
        address: HOST,
        encryption: Encryption::On,
        certificate: Some(certificate),
        instance: instance.clone(),
        ..Options::default()
    };
    let server = Server::start(options, database.clone()).unwrap();
    let port = server.address().port();
    let _browser = Browser::start(HOST, move |_| Some(named_port(&instance, port))).unwrap();
    println!("listens at {}", server.address());
    let mut connection = database.connect("sa");
    for line in std::io::stdin().lock().lines() {
        match connection.query(&line.unwrap(), &[]) {
            Ok(sets) => sets.iter().for_each(show),
            Err(error) => println!("{error:?}"),
        }
    }
    for complaint in server.handle().complaints() {
        println!("complaint: {complaint}");
    }
}

fn show(set: &ResultSet) {
    for row in &set.rows {
        println!("{row:?}");
    }
    println!("({} rows)", set.rows.len());
}
