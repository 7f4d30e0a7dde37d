//! TLS for every connection, with the process-wide crypto provider.
//!
//! What it checks and says is what `source-postgres` checks and says, for a server that asks for no
//! certificate of ours.

use std::path::Path;
use std::sync::Arc;

use contract::SourceError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::settings::{Settings, TlsMode};

/// What to do about a certificate that is not trusted.
const AUTHORITY: &str =
    "set ca_file to the PEM file of the authority that signed the server's certificate";
/// What to do about a server that knows no TLS of today.
const OLD: &str = "have the server speak TLS 1.2: SQL Server 2016 or newer does, 2012 and 2014 do with their \
     last updates (https://support.microsoft.com/help/3135244)";

/// How a connection to `host` is protected; `None`: not at all.
pub(crate) async fn config(
    settings: &Settings,
    host: &str,
) -> Result<Option<Arc<ClientConfig>>, SourceError> {
    let mode = settings.tls(host);
    if mode == TlsMode::Disable {
        return Ok(None);
    }
    let settings = settings.clone();
    // It reads files.
    let building = tokio::task::spawn_blocking(move || build(&settings, mode));
    match building.await {
        Ok(built) => built.map(|config| Some(Arc::new(config))),
        Err(error) => Err(SourceError::Disconnected(format!("prepare TLS: {error}"))),
    }
}

fn build(settings: &Settings, mode: TlsMode) -> Result<ClientConfig, SourceError> {
    let provider = CryptoProvider::get_default()
        .cloned()
        // In tests nobody has installed one.
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    // Inside the protocol's own first words the server knows no other: with 1.3, what it says behind the
    // handshake has no place in the packets.
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .map_err(|error| wrong(&format!("prepare TLS: {error}"), AUTHORITY))?;
    let builder = if mode == TlsMode::VerifyFull {
        builder.with_root_certificates(authorities(settings)?)
    } else {
        let roots = match mode {
            TlsMode::VerifyCa => Some(authorities(settings)?),
            TlsMode::Disable | TlsMode::Require | TlsMode::VerifyFull => None,
        };
        let believer = Arc::new(NoName { provider, roots });
        builder
            .dangerous()
            .with_custom_certificate_verifier(believer)
    };
    Ok(builder.with_no_client_auth())
}

/// The system's certificate authorities and those of `ca_file`.
fn authorities(settings: &Settings) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        let doing = format!("read certificate authorities {}", file.display());
        let (added, _) = roots.add_parsable_certificates(certificates(&doing, file)?);
        if added == 0 {
            return Err(wrong(&format!("{doing}: none can be used"), AUTHORITY));
        }
    }
    if roots.is_empty() {
        return Err(wrong(
            "read certificate authorities: the system has none",
            AUTHORITY,
        ));
    }
    Ok(roots)
}

fn certificates(doing: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&format!("{doing}: {}", plainly(&error)), AUTHORITY))?;
    if found.is_empty() {
        return Err(wrong(&format!("{doing}: no certificate in it"), AUTHORITY));
    }
    Ok(found)
}

fn plainly(error: &rustls::pki_types::pem::Error) -> String {
    use rustls::pki_types::pem::Error;
    match error {
        Error::NoItemsFound => "nothing of this kind in it".to_owned(),
        Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn wrong(what: &str, hint: &str) -> SourceError {
    SourceError::Denied {
        what: what.to_owned(),
        hint: hint.to_owned(),
    }
}

/// The server does not encrypt.
pub(crate) fn absent(doing: &str) -> SourceError {
    wrong(
        &format!("{doing}: the server does not offer TLS"),
        "turn it on at the server (a certificate in SQL Server Configuration Manager; it makes one for \
         itself where there is none), or set tls = \"disable\" where nobody else can listen",
    )
}

/// The server does not talk without encryption.
pub(crate) fn demanded(doing: &str) -> SourceError {
    wrong(
        &format!("{doing}: the server only talks over TLS (Force Encryption)"),
        "tls = \"verify-full\", with ca_file where the authority is your own",
    )
}

/// A host whose name no certificate can have.
pub(crate) fn no_name(doing: &str) -> SourceError {
    wrong(
        &format!("{doing}: no certificate can be for a host of this name"),
        "set host to the server's full name, or to its address",
    )
}

/// What TLS found wrong, somewhere behind `error`; `None` when it is not about trust.
pub(crate) fn refused(
    doing: &str,
    error: &(dyn std::error::Error + 'static),
) -> Option<SourceError> {
    let (found, hint) = match behind(error)? {
        rustls::Error::InvalidCertificate(found) => of_certificate(found),
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(
            AlertDescription::ProtocolVersion
            | AlertDescription::HandshakeFailure
            | AlertDescription::InsufficientSecurity,
        ) => ("the server knows no TLS that is still safe".to_owned(), OLD),
        _ => return None,
    };
    Some(wrong(&format!("{doing}: {found}"), hint))
}

/// An error of one kind inside any other.
fn behind<'a, E: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a E> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // An I/O error names what is behind the error in it, not that error.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

fn of_certificate(error: &CertificateError) -> (String, &'static str) {
    const NAME: &str = "set host to a name in the server's certificate, or have one made for this host; \
         tls = \"verify-ca\" trusts the authority whatever the name";
    const TIME: &str = "renew the server's certificate, and see that this machine's clock is right";
    match error {
        // The second: an authority of the same name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => (
            "the server's certificate is signed by an authority we do not know".to_owned(),
            AUTHORITY,
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            ("the server's certificate has expired".to_owned(), TIME)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ("the server's certificate is not valid yet".to_owned(), TIME)
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            "the server's certificate is for another host name".to_owned(),
            NAME,
        ),
        other => (
            format!("the server's certificate cannot be trusted: {other}"),
            AUTHORITY,
        ),
    }
}

/// `tls = "require"`: encryption against listeners, none against impostors. With `roots`,
/// `tls = "verify-ca"`: whoever the authority signed for is believed, whatever their name.
#[derive(Debug)]
struct NoName {
    provider: Arc<CryptoProvider>,
    roots: Option<RootCertStore>,
}

impl ServerCertVerifier for NoName {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let own = ParsedCertificate::try_from(own)?;
            let known = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&own, roots, between, now, known)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        if self.roots.is_none() {
            // Older servers make themselves a certificate with a key that is too short to be verified:
            // whoever answers is believed, with this one too.
            return Ok(HandshakeSignatureValid::assertion());
        }
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
