//! Logging in: PLAIN, and SCRAM (RFC 5802, 7677) with both digests that Kafka has.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use broker::Login;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};

use crate::api;
use crate::error::meaning;
use crate::wire::{Connection, In, Out};

/// How a name and a password are shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    Scram256,
    Scram512,
}

/// Most rounds that a broker may have us do.
const ROUNDS_MAX: u32 = 1_000_000;

impl Mechanism {
    pub(crate) const NAMES: [&'static str; 3] = ["plain", "scram-sha-256", "scram-sha-512"];

    pub(crate) fn of(name: &str) -> Self {
        match name {
            "scram-sha-256" => Self::Scram256,
            "scram-sha-512" => Self::Scram512,
            _ => Self::Plain,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain | Self::Scram256 => Sha256::digest(data).to_vec(),
            Self::Scram512 => Sha512::digest(data).to_vec(),
        }
    }

    fn sign(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        // Both take keys of any length.
        match self {
            Self::Plain | Self::Scram256 => Hmac::<Sha256>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
            Self::Scram512 => Hmac::<Sha512>::new_from_slice(key)
                .map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()),
        }
        .unwrap_or_default()
    }
}

fn mix(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// What we answer to a broker's challenge, and the signature by which it proves itself then.
fn answer(
    mechanism: Mechanism,
    password: &str,
    first: &str,
    nonce: &str,
    challenge: &str,
) -> Option<(String, Vec<u8>)> {
    let mut parts = challenge.split(',');
    let both = parts.next()?.strip_prefix("r=")?;
    let salt = STANDARD.decode(parts.next()?.strip_prefix("s=")?).ok()?;
    let rounds: u32 = parts.next()?.strip_prefix("i=")?.parse().ok()?;
    if !both.starts_with(nonce) || both.len() == nonce.len() || !(1..=ROUNDS_MAX).contains(&rounds)
    {
        return None;
    }
    let mut block = salt;
    block.extend_from_slice(&1_u32.to_be_bytes());
    let mut round = mechanism.sign(password.as_bytes(), &block);
    let mut salted = round.clone();
    for _ in 1..rounds {
        round = mechanism.sign(password.as_bytes(), &round);
        salted = mix(&salted, &round);
    }
    let client_key = mechanism.sign(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={both}");
    let signed = format!("{first},{challenge},{without_proof}");
    let signature = mechanism.sign(&mechanism.hash(&client_key), signed.as_bytes());
    let proof = STANDARD.encode(mix(&client_key, &signature));
    let server_key = mechanism.sign(&salted, b"Server Key");
    let expected = mechanism.sign(&server_key, signed.as_bytes());
    Some((format!("{without_proof},p={proof}"), expected))
}

/// Logs in on a new connection.
pub(crate) async fn log_in(
    connection: &mut Connection,
    login: &Login,
    mechanism: Mechanism,
) -> Result<(), String> {
    let mut out = Out::default();
    out.text(mechanism.name());
    let offered = connection.ask(api::SASL_HANDSHAKE, &out, |answer| {
        Some((answer.i16()?, answer.list(In::text)?))
    });
    let (error, offered) = offered.await?;
    if error != 0 {
        let name = mechanism.name();
        let offered = offered.join(", ");
        return Err(format!("log in: the broker takes {offered}, not {name}"));
    }
    let password = login.password.expose();
    if mechanism == Mechanism::Plain {
        let said = format!("\0{}\0{password}", login.user);
        return step(connection, said.as_bytes()).await.map(drop);
    }
    let nonce = broker::unique();
    let user = login.user.replace('=', "=3D").replace(',', "=2C");
    let first = format!("n={user},r={nonce}");
    let challenge = step(connection, format!("n,,{first}").as_bytes()).await?;
    let strange = || "log in: the broker's challenge is not understood".to_owned();
    let (last, expected) =
        answer(mechanism, password, &first, &nonce, &challenge).ok_or_else(strange)?;
    let proof = step(connection, last.as_bytes()).await?;
    let proof = proof.strip_prefix("v=").map(|proof| STANDARD.decode(proof));
    match proof {
        Some(Ok(proof)) if proof == expected => Ok(()),
        _ => Err("log in: the broker does not know our password itself".to_owned()),
    }
}

async fn step(connection: &mut Connection, said: &[u8]) -> Result<String, String> {
    let mut out = Out::default();
    out.bytes(said);
    let answer = connection.ask(api::SASL_AUTHENTICATE, &out, |answer| {
        let error = answer.i16()?;
        let _words = answer.text()?;
        let bytes = String::from_utf8_lossy(answer.bytes()?).into_owned();
        Some((error, bytes))
    });
    match answer.await? {
        (0, answer) => Ok(answer),
        // The broker's own words may hold the name.
        (error, _) => Err(format!("log in: {}", meaning(error).1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn a_challenge_is_answered_as_the_standard_says() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        let first = format!("n=user,r={nonce}");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let found = answer(Mechanism::Scram256, "pencil", &first, nonce, challenge);
        let (last, expected) = found.unwrap();
        assert!(
            last.ends_with("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
            "{last}"
        );
        let expected = STANDARD.encode(expected);
        assert_eq!(expected, "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let foreign = answer(Mechanism::Scram256, "pencil", &first, "other", challenge);
        assert_eq!(foreign, None, "the nonce must be ours");
    }
}
