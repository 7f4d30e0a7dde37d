//! TLS for both kinds of connection: the same authorities, the process-wide crypto provider.

use std::io::Write;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::SourceError;
use pgwire_replication::TlsConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tempfile::NamedTempFile;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::settings::{Settings, TlsMode};

/// TLS for SQL connections.
pub(crate) async fn connector(settings: &Settings) -> Result<MakeRustlsConnect, SourceError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(settings, &error.to_string()))?;
    let config = if settings.tls == TlsMode::VerifyFull {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities(settings).await?);
        builder.with_root_certificates(roots).with_no_client_auth()
    } else {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelieveAnyone(provider)))
            .with_no_client_auth()
    };
    Ok(MakeRustlsConnect::new(config))
}

/// The authorities as a file, where the replication connection needs one.
pub(crate) async fn authorities_file(
    settings: &Settings,
) -> Result<Option<NamedTempFile>, SourceError> {
    if settings.tls != TlsMode::VerifyFull {
        return Ok(None);
    }
    let certificates = authorities(settings).await?;
    let write = move || -> std::io::Result<NamedTempFile> {
        let mut file = NamedTempFile::new()?;
        for certificate in certificates {
            writeln!(
                file,
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----",
                STANDARD.encode(&certificate)
            )?;
        }
        file.flush()?;
        Ok(file)
    };
    let written = tokio::task::spawn_blocking(write).await;
    match written {
        Ok(Ok(file)) => Ok(Some(file)),
        Ok(Err(error)) => Err(wrong(settings, &error.to_string())),
        Err(error) => Err(wrong(settings, &error.to_string())),
    }
}

/// TLS for the replication connection.
pub(crate) fn replication(settings: &Settings, authorities: Option<&NamedTempFile>) -> TlsConfig {
    match settings.tls {
        TlsMode::Disable => TlsConfig::disabled(),
        TlsMode::Require => TlsConfig::require(),
        // The name is given by hand because an address as host is refused otherwise; a
        // certificate may well name an address.
        TlsMode::VerifyFull => {
            TlsConfig::verify_full(authorities.map(|file| file.path().to_owned()))
                .with_sni_hostname(&settings.host)
        }
    }
}

/// The system's certificate authorities and those of `ca_file`.
async fn authorities(settings: &Settings) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let ca_file = settings.ca_file.clone();
    let load = move || {
        let mut all = rustls_native_certs::load_native_certs().certs;
        if let Some(file) = ca_file {
            let found = CertificateDer::pem_file_iter(&file)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("{}: {error}", file.display()))?;
            if found.is_empty() {
                return Err(format!("{}: no certificate in it", file.display()));
            }
            all.extend(found);
        }
        if all.is_empty() {
            return Err("the system has none".to_owned());
        }
        Ok(all)
    };
    match tokio::task::spawn_blocking(load).await {
        Ok(loaded) => loaded.map_err(|error| wrong(settings, &error)),
        Err(error) => Err(wrong(settings, &error.to_string())),
    }
}

fn wrong(settings: &Settings, found: &str) -> SourceError {
    SourceError::Denied {
        what: format!(
            "read certificate authorities for {}: {found}",
            settings.host
        ),
        hint: "set ca_file to the PEM file of the authority that signed the server's certificate"
            .to_owned(),
    }
}

/// The provider `main` has installed; in tests nobody has.
fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// `tls = "require"`: encryption against listeners, none against impostors.
#[derive(Debug)]
struct BelieveAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for BelieveAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
