//! The connection below the packets: plain, or encrypted after a handshake that itself travels in packets.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig, pki_types};
use tokio_rustls::server::TlsStream;

use super::link::{HEADER_BYTES, PACKET_BYTES_MAX};

/// A certificate and its key, for encrypted connections.
#[derive(Clone)]
pub struct Certificate {
    config: Arc<ServerConfig>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificate(..)")
    }
}

impl Certificate {
    /// The certificates in a PEM text, the server's first, and the key in another.
    pub fn from_pem(chain: &str, key: &str) -> io::Result<Self> {
        use pki_types::pem::PemObject;
        let wrong = |what: &str, error: &dyn std::fmt::Display| {
            io::Error::other(format!("{what} of the scripted server: {error}"))
        };
        let chain = pki_types::CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| wrong("certificates", &error))?;
        let key = pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| wrong("key", &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // Below TDS 8 a server speaks TLS 1.2 at most: the tickets of 1.3 would come in the middle of the
        // packets.
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS12])
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| wrong("certificate", &error))?;
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

/// The connection.
pub(super) enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<Wrapped>>),
    /// While one becomes the other.
    Gone,
}

impl Transport {
    /// Does the handshake.
    pub(super) async fn encrypt(&mut self, certificate: &Certificate) -> io::Result<()> {
        let Self::Plain(socket) = std::mem::replace(self, Self::Gone) else {
            return Err(io::Error::other("encrypted already"));
        };
        let acceptor = TlsAcceptor::from(certificate.config.clone());
        let mut stream = acceptor.accept(Wrapped::new(socket)).await?;
        stream.get_mut().0.in_packets = false;
        *self = Self::Tls(Box::new(stream));
        Ok(())
    }

    /// Goes back to plain text, for a client that only encrypts its login.
    pub(super) fn decrypt(&mut self) {
        *self = match std::mem::replace(self, Self::Gone) {
            Self::Tls(stream) => Self::Plain(stream.into_inner().0.socket),
            other => other,
        };
    }
}

fn gone<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Gone => gone(),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Gone => gone(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
            Self::Gone => gone(),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Gone => gone(),
        }
    }
}

/// A socket whose bytes travel in packets during the handshake.
pub(super) struct Wrapped {
    socket: TcpStream,
    in_packets: bool,
    /// What came of the header of a packet.
    header: Vec<u8>,
    /// What is still to come of its body.
    body_left: usize,
    /// What is said in the handshake until the flush.
    flight: Vec<u8>,
    /// The same in packets, what of it is still to be written.
    outgoing: Vec<u8>,
}

impl Wrapped {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            in_packets: true,
            header: Vec::new(),
            body_left: 0,
            flight: Vec::new(),
            outgoing: Vec::new(),
        }
    }

    fn poll_outgoing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flight = std::mem::take(&mut self.flight);
        let mut pieces = flight.chunks(4096 - HEADER_BYTES).peekable();
        while let Some(piece) = pieces.next() {
            let mut packet = super::link::packet(piece, pieces.peek().is_none(), 0, 1)
                .map_err(|unfit| io::Error::other(unfit.to_string()))?;
            // A handshake travels in packets of the client's kind, both ways.
            packet[0] = 0x12;
            self.outgoing.extend(packet);
        }
        while !self.outgoing.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(context, &self.outgoing))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.in_packets {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        while this.body_left == 0 {
            let mut space = [0; HEADER_BYTES];
            let mut rest = ReadBuf::new(&mut space[..HEADER_BYTES - this.header.len()]);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut rest))?;
            if rest.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.extend_from_slice(rest.filled());
            if let Some(&[kind, _, high, low, ..]) = this.header.first_chunk::<HEADER_BYTES>() {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if kind != 0x12 || !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
                    let text =
                        format!("a packet of kind {kind:#04x} and {length} bytes in a handshake");
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                this.body_left = length - HEADER_BYTES;
                this.header.clear();
            }
        }
        let most = this.body_left.min(buffer.remaining());
        let mut part = buffer.take(most);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut part))?;
        let count = part.filled().len();
        this.body_left -= count;
        // `take` hands out the same memory, which was filled.
        let filled = part.filled().to_vec();
        buffer.put_slice(&filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if !this.in_packets {
            ready!(this.poll_outgoing(context))?;
            return Pin::new(&mut this.socket).poll_write(context, bytes);
        }
        // A handshake is small: what is said is kept until the flush, as one message.
        this.flight.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(context))?;
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(context))?;
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
