//! TLS for every connection, with the process-wide crypto provider.
//!
//! The library builds its own configuration from what is handed to it here. Certificates and key are
//! read and tried first, so that what is wrong with a file is said with the file's name.

use std::path::Path;
use std::sync::Arc;

use contract::SourceError;
use mysql_async::{ClientIdentity, SslOpts};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

use crate::settings::{Identity, Settings, TlsMode};

/// A name to ask for where none is looked at.
const ANY_NAME: &str = "localhost";
/// What to do about a certificate that is not trusted.
const AUTHORITY: &str = "set ca_file to the PEM file of the authority that signed the server's \
     certificate";

/// How the settings protect a connection; `None`: not at all.
pub(crate) async fn options(settings: &Settings) -> Result<Option<SslOpts>, SourceError> {
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

fn build(settings: &Settings) -> Result<SslOpts, SourceError> {
    let identity = match &settings.identity {
        None => None,
        Some(identity) => Some(own(identity)?),
    };
    let options = SslOpts::default().with_client_identity(identity);
    if settings.tls == TlsMode::Require {
        // Whoever answers is believed: the name only has to be one, which not every host's is.
        return Ok(options
            .with_danger_accept_invalid_certs(true)
            .with_danger_tls_hostname_override(Some(ANY_NAME)));
    }
    let options = options
        .with_disable_built_in_roots(true)
        .with_root_certs(authorities(settings)?.into_iter().map(Into::into).collect());
    if settings.tls == TlsMode::VerifyCa && ServerName::try_from(settings.host.as_str()).is_err() {
        return Ok(options.with_danger_tls_hostname_override(Some(ANY_NAME)));
    }
    Ok(options)
}

/// With `tls = "verify-ca"` an authority we know is enough, whatever the name. The library's own
/// switch for that does not know the error that rustls gives since it tells the names: where the
/// name alone is wrong, one of those that the certificate does have is asked for instead.
pub(crate) fn by_any_name(
    settings: &Settings,
    options: SslOpts,
    error: &(dyn std::error::Error + 'static),
) -> Option<SslOpts> {
    if settings.tls != TlsMode::VerifyCa {
        return None;
    }
    let name = presented(error)?.iter().find_map(|name| plain_name(name))?;
    Some(options.with_danger_tls_hostname_override(Some(name)))
}

/// With `tls = "verify-ca"`: what is wrong with a certificate without any name to ask for, as MySQL
/// makes them for itself.
pub(crate) fn nameless(
    settings: &Settings,
    doing: &str,
    error: &(dyn std::error::Error + 'static),
) -> Option<SourceError> {
    let named = presented(error)?
        .iter()
        .any(|name| plain_name(name).is_some());
    (settings.tls == TlsMode::VerifyCa && !named).then(|| {
        wrong(
            &format!("{doing}: the server's certificate has no name that can be asked for"),
            "have one made with the server's name as subjectAltName; tls = \"require\" asks for no \
             certificate that can be verified",
        )
    })
}

/// The names in a certificate where none of them is the one that was asked for.
fn presented<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a [String]> {
    match behind(error)? {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => Some(presented),
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => Some(&[]),
        _ => None,
    }
}

/// A name that a certificate with this one is valid for.
fn plain_name(presented: &str) -> Option<String> {
    let inner = |kind: &str| presented.strip_prefix(kind)?.strip_suffix(')');
    let name = match inner("DnsName(") {
        Some(quoted) => quoted.trim_matches('"').replacen('*', "any", 1),
        None => inner("IpAddress(")?.to_owned(),
    };
    ServerName::try_from(name.as_str()).is_ok().then_some(name)
}

/// The system's certificate authorities and those of `ca_file`.
fn authorities(settings: &Settings) -> Result<Vec<Vec<u8>>, SourceError> {
    let mut found = usable(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = &settings.ca_file {
        let doing = format!("read certificate authorities {}", file.display());
        let ours = usable(certificates(&doing, file, AUTHORITY)?);
        if ours.is_empty() {
            return Err(wrong(&format!("{doing}: none can be used"), AUTHORITY));
        }
        found.extend(ours);
    }
    if found.is_empty() {
        return Err(wrong(
            "read certificate authorities: the system has none",
            AUTHORITY,
        ));
    }
    Ok(found.iter().map(|one| one.to_vec()).collect())
}

/// Those that rustls can use: the library gives up at the first one it cannot.
fn usable(certificates: Vec<CertificateDer<'static>>) -> Vec<CertificateDer<'static>> {
    let fits = |one: &CertificateDer<'static>| RootCertStore::empty().add(one.clone()).is_ok();
    certificates.into_iter().filter(fits).collect()
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
fn own(identity: &Identity) -> Result<ClientIdentity, SourceError> {
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
    // The library would say no more than that they do not fit.
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(RootCertStore::empty()))
        .and_then(|builder| builder.with_client_auth_cert(chain, key))
        .map_err(|error| {
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
        })?;
    Ok(ClientIdentity::new(
        identity.cert_file.clone().into(),
        identity.key_file.clone().into(),
    ))
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        // In tests nobody has installed one.
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
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
        "turn it on at the server (ssl_cert and ssl_key in its configuration, then a restart), or set \
         tls = \"disable\" where nobody else can listen",
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

const OWN: &str = "set cert_file and key_file to a certificate that an authority in the server's ssl_ca \
     has signed";

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
pub(crate) fn behind<'a, E: std::error::Error + 'static>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_certificate_are_made_names_to_ask_for() {
        for (presented, name) in [
            ("DnsName(\"db.example.com\")", Some("db.example.com")),
            ("DnsName(\"*.example.com\")", Some("any.example.com")),
            ("IpAddress(10.0.0.1)", Some("10.0.0.1")),
            ("IpAddress(::1)", Some("::1")),
            ("DirectoryName", None),
            ("DnsName(\"\")", None),
        ] {
            assert_eq!(plain_name(presented).as_deref(), name, "{presented}");
        }
    }
}
