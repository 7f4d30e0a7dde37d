//! Every way to log in, and how the API is reached.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::Arc;

use crate::common::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::gate::Open;
use contract::{Destination, Level, Node};
use harness::certificates::Certificates;
use ring::signature::{self, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A file with a way to log in.
pub(crate) fn file(auth: &str) -> String {
    format!(
        "channel: a\ntitle: A\nproven: documentation\nresend: safe\n\
         settings: {{url: {{type: url, ask: where?}}, key: {{type: secret, ask: which?}}, pem: {{type: text, ask: which?, default: none}}}}\n\
         url: setting.url\ntimeout: 2s\nauth: {auth}\ncheck: {{get: /me, done: {{status: 200}}}}\n\
         events: {{inventory.availability.v1: {{steps: [{{send: {{post: \"/stock/{{sku}}?b=2\", body: {{q: sellable}}, done: {{status: 200}}}}}}], delete: same}}}}\n"
    )
}

pub(crate) fn shop(url: &str, auth: &str, pem: Option<&str>) -> Arc<dyn Destination> {
    shop_with(url, auth, pem, environment())
}

/// With a secret from elsewhere.
pub(crate) fn shop_with(
    url: &str,
    auth: &str,
    pem: Option<&str>,
    key: Node,
) -> Arc<dyn Destination> {
    let mut settings = vec![("url", text(url)), ("key", key)];
    settings.extend(pem.map(|pem| ("pem", text(pem))));
    of_file(
        &file(auth),
        vec![("settings", map(settings)), ("timeout_seconds", number(5))],
    )
}

pub(crate) async fn one(shop: &Arc<dyn Destination>) -> String {
    words(
        &shop
            .deliver(&[stock(1, "A", "MAIN", 1)], &Open)
            .await
            .outcomes(),
    )
}

#[tokio::test]
async fn what_never_changes_goes_with_each_request() {
    let basic = format!("Basic {}", STANDARD.encode("me:s3cr3t-pass"));
    let cases = [
        (
            "{basic: {user: \"'me'\", password: setting.key}}",
            "authorization",
            basic.as_str(),
            "/stock/A?b=2",
        ),
        (
            "{bearer: setting.key}",
            "authorization",
            "Bearer s3cr3t-pass",
            "/stock/A?b=2",
        ),
        (
            "{api_key: {header: X-Key, value: setting.key}}",
            "x-key",
            "s3cr3t-pass",
            "/stock/A?b=2",
        ),
        (
            "{api_key: {query: key, value: setting.key}}",
            "x-key",
            "",
            "/stock/A?b=2&key=s3cr3t-pass",
        ),
        ("none", "authorization", "", "/stock/A?b=2"),
    ];
    for (auth, header, value, path) in cases {
        let api = Api::start(|_: &Request| answer(200, json!({"said": "s3cr3t-pass"}))).await;
        let shop = shop(&api.url, auth, None);
        let outcomes = shop
            .deliver(&[stock(1, "A", "MAIN", 1)], &Open)
            .await
            .outcomes();
        assert!(
            !format!("{outcomes:?}").contains("s3cr3t"),
            "what an API repeats is cut out: {outcomes:?}"
        );
        let took = api.took();
        assert_eq!(
            (took[0].header(header), took[0].path.as_str()),
            (value, path),
            "{auth}"
        );
    }
}

#[tokio::test]
async fn tokens_are_fetched_used_and_renewed() {
    let token = |n: usize| {
        answer(
            200,
            json!({"access_token": format!("t{n}"), "expires_in": 3600, "refresh_token": format!("r{n}")}),
        )
    };
    for (grant, first, second) in [
        (
            "grant: client_credentials, client_secret: setting.key, form: {scope: \"'a b'\"}",
            "grant_type=client_credentials&client_id=me&client_secret=s3cr3t-pass&scope=a%20b",
            None,
        ),
        (
            "grant: refresh_token, refresh_token: setting.key",
            "grant_type=refresh_token&client_id=me&refresh_token=s3cr3t-pass",
            Some("grant_type=refresh_token&client_id=me&refresh_token=r1"),
        ),
    ] {
        let api = Api::start(|request: &Request| {
            answer(
                if request.header("x-token") == "t2" {
                    200
                } else {
                    401
                },
                json!({}),
            )
        })
        .await;
        let auth = format!(
            "{{oauth2: {{token_url: setting.url || '/token', client_id: \"'me'\", {grant}, send: {{x-token: token}}}}}}"
        );
        let shop = shop(&api.url, &auth, None);
        api.then([token(1), answer(401, json!({})), token(2)]);
        assert_eq!(one(&shop).await, "applied");
        assert_eq!(one(&shop).await, "applied");
        let took = api.took();
        let paths: Vec<&str> = took.iter().map(|request| request.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "/token",
                "/stock/A?b=2",
                "/token",
                "/stock/A?b=2",
                "/stock/A?b=2"
            ]
        );
        assert_eq!(took[0].text, first);
        assert_eq!(
            took[2].text,
            second.unwrap_or(first),
            "a refresh token that the answer changed"
        );
    }
}

