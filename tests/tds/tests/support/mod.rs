//! What the tests of the protocol share.
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests; helpers of tests stop the test"
)]

use tds_server::wire::{Answer, Parameter};
pub mod certificate;
pub mod door;
pub mod golden;
pub mod raw;

use tds_server::wire::{Options, Server, answering};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

pub type Tiberius = Client<Compat<TcpStream>>;

/// A server that answers SQL text with a function.
pub fn server<F>(answer: F) -> Server
where
    F: Fn(&str, &[Parameter]) -> Answer + Send + Sync + 'static,
{
    Server::start(Options::default(), answering(answer)).unwrap()
}

/// What tiberius needs to connect.
pub fn config(server: &Server) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.port(server.address().port());
    config.authentication(AuthMethod::sql_server("agent", "p@ss wörd"));
    config.encryption(EncryptionLevel::NotSupported);
    config
}

pub async fn connect_with(server: &Server, config: Config) -> tiberius::Result<Tiberius> {
    let socket = TcpStream::connect(server.address()).await?;
    socket.set_nodelay(true)?;
    Client::connect(config, socket.compat_write()).await
}

/// Connects tiberius.
pub async fn connect(server: &Server) -> Tiberius {
    connect_with(server, config(server)).await.unwrap()
}
