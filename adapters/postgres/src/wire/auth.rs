//! Logging in.

use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5912::{
    ECDSA_WITH_SHA_256, ECDSA_WITH_SHA_384, ECDSA_WITH_SHA_512, SHA_1_WITH_RSA_ENCRYPTION,
    SHA_256_WITH_RSA_ENCRYPTION, SHA_384_WITH_RSA_ENCRYPTION, SHA_512_WITH_RSA_ENCRYPTION,
};

use super::{Failure, Login};

/// `tls-server-end-point` (<https://www.rfc-editor.org/rfc/rfc5929#section-4>): the server's
/// certificate, hashed as its signature is. `None` where the signature has no hash of its own.
pub(super) fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let signed = Certificate::from_der(certificate).ok()?.signature_algorithm;
    Some(match signed.oid {
        // A weak hash is replaced by this one.
        SHA_1_WITH_RSA_ENCRYPTION | SHA_256_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_256 => {
            Sha256::digest(certificate).to_vec()
        }
        SHA_384_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_384 => Sha384::digest(certificate).to_vec(),
        SHA_512_WITH_RSA_ENCRYPTION | ECDSA_WITH_SHA_512 => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

/// The password, where the server wants one.
pub(super) fn password<'a>(login: &Login<'a>) -> Result<&'a [u8], Failure> {
    let given = login.password.map(|secret| secret.expose().as_bytes());
    given.ok_or_else(|| {
        Failure::Login("the server wants a password, and the settings have none".to_owned())
    })
}

/// The password for a server that wants it as it is.
pub(super) fn clear_password<'a>(login: &Login<'a>, encrypted: bool) -> Result<&'a [u8], Failure> {
    if !encrypted && !login.trusts_the_network {
        return Err(Failure::Login(
            "the server wants the password in clear text over a connection without TLS: refused"
                .to_owned(),
        ));
    }
    password(login)
}

/// The first step of SCRAM with the strongest of the offered mechanisms that we have.
pub(super) fn scram(
    login: &Login<'_>,
    offered: &[&str],
    encrypted: bool,
    binding: Option<&Vec<u8>>,
) -> Result<(&'static str, ScramSha256), Failure> {
    let password = password(login)?;
    let plus = encrypted && offered.contains(&SCRAM_SHA_256_PLUS);
    let (mechanism, binding) = match binding {
        Some(binding) if plus => (
            SCRAM_SHA_256_PLUS,
            ChannelBinding::tls_server_end_point(binding.clone()),
        ),
        // "We could, you say you cannot": the server notices when somebody between us took the
        // offer away.
        Some(_) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None => (SCRAM_SHA_256, ChannelBinding::unsupported()),
    };
    if !offered.contains(&mechanism) {
        return Err(unknown(&offered.join(", ")));
    }
    Ok((mechanism, ScramSha256::new(password, binding)))
}

/// Another way to log in than ours.
pub(super) fn unknown(way: &str) -> Failure {
    Failure::Login(format!(
        "the server wants us to log in by {way}; we have SCRAM-SHA-256, md5, password, trust and \
         client certificates"
    ))
}

#[cfg(test)]
mod tests {
    use contract::Secret;

    use super::*;

    fn login(password: Option<&Secret>, trusts_the_network: bool) -> Login<'_> {
        Login {
            host: "db.example.com",
            port: 5432,
            database: "erp",
            user: "lighterman",
            password,
            trusts_the_network,
            tls: None,
            application: "t",
            options: "",
        }
    }

    #[test]
    fn a_clear_password_goes_only_where_nobody_listens() {
        let secret = Secret::new("pw");
        for (encrypted, trusts, fine) in [
            (false, false, false),
            (true, false, true),
            (false, true, true),
        ] {
            let given = clear_password(&login(Some(&secret), trusts), encrypted);
            assert_eq!(given.is_ok(), fine, "{encrypted} {trusts}");
        }
        assert!(clear_password(&login(None, true), true).is_err());
    }

    #[test]
    fn the_strongest_mechanism_is_taken() {
        let secret = Secret::new("pw");
        let login = login(Some(&secret), true);
        let both = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256];
        let binding = vec![1; 32];
        for (offered, encrypted, binding, taken, header) in [
            (
                &both[..],
                true,
                Some(&binding),
                SCRAM_SHA_256_PLUS,
                "p=tls-server-end-point,,",
            ),
            (&both[1..], true, Some(&binding), SCRAM_SHA_256, "y,,"),
            (&both[..], true, None, SCRAM_SHA_256, "n,,"),
            (&both[1..], false, None, SCRAM_SHA_256, "n,,"),
        ] {
            let (mechanism, scram) = scram(&login, offered, encrypted, binding).unwrap();
            assert_eq!(mechanism, taken);
            assert!(scram.message().starts_with(header.as_bytes()), "{header}");
        }
        assert!(scram(&login, &["OAUTHBEARER"], true, None).is_err());
    }

    #[test]
    fn what_is_no_certificate_has_no_end_point() {
        assert_eq!(end_point(b"anything"), None);
    }
}