/// The server knows a refresh token once. What it gave last stands in the secret's file after each login, so
/// that an agent that starts anew gets in.
#[tokio::test]
async fn a_refresh_token_that_changes_is_known_after_a_restart() {
    let api = Api::start({
        let logins = std::sync::atomic::AtomicUsize::new(0);
        move |request: &Request| {
            if request.path != "/token" {
                return answer(200, json!({}));
            }
            let n = logins.load(std::sync::atomic::Ordering::SeqCst);
            let newest = if n == 0 { "given" } else { &format!("r{n}") };
            if !request.text.ends_with(&format!("&refresh_token={newest}")) {
                return answer(400, json!({"error": "invalid_grant"}));
            }
            let n = n + 1;
            logins.store(n, std::sync::atomic::Ordering::SeqCst);
            answer(
                200,
                json!({"access_token": "t", "expires_in": 0, "refresh_token": format!("r{n}")}),
            )
        }
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("refresh-token");
    std::fs::write(&file, "given\n").unwrap();
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o640);
    std::fs::set_permissions(&file, rights).unwrap();
    let auth = "{oauth2: {token_url: setting.url || '/token', client_id: \"'me'\", grant: refresh_token, refresh_token: setting.key}}";
    for start in 0..2 {
        let place = map([("file", text(file.to_str().unwrap()))]);
        let shop = shop_with(&api.url, auth, None, place);
        for login in 1..=2 {
            assert_eq!(one(&shop).await, "applied");
            let kept = std::fs::read_to_string(&file).unwrap();
            assert_eq!(kept, format!("r{}\n", start * 2 + login));
        }
    }
    let rights = std::fs::metadata(&file).unwrap().permissions();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&rights) & 0o777,
        0o640
    );
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing stays beside it"
    );
    // Where it cannot be written, this run goes on.
    let place = map([("file", text(file.to_str().unwrap()))]);
    let shop = shop_with(&api.url, auth, None, place);
    std::fs::create_dir_all(folder.path().join("refresh-token.new/in the way")).unwrap();
    assert_eq!(one(&shop).await, "applied");
    assert_eq!(one(&shop).await, "applied");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "r4\n");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let api =
        Api::start(|_: &Request| answer(200, json!({"access_token": "t", "expires_in": 0}))).await;
    let shop = shop(
        &api.url,
        "{oauth2: {grant: client_credentials, token_url: setting.url || '/token', client_id: setting.key}}",
        None,
    );
    assert_eq!(
        (one(&shop).await, one(&shop).await),
        ("applied".to_owned(), "applied".to_owned())
    );
    assert_eq!(
        api.took()
            .iter()
            .filter(|request| request.path == "/token")
            .count(),
        2
    );
}

