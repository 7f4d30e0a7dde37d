//! A server that is not the one that is meant: it shows a wrong certificate, speaks a TLS of long ago or none, and
//! keeps all that it is told.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;

/// A step of a conversation before it is encrypted.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// It says this.
    Say(&'static [u8]),
    /// It hears so many bytes.
    Hear(usize),
    /// It hears a line.
    HearLine,
}

/// How it shows itself when the other side wants to be encrypted.
#[derive(Clone)]
pub enum Guise {
    /// With a certificate.
    Certificate(Arc<ServerConfig>),
    /// With TLS 1.1 and nothing newer.
    Old,
    /// Without TLS, with these words.
    Plain(&'static [u8]),
}

/// The greeting of a server that knows TLS 1.1: an answer to a client's greeting, with that version, a random of
/// zeros, no session, `TLS_RSA_WITH_AES_128_CBC_SHA` and no compression.
const OLD: [u8; 47] = {
    let mut bytes = [0; 47];
    let head = [22, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    let mut n = 0;
    while n < head.len() {
        bytes[n] = head[n];
        n += 1;
    }
    bytes[45] = 0x2f;
    bytes
};

impl Guise {
    /// With the certificate of this name.
    ///
    /// # Panics
    /// When there is none.
    pub fn certificate(of: &Certificates, name: &str) -> Self {
        let file = |end: &str| of.file(&format!("{name}.{end}"));
        let chain = CertificateDer::from_pem_file(file("crt")).unwrap();
        let key = PrivateKeyDer::from_pem_file(file("key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![chain], key)
            .unwrap();
        Self::Certificate(Arc::new(config))
    }
}

/// What it was told.
#[derive(Debug, Default, Clone)]
pub struct Told {
    /// As it came, before and without encryption; the beginnings of TLS are among it.
    pub open: Vec<u8>,
    /// Through TLS.
    pub encrypted: Vec<u8>,
    /// Connections.
    pub connections: usize,
}

/// On a free loopback port; it ends with the runtime.
pub struct Impostor {
    port: u16,
    told: Arc<Mutex<Told>>,
}

impl Impostor {
    /// Starts one whose conversations begin with these steps.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(opening: &'static [Step], guise: Guise) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let told = Arc::new(Mutex::new(Told::default()));
        let kept = Arc::clone(&told);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .connections += 1;
                let (kept, guise) = (Arc::clone(&kept), guise.clone());
                tokio::spawn(async move { talk(stream, opening, guise, &kept).await });
            }
        });
        Self { port, told }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it was told so far.
    pub fn told(&self) -> Told {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// One conversation; it ends when the other side has seen enough.
async fn talk(stream: TcpStream, opening: &[Step], guise: Guise, told: &Mutex<Told>) -> Option<()> {
    let keep = |bytes: &[u8], encrypted: bool| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let place = if encrypted {
            &mut told.encrypted
        } else {
            &mut told.open
        };
        place.extend_from_slice(bytes);
    };
    let mut stream = BufReader::new(stream);
    for step in opening {
        match *step {
            Step::Say(words) => stream.write_all(words).await.ok()?,
            Step::Hear(count) => {
                let mut bytes = vec![0; count];
                stream.read_exact(&mut bytes).await.ok()?;
                keep(&bytes, false);
            }
            Step::HearLine => {
                let mut line = Vec::new();
                stream.read_until(b'\n', &mut line).await.ok()?;
                keep(&line, false);
            }
        }
    }
    let mut bytes = [0; 4096];
    match guise {
        Guise::Certificate(config) => {
            let accepting = TlsAcceptor::from(config).accept(stream);
            let mut stream = accepting.await.ok()?;
            let count = stream.read(&mut bytes).await.ok()?;
            keep(bytes.get(..count)?, true);
            stream.shutdown().await.ok()
        }
        Guise::Old | Guise::Plain(_) => {
            let answer = match guise {
                Guise::Plain(words) => words,
                _ => &OLD[..],
            };
            if matches!(guise, Guise::Old) {
                let count = stream.read(&mut bytes).await.ok()?;
                keep(bytes.get(..count)?, false);
            }
            stream.write_all(answer).await.ok()?;
            loop {
                let count = stream.read(&mut bytes).await.ok().filter(|n| *n > 0)?;
                keep(bytes.get(..count)?, false);
            }
        }
    }
}
