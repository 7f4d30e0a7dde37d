//! Signatures: OAuth 1.0a with HMAC-SHA256 (RFC 5849), and assertions (RFC 7515, RFC 7523).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use mappings::channel::{Jwt, Prepared, Signing, percent};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value as Json, json};
use sha2::Sha256;

/// The `Authorization` header of a request that is signed.
pub(crate) fn oauth1(
    signing: &Signing,
    request: &Prepared,
    timestamp: i64,
    nonce: &str,
) -> Option<String> {
    let url = reqwest::Url::parse(&request.url).ok()?;
    let mut own = vec![
        ("oauth_consumer_key".to_owned(), signing.consumer.0.clone()),
        ("oauth_nonce".to_owned(), nonce.to_owned()),
        (
            "oauth_signature_method".to_owned(),
            "HMAC-SHA256".to_owned(),
        ),
        ("oauth_timestamp".to_owned(), timestamp.to_string()),
        ("oauth_version".to_owned(), "1.0".to_owned()),
    ];
    if let Some((token, _)) = &signing.token {
        own.push(("oauth_token".to_owned(), token.clone()));
    }
    let asked = url
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), value.into_owned()));
    let all = own
        .iter()
        .cloned()
        .chain(asked)
        .chain(request.form.iter().cloned());
    // Encoded first and sorted then (section 3.4.1.3.2).
    let mut pairs: Vec<(String, String)> = all
        .map(|(name, value)| (percent(&name, b""), percent(&value, b"")))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let host = url.host_str()?;
    let port = url
        .port()
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    let place = format!("{}://{host}{port}{}", url.scheme(), url.path());
    let base = format!(
        "{}&{}&{}",
        request.method,
        percent(&place, b""),
        percent(&pairs.join("&"), b"")
    );
    let secret = signing
        .token
        .as_ref()
        .map(|(_, secret)| secret.as_str())
        .unwrap_or_default();
    let key = format!(
        "{}&{}",
        percent(&signing.consumer.1, b""),
        percent(secret, b"")
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(base.as_bytes());
    own.push((
        "oauth_signature".to_owned(),
        STANDARD.encode(mac.finalize().into_bytes()),
    ));
    let mut parts: Vec<String> = Vec::with_capacity(own.len() + 1);
    parts.extend(
        signing
            .realm
            .as_ref()
            .map(|realm| format!("realm=\"{}\"", percent(realm, b""))),
    );
    parts.extend(
        own.iter()
            .map(|(name, value)| format!("{name}=\"{}\"", percent(value, b""))),
    );
    Some(format!("OAuth {}", parts.join(", ")))
}

/// A signed assertion.
///
/// # Errors
/// What is wrong with the key, without any of it.
pub(crate) fn assertion(jwt: &Jwt, now: i64, id: &str) -> Result<String, String> {
    let mut header = json!({"alg": jwt.algorithm, "typ": "JWT"});
    if let (Some(id), Some(header)) = (&jwt.key_id, header.as_object_mut()) {
        header.insert("kid".to_owned(), json!(id));
    }
    let mut claims = jwt.claims.clone();
    let expires = i64::try_from(jwt.expires.as_secs()).unwrap_or(300);
    for (name, value) in [
        ("iat", json!(now)),
        ("exp", json!(now + expires)),
        ("jti", json!(id)),
    ] {
        claims.entry(name).or_insert(value);
    }
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let signed = format!("{}.{}", part(&header), part(&Json::Object(claims)));
    let signature = sign(jwt, signed.as_bytes())?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn sign(jwt: &Jwt, data: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || {
        format!(
            "the private key of the login is no {} key in PEM (PKCS #8)",
            jwt.algorithm
        )
    };
    let key = PrivateKeyDer::from_pem_slice(jwt.key.as_bytes()).map_err(|_| wrong())?;
    let random = SystemRandom::new();
    if jwt.algorithm == "ES256" {
        let pair = EcdsaKeyPair::from_pkcs8(
            &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            key.secret_der(),
            &random,
        );
        let signed = pair
            .map_err(|_| wrong())?
            .sign(&random, data)
            .map_err(|_| wrong())?;
        return Ok(signed.as_ref().to_vec());
    }
    let pair = match &key {
        PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
        other => RsaKeyPair::from_pkcs8(other.secret_der()),
    };
    let pair = pair.map_err(|_| wrong())?;
    let padding: &dyn signature::RsaEncoding = if jwt.algorithm == "PS256" {
        &signature::RSA_PSS_SHA256
    } else {
        &signature::RSA_PKCS1_SHA256
    };
    let mut signed = vec![0; pair.public().modulus_len()];
    pair.sign(padding, &random, data, &mut signed)
        .map_err(|_| wrong())?;
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the parameters of the example in RFC 5849 section 3.4.1.1.
    #[test]
    fn parameters_are_sorted_and_encoded_before_signing() {
        let signing = Signing {
            consumer: ("9djdj82h48djs9d2".to_owned(), "j49sk3j29djd".to_owned()),
            token: Some(("kkk9d7dh3k39sjv7".to_owned(), "dh893hdasih9".to_owned())),
            realm: Some("Example".to_owned()),
        };
        let request = |url: &str| Prepared {
            method: "POST",
            url: url.to_owned(),
            headers: Vec::new(),
            body: None,
            points: 0,
            form: vec![
                ("c2".to_owned(), String::new()),
                ("a3".to_owned(), "2 q".to_owned()),
            ],
            away: false,
        };
        let one = oauth1(
            &signing,
            &request("http://example.com/request?b5=%3D%253D&a3=a&c%40=&a2=r%20b"),
            137_131_201,
            "7d8f3e4a",
        );
        let other = oauth1(
            &signing,
            &request("http://example.com:80/request?a2=r%20b&c%40=&a3=a&b5=%3D%253D"),
            137_131_201,
            "7d8f3e4a",
        );
        assert_eq!(one, other);
        let header = one.unwrap();
        assert!(
            header.starts_with("OAuth realm=\"Example\", oauth_consumer_key=\"9djdj82h48djs9d2\""),
            "{header}"
        );
        assert!(header.contains("oauth_signature_method=\"HMAC-SHA256\""));
    }
}
