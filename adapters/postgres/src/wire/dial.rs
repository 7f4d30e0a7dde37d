//! The socket, and TLS on it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::frontend;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Failure, auth};

/// After so much silence the kernel asks the other kernel whether it is there,
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
/// then so often,
pub(crate) const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
/// and after so many questions without an answer the connection is dead.
pub(crate) const KEEPALIVE_TIMES: u32 = 3;

/// Any socket.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection without a word of PostgreSQL's on it yet.
pub(super) struct Line {
    pub(super) socket: Box<dyn Duplex>,
    pub(super) encrypted: bool,
    /// What ties a login to this TLS session.
    pub(super) binding: Option<Vec<u8>>,
}

pub(super) async fn dial(
    host: &str,
    port: u16,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Line, Failure> {
    if host.starts_with('/') {
        return plain(unix(host, port).await?);
    }
    let mut socket = TcpStream::connect((host, port))
        .await
        .map_err(Failure::Io)?;
    socket.set_nodelay(true).map_err(Failure::Io)?;
    keep_alive(&socket).map_err(Failure::Io)?;
    let Some(tls) = tls else {
        return plain(socket);
    };
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    socket.write_all(&request).await.map_err(Failure::Io)?;
    match socket.read_u8().await.map_err(Failure::Io)? {
        b'S' => {}
        b'N' => return Err(Failure::NoTls),
        // Whatever it says cannot be trusted: nobody has proved yet who they are.
        other => {
            return Err(Failure::Malformed(format!(
                "the answer to our wish for TLS is 0x{other:02x}"
            )));
        }
    }
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Failure::Io(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let connecting = TlsConnector::from(Arc::clone(tls)).connect(name, socket);
    let socket = connecting.await.map_err(Failure::Io)?;
    let certificates = socket.get_ref().1.peer_certificates();
    let binding = certificates
        .and_then(|all| all.first())
        .and_then(|own| auth::end_point(own));
    Ok(Line {
        socket: Box::new(socket),
        encrypted: true,
        binding,
    })
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the end of every way through `dial`"
)]
fn plain(socket: impl Duplex + 'static) -> Result<Line, Failure> {
    Ok(Line {
        socket: Box::new(socket),
        encrypted: false,
        binding: None,
    })
}

#[cfg(unix)]
async fn unix(folder: &str, port: u16) -> Result<tokio::net::UnixStream, Failure> {
    let file = format!("{}/.s.PGSQL.{port}", folder.trim_end_matches('/'));
    let connecting = tokio::net::UnixStream::connect(file);
    connecting.await.map_err(Failure::Io)
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "elsewhere it waits")]
async fn unix(folder: &str, _: u16) -> Result<TcpStream, Failure> {
    Err(Failure::Io(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("{folder}: this system has no Unix sockets"),
    )))
}

fn keep_alive(socket: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(socket);
    let often = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TIMES);
    socket.set_tcp_keepalive(&often)?;
    // We write every second: bytes that the other kernel does not confirm in this time will not
    // arrive any more.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(super::ANSWER_MAX))?;
    Ok(())
}
