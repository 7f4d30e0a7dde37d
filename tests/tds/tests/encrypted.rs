//! TLS below tiberius, which here has none of its own: the client agrees on encryption and does the
//! handshake inside packets, then tiberius speaks over the stream.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests stop the test"
)]

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tds_server::wire::{Answer, Encryption, Options, Server, answering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::TokioAsyncWriteCompatExt;

use crate::support::certificate::certificate;
use crate::support::{self, golden};

/// A socket whose bytes travel in packets while the handshake lasts.
struct Packets {
    socket: TcpStream,
    in_packets: bool,
    header: Vec<u8>,
    left: usize,
}

impl AsyncRead for Packets {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.in_packets {
            return Pin::new(&mut this.socket).poll_read(context, buffer);
        }
        while this.left == 0 {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut this.socket).poll_read(context, &mut one))?;
            if one.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.header.push(byte[0]);
            if this.header.len() == 8 {
                assert_eq!(
                    this.header[0], 0x12,
                    "a handshake is in packets of this kind"
                );
                this.left = usize::from(u16::from_be_bytes([this.header[2], this.header[3]])) - 8;
                this.header.clear();
            }
        }
        let mut space = vec![0; this.left.min(buffer.remaining())];
        let mut part = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut this.socket).poll_read(context, &mut part))?;
        this.left -= part.filled().len();
        buffer.put_slice(part.filled());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Packets {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if !self.in_packets {
            return Pin::new(&mut self.socket).poll_write(context, bytes);
        }
        let mut packet = vec![0x12, 1];
        packet.extend(u16::try_from(bytes.len() + 8).unwrap().to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(bytes);
        // A few hundred bytes into an empty socket: it takes them at once.
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, &packet))?;
        assert_eq!(written, packet.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}

/// A client that trusts this authority, up to the login.
async fn handshake(server: &Server, trusted: &str) -> io::Result<TlsStream<Packets>> {
    let mut socket = TcpStream::connect(server.address()).await?;
    let body = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 9, 0, 0, 0, 0, 0, 1];
    let head = [0x12, 1, 0, 26, 0, 0, 0, 0];
    socket.write_all(&[&head[..], &body].concat()).await?;
    let mut head = [0; 8];
    socket.read_exact(&mut head).await?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 8];
    socket.read_exact(&mut body).await?;
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let packets = Packets {
        socket,
        in_packets: true,
        header: Vec::new(),
        left: 0,
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config))
        .connect(name, packets)
        .await?;
    stream.get_mut().0.in_packets = false;
    Ok(stream)
}

/// Answers the first message of tiberius, which is agreed on already, and hands on all else.
async fn tiberius_over(
    server: &Server,
    stream: TlsStream<Packets>,
) -> tiberius::Result<tiberius::Client<tokio_util::compat::Compat<tokio::io::DuplexStream>>> {
    let (near, mut far) = tokio::io::duplex(65_536);
    tokio::spawn(async move {
        let mut stream = stream;
        let mut head = [0; 8];
        far.read_exact(&mut head).await?;
        let mut body = vec![0; usize::from(u16::from_be_bytes([head[2], head[3]])) - 8];
        far.read_exact(&mut body).await?;
        let answer = [0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xFF, 16, 0, 4, 85, 0, 0, 2];
        far.write_all(&[&[4, 1, 0, 26, 0, 0, 1, 0][..], &answer].concat())
            .await?;
        tokio::io::copy_bidirectional(&mut far, &mut stream).await
    });
    tiberius::Client::connect(support::config(server), near.compat_write()).await
}

fn encrypted() -> (Server, String) {
    let (certificate, trusted) = certificate();
    let options = Options {
        encryption: Encryption::Required,
        certificate: Some(certificate),
        ..Options::default()
    };
    let all = golden::all();
    let server = Server::start(
        options,
        answering(move |_, _| {
            let (columns, row) = all
                .iter()
                .map(|golden| (golden.column.clone(), golden.value.clone()))
                .unzip();
            Answer::rows(columns, [row])
        }),
    )
    .unwrap();
    (server, trusted)
}

#[tokio::test]
async fn every_type_is_read_over_tls() {
    let (server, trusted) = encrypted();
    let stream = handshake(&server, &trusted).await.unwrap();
    let mut client = tiberius_over(&server, stream).await.unwrap();
    let rows = client
        .query("all", &[])
        .await
        .unwrap()
        .into_first_result()
        .await
        .unwrap();
    let expected: Vec<_> = golden::all()
        .into_iter()
        .map(|golden| golden.tiberius)
        .collect();
    assert!(
        rows.into_iter()
            .next()
            .unwrap()
            .into_iter()
            .collect::<Vec<_>>()
            == expected
    );
    assert_eq!(server.handle().complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn another_authority_is_not_trusted() {
    let (server, _) = encrypted();
    let (_, other) = certificate();
    let error = handshake(&server, &other).await.err().unwrap();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
    server.handle().all_closed().await;
    assert!(server.handle().complaints()[0].contains("the handshake of TLS failed"));
}