#[tokio::test]
async fn an_assertion_is_signed_by_our_key() {
    let random = ring::rand::SystemRandom::new();
    let key = signature::EcdsaKeyPair::generate_pkcs8(
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        &random,
    )
    .unwrap();
    let pair = signature::EcdsaKeyPair::from_pkcs8(
        &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        key.as_ref(),
        &random,
    )
    .unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(key.as_ref())
    );
    let api = Api::start(|_: &Request| answer(200, json!({"access_token": "t"}))).await;
    let auth = "{oauth2: {grant: jwt_bearer, token_url: setting.url || '/token', jwt: {algorithm: ES256, key: setting.pem, key_id: \"'k1'\", claims: {iss: \"'me'\", scope: \"'all'\"}}}}";
    assert_eq!(one(&shop(&api.url, auth, Some(&pem))).await, "applied");
    let took = api.took();
    let assertion = took[0].text.split("&assertion=").nth(1).unwrap();
    assert!(
        took[0]
            .text
            .starts_with("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer")
    );
    let (signed, signature) = assertion.rsplit_once('.').unwrap();
    let public = signature::UnparsedPublicKey::new(
        &signature::ECDSA_P256_SHA256_FIXED,
        pair.public_key().as_ref(),
    );
    public
        .verify(
            signed.as_bytes(),
            &URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
        .unwrap();
    let part = |text: &str| {
        serde_json::from_slice::<Json>(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    let (header, claims) = signed.split_once('.').unwrap();
    assert_eq!(
        part(header),
        json!({"alg": "ES256", "typ": "JWT", "kid": "k1"})
    );
    let claims = part(claims);
    assert_eq!(
        (&claims["iss"], &claims["scope"]),
        (&json!("me"), &json!("all"))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        300
    );
    assert_eq!(took[1].header("authorization"), "Bearer t");

    // A key that is none is said without any of it.
    let outcomes = shop(&api.url, auth, Some("s0mething"))
        .deliver(&[stock(1, "A", "MAIN", 1)], &Open)
        .await
        .outcomes();
    assert_eq!(words(&outcomes), "retry");
    assert!(
        cause(&outcomes[0]).contains("no ES256 key") && !cause(&outcomes[0]).contains("s0me"),
        "{outcomes:?}"
    );
}

/// Judged by OpenSSL's own verification.
#[tokio::test]
async fn assertions_are_signed_by_rsa_keys() {
    let folder = tempfile::tempdir().unwrap();
    let openssl = |words: &str| {
        let ran = std::process::Command::new("openssl")
            .current_dir(folder.path())
            .args(words.split_whitespace())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{words}: {ran:?}");
    };
    openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.pem");
    openssl("pkey -in key.pem -pubout -out public.pem");
    let pem = std::fs::read_to_string(folder.path().join("key.pem")).unwrap();
    let api = Api::start(|_: &Request| answer(200, json!({"access_token": "t"}))).await;
    for (algorithm, padding) in [
        ("RS256", ""),
        (
            "PS256",
            "-sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32",
        ),
    ] {
        let auth = format!(
            "{{oauth2: {{grant: jwt_bearer, token_url: setting.url || '/token', jwt: {{algorithm: {algorithm}, \
             key: setting.pem, claims: {{iss: \"'me'\"}}}}}}}}"
        );
        assert_eq!(one(&shop(&api.url, &auth, Some(&pem))).await, "applied");
        let took = api.took();
        let asked = took.iter().rfind(|request| request.path == "/token");
        let assertion = asked.unwrap().text.split("&assertion=").nth(1).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        std::fs::write(folder.path().join("signed"), signed).unwrap();
        std::fs::write(folder.path().join("signature"), signature).unwrap();
        openssl(&format!(
            "dgst -sha256 -verify public.pem -signature signature {padding} signed"
        ));
    }
}

/// The signature is worked out here once more, as RFC 5849 says.
#[tokio::test]
async fn requests_are_signed_as_oauth_1_says() {
    use hmac::{Hmac, KeyInit, Mac};
    let api = Api::start(|_: &Request| answer(200, json!({}))).await;
    let auth = "{oauth1: {consumer_key: \"'ck'\", consumer_secret: setting.key, token: \"'tk'\", token_secret: \"'t&s'\", realm: \"'123_SB1'\"}}";
    assert_eq!(one(&shop(&api.url, auth, None)).await, "applied");
    let took = api.took();
    let header = took[0]
        .header("authorization")
        .strip_prefix("OAuth ")
        .unwrap()
        .to_owned();
    let part = |name: &str| {
        let found = header
            .split(", ")
            .find_map(|part| part.strip_prefix(&format!("{name}=\"")));
        found.unwrap().trim_end_matches('"').to_owned()
    };
    assert_eq!(
        (part("realm"), part("oauth_token")),
        ("123_SB1".to_owned(), "tk".to_owned())
    );
    let place = format!("{}/stock/A", api.url)
        .replace(':', "%3A")
        .replace('/', "%2F");
    let parameters = format!(
        "b%3D2%26oauth_consumer_key%3Dck%26oauth_nonce%3D{}%26oauth_signature_method%3DHMAC-SHA256%26oauth_timestamp%3D{}%26oauth_token%3Dtk%26oauth_version%3D1.0",
        part("oauth_nonce"),
        part("oauth_timestamp")
    );
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"s3cr3t-pass&t%26s").unwrap();
    mac.update(format!("POST&{place}&{parameters}").as_bytes());
    let expected = STANDARD.encode(mac.finalize().into_bytes());
    assert_eq!(
        part("oauth_signature"),
        expected
            .replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
    );
}

#[tokio::test]
async fn a_token_against_forged_requests_is_fetched_with_its_cookies() {
    let api = Api::start(|request: &Request| {
        let fresh =
            request.header("x-csrf-token") == "c2" && request.header("cookie") == "s=2; u=1";
        match request.method.as_str() {
            "POST" if fresh => answer(200, json!({})),
            "POST" => Do::Answer(
                403,
                vec![("x-csrf-token", "Required".to_owned())],
                json!({}),
            ),
            _ => Do::Answer(
                200,
                vec![
                    ("x-csrf-token", "c2".to_owned()),
                    ("set-cookie", "s=2; path=/; HttpOnly".to_owned()),
                    ("set-cookie", "u=1".to_owned()),
                ],
                json!({}),
            ),
        }
    })
    .await;
    let auth = "{bearer: setting.key, csrf: {get: /token, refused: {status: 403, at: $header.x-csrf-token, is: Required}}}";
    let shop = shop(&api.url, auth, None);
    // The first one is stale already.
    api.then([Do::Answer(
        200,
        vec![("x-csrf-token", "c1".to_owned())],
        json!({}),
    )]);
    assert_eq!(one(&shop).await, "applied");
    assert_eq!(one(&shop).await, "applied");
    let took = api.took();
    let methods: Vec<&str> = took.iter().map(|request| request.method.as_str()).collect();
    assert_eq!(methods, ["GET", "POST", "GET", "POST", "POST"]);
    assert_eq!(
        (
            took[0].header("x-csrf-token"),
            took[0].header("authorization")
        ),
        ("fetch", "Bearer s3cr3t-pass")
    );
}

#[tokio::test]
async fn a_check_says_what_is_wrong() {
    let api = Api::start(|request: &Request| {
        answer(
            if request.header("authorization") == "Bearer s3cr3t-pass" {
                200
            } else {
                401
            },
            json!({}),
        )
    })
    .await;
    assert_eq!(
        shop(&api.url, "{bearer: setting.key}", None).check().await[0].level,
        Level::Pass
    );
    let findings = shop(&api.url, "{bearer: \"'other'\"}", None).check().await;
    assert_eq!(findings[0].level, Level::Fail);
    assert!(
        findings[0].found.contains("does not take our credentials"),
        "{findings:?}"
    );
    let nobody = format!("http://127.0.0.1:{}", harness::receiver::free_port());
    let findings = shop(&nobody, "none", None).check().await;
    assert!(
        findings[0].found.contains("does not answer"),
        "{findings:?}"
    );
}

#[tokio::test]
async fn our_own_certificate_is_shown_and_the_authority_is_private() {
    let certificates = Certificates::new();
    certificates.sign("agent", "agent", "DNS:agent");
    let file = |name: &str| certificates.file(name);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file("ca.crt")).unwrap())
        .unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let chain = CertificateDer::from_pem_file(file("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![chain], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                    .await;
                let _ = stream.shutdown().await;
            });
        }
    });
    let with = |own: bool| {
        let path = |name: &str| text(file(name).to_str().unwrap());
        let mut more = vec![
            ("ca_file", path("ca.crt")),
            (
                "settings",
                map([("url", text(&url)), ("key", environment())]),
            ),
        ];
        if own {
            more.extend([
                ("cert_file", path("agent.crt")),
                ("key_file", path("agent.key")),
            ]);
        }
        of_file(&self::file("none"), more)
    };
    assert_eq!(one(&with(true)).await, "applied");
    let outcomes = with(false)
        .deliver(&[stock(1, "A", "MAIN", 1)], &Open)
        .await
        .outcomes();
    // With TLS 1.3 a server refuses a client after the handshake: nobody can tell what it took.
    assert!(
        ["retry", "unknown"].contains(&words(&outcomes).as_str()),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_proxy_is_used_where_the_settings_name_one() {
    let api = Api::start(|_: &Request| answer(200, json!({}))).await;
    let more = vec![
        (
            "settings",
            map([("url", text("http://shop.example")), ("key", environment())]),
        ),
        (
            "allow_plain_http",
            contract::Node {
                line: 1,
                column: 1,
                kind: contract::NodeKind::Bool(true),
            },
        ),
        ("proxy", text(&api.url)),
        ("proxy_user", text("me")),
        ("proxy_password", environment()),
    ];
    assert_eq!(one(&of_file(&file("none"), more)).await, "applied");
    let took = api.took();
    assert_eq!(took[0].path, "http://shop.example/stock/A?b=2");
    assert_eq!(
        took[0].header("proxy-authorization"),
        format!("Basic {}", STANDARD.encode("me:s3cr3t-pass"))
    );
}

#[test]
fn settings_that_are_wrong_are_told() {
    let shop = |settings: Vec<(&str, contract::Node)>| {
        try_destination(&map(settings))
            .err()
            .unwrap_or_else(|| "fine".to_owned())
    };
    let settings = |url: &str| {
        map([
            ("url", text(url)),
            ("user", text("u")),
            ("password", environment()),
            ("locations", map([("A", text("1"))])),
        ])
    };
    let cases = [
        (
            vec![
                ("channel", text("vendur")),
                ("settings", settings("https://x")),
            ],
            "no channel `vendur` is shipped; did you mean `vendure`?",
        ),
        (
            vec![("settings", settings("https://x"))],
            "exactly one of `channel",
        ),
        (
            vec![("channel", text("vendure"))],
            "with which administrator's name do we log in?",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", map([("urls", text("https://x"))])),
            ],
            "did you mean `url`?",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", settings("http://shop.example")),
            ],
            "unencrypted",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", settings("https://u:p@x")),
            ],
            "must not hold a user or password",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", settings("nowhere")),
            ],
            "address is none",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", settings("https://x")),
                ("cert_file", text("a.pem")),
            ],
            "belong together",
        ),
        (
            vec![
                ("channel", text("vendure")),
                ("settings", settings("http://localhost")),
                ("ca_file", text("a.pem")),
            ],
            "https address",
        ),
        (
            vec![
                ("file", text("/nowhere.yaml")),
                ("settings", settings("https://x")),
            ],
            "read /nowhere.yaml",
        ),
    ];
    for (given, expected) in cases {
        let found = shop(given);
        assert!(found.contains(expected), "{expected}: {found}");
    }
}
