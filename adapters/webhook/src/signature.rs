//! Standard Webhooks 1.0.0 signatures
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A signing key, decoded.
#[derive(Clone)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Reads `whsec_` and base64 of 24 to 64 bytes.
    pub(crate) fn parse(secret: &Secret) -> Result<Self, &'static str> {
        let text = secret
            .expose()
            .strip_prefix("whsec_")
            .ok_or("does not begin with whsec_")?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| "is not base64 after whsec_")?;
        if (24..=64).contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err("is not 24 to 64 bytes long")
        }
    }
}

/// The `webhook-signature` header: one `v1,` part per key, so that keys can be rotated.
pub(crate) fn header(keys: &[Key], id: &str, timestamp: i64, body: &[u8]) -> String {
    let parts: Vec<String> = keys
        .iter()
        .filter_map(|key| Hmac::<Sha256>::new_from_slice(&key.0).ok())
        .map(|mut mac| {
            mac.update(format!("{id}.{timestamp}.").as_bytes());
            mac.update(body);
            format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
        })
        .collect();
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks specification's reference libraries.
    #[test]
    fn known_vector() {
        let key = Key::parse(&Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
            .ok()
            .unwrap();
        let header = header(
            &[key],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b"{\"test\": 2432232314}",
        );
        assert_eq!(header, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn bad_keys_are_refused() {
        for secret in ["abc", "whsec_???", "whsec_AAAA"] {
            assert!(Key::parse(&Secret::new(secret)).is_err(), "{secret}");
        }
    }
}
