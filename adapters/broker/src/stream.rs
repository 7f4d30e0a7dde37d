//! TCP and TLS to a broker.

use std::collections::hash_map::RandomState;
use std::future::poll_fn;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::address::Address;

/// Longest wait for one server of several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection, encrypted or not.
pub struct Stream(Box<dyn Wire>);

impl Stream {
    /// Whether it is still open and nothing came on it while nobody listened: what came then was
    /// no answer to us.
    pub async fn quiet(&mut self) -> bool {
        let mut byte = [0];
        poll_fn(|context| {
            let mut buffer = ReadBuf::new(&mut byte);
            let pending = Pin::new(&mut self.0)
                .poll_read(context, &mut buffer)
                .is_pending();
            Poll::Ready(pending)
        })
        .await
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The TLS settings of an address, if its connections are encrypted.
pub fn tls(address: &Address) -> Result<Option<Arc<ClientConfig>>, String> {
    if !address.encrypted {
        return Ok(None);
    }
    let mut authorities = RootCertStore::empty();
    // Certificates of the system that cannot be read are as good as absent.
    for certificate in rustls_native_certs::load_native_certs().certs {
        let _ = authorities.add(certificate);
    }
    if let Some(file) = &address.ca_file {
        for certificate in certificates(file)? {
            authorities
                .add(certificate)
                .map_err(|error| said(file, &error))?;
        }
    }
    if authorities.is_empty() {
        return Err(
            "this machine has no certificate authorities: install ca-certificates, or set ca_file"
                .to_owned(),
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("set up TLS: {error}"))?
        .with_root_certificates(authorities);
    let config = match &address.certificate {
        None => builder.with_no_client_auth(),
        Some((certificate, key_file)) => {
            let key = PrivateKeyDer::from_pem_file(key_file)
                .map_err(|error| format!("read key_file {}: {error}", key_file.display()))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| said(certificate, &error))?
        }
    };
    Ok(Some(Arc::new(config)))
}

fn said(file: &Path, error: &dyn std::fmt::Display) -> String {
    format!("use certificates of {}: {error}", file.display())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read =
        |error: &dyn std::fmt::Display| format!("read certificates of {}: {error}", file.display());
    let found: Vec<_> = CertificateDer::pem_file_iter(file)
        .map_err(|error| read(&error))?
        .collect::<Result<_, _>>()
        .map_err(|error| read(&error))?;
    if found.is_empty() {
        return Err(read(&"there is no certificate in it"));
    }
    Ok(found)
}

/// Connects to the first server that answers, encrypted where there are TLS settings.
pub async fn dial(address: &Address, tls: Option<&Arc<ClientConfig>>) -> Result<Stream, String> {
    let (host, plain) = dial_plain(address).await?;
    match tls {
        None => Ok(plain),
        Some(config) => encrypt(&host, plain, config).await,
    }
}

/// Connects to the first server that answers, beginning with the one whose turn it is, for protocols that encrypt later: its host, and the
/// connection.
pub async fn dial_plain(address: &Address) -> Result<(String, Stream), String> {
    let mut causes = Vec::new();
    for ((host, port), wait) in address.in_turn() {
        let connecting = TcpStream::connect((host.as_str(), *port));
        let cause = match tokio::time::timeout(wait.min(CONNECT_TIMEOUT), connecting).await {
            Ok(Ok(tcp)) => {
                let _ = tcp.set_nodelay(true);
                return Ok((host.clone(), Stream(Box::new(tcp))));
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        causes.push(format!("connect to {host}:{port}: {cause}"));
    }
    Err(causes.join("; "))
}

/// Encrypts a connection to a host, which must prove its name.
pub async fn encrypt(
    host: &str,
    plain: Stream,
    config: &Arc<ClientConfig>,
) -> Result<Stream, String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host} is no name that a certificate can have"))?;
    let encrypting = TlsConnector::from(Arc::clone(config)).connect(name, plain);
    match tokio::time::timeout(CONNECT_TIMEOUT, encrypting).await {
        Ok(Ok(encrypted)) => Ok(Stream(Box::new(encrypted))),
        Ok(Err(error)) => Err(format!("encrypt the connection to {host}: {error}")),
        Err(_) => Err(format!("encrypt the connection to {host}: no answer")),
    }
}

/// Letters and digits that no other connection of any agent has.
pub fn unique() -> String {
    // Randomly keyed by the standard library, anew for each state.
    let random = |()| RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", random(()), random(()))
}
