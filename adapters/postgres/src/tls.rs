//! TLS for both kinds of connection: one configuration, the process-wide crypto provider.

use std::path::Path;
use std::sync::Arc;

use contract::SourceError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
};

use crate::settings::{Identity, Settings, TlsMode};

/// What to do about a certificate that is not trusted.
const AUTHORITY: &str = "set ca_file to the PEM file of the authority that signed the server's \
     certificate";

/// How the settings protect a connection; `None`: not at all.
pub(crate) async fn config(settings: &Settings) -> Result<Option<ClientConfig>, SourceError> {
    if settings.tls == TlsMode::Disable {
        return Ok(None);
    }
    if settings.host.starts_with('/') {
        return Err(SourceError::Denied {
            what: format!("connect to {}: a Unix socket has no TLS", settings.host),
            hint: "leave out tls, or set tls = \"disable\"".to_owned(),
        });
    }
    let settings = settings.clone();
    // It reads files.
    let building = tokio::task::spawn_blocking(move || build(&settings));
    match building.await {
        Ok(built) => built.map(Some),
        Err(error) => Err(SourceError::Disconnected(format!("prepare TLS: {error}"))),
    }
}

fn build(settings: &Settings) -> Result<ClientConfig, SourceError> {
    let provider = CryptoProvider::get_default()
        .cloned()
        // In tests nobody has installed one.
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&format!("prepare TLS: {error}"), AUTHORITY))?;
    let builder = if settings.tls == TlsMode::VerifyFull {
        builder.with_root_certificates(authorities(settings)?)
    } else {
        let roots = match settings.tls {
            TlsMode::VerifyCa => Some(authorities(settings)?),
            TlsMode::Disable | TlsMode::Require | TlsMode::VerifyFull => None,
        };
        let believer = Arc::new(NoName { provider, roots });
        builder
            .dangerous()
            .with_custom_certificate_verifier(believer)
    };
    match &settings.identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => {
            let (chain, key) = own(identity)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                let what = format!(
                    "read client certificate {}: {} does not belong to it, or is of a kind that \
                     cannot be used: {error}",
                    identity.cert_file.display(),
                    identity.key_file.display()
                );
                wrong(
                    &what,
                    "set cert_file and key_file to a certificate and its own key",
                )
            })
        }
    }
}

/// The system's certificate authorities and those of `ca_file`.
fn authorities(settings: &Settings) -> Result<RootCertStore, SourceError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        let doing = format!("read certificate authorities {}", file.display());
        let (added, _) = roots.add_parsable_certificates(certificates(&doing, file, AUTHORITY)?);
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

fn certificates(
    doing: &str,
    file: &Path,
    hint: &str,
) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&format!("{doing}: {}", plainly(&error)), hint))?;
    if found.is_empty() {
        return Err(wrong(&format!("{doing}: no certificate in it"), hint));
    }
    Ok(found)
}

/// Our own certificate, with what stands between it and its authority, and its key.
fn own(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), SourceError> {
    let doing = format!("read client certificate {}", identity.cert_file.display());
    let hint = "set cert_file to a PEM file the agent may read: our certificate first, then those \
                up to its authority";
    let chain = certificates(&doing, &identity.cert_file, hint)?;
    let doing = format!(
        "read key of the client certificate {}",
        identity.key_file.display()
    );
    let key = PrivateKeyDer::from_pem_file(&identity.key_file).map_err(|error| {
        let hint = "set key_file to a PEM file the agent may read, with the key and without a \
                    passphrase (openssl pkey -in key.pem -out plain.pem)";
        wrong(&format!("{doing}: {}", plainly(&error)), hint)
    })?;
    Ok((chain, key))
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

/// The server has no TLS.
pub(crate) fn absent(doing: &str) -> SourceError {
    wrong(
        &format!("{doing}: the server does not offer TLS"),
        "turn it on at the server (ssl = on in postgresql.conf, with a certificate), or set tls = \
         \"disable\" where nobody else can listen",
    )
}

/// What TLS found wrong, somewhere behind `error`; `None` when it is not about trust.
pub(crate) fn refused(
    doing: &str,
    error: &(dyn std::error::Error + 'static),
) -> Option<SourceError> {
    let (found, hint) = match behind(error)? {
        rustls::Error::InvalidCertificate(found) => of_certificate(found),
        rustls::Error::AlertReceived(alert) => (of_alert(*alert)?, OWN),
        _ => return None,
    };
    Some(wrong(&format!("{doing}: {found}"), hint))
}

const OWN: &str = "set cert_file and key_file to a certificate the server's ssl_ca_file has signed, \
     for the user in the settings";

/// Whether the other side went away in the middle of a word.
pub(crate) fn was_cut(error: &(dyn std::error::Error + 'static)) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let kinds = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    behind::<std::io::Error>(error).is_some_and(|error| kinds.contains(&error.kind()))
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
    const NAME: &str = "set host to a name in the server's certificate, or have one made for this \
         host; tls = \"verify-ca\" trusts the authority whatever the name";
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

fn of_alert(alert: AlertDescription) -> Option<String> {
    let about_ours = matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
    );
    about_ours.then(|| format!("the server does not accept our certificate ({alert:?})"))
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
