//! Every place of the local server, walked by everybody: strangers, tokens, a viewer, an operator, and whoever writes
//! requests that no client writes.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use harness::agent::Agent;
use harness::local::ask;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;
use serde_json::Value;

use crate::metrics::{site, until};

const OPERATOR: &str = "correct horse battery";
const VIEWER: &str = "only looks around here";
/// Stands in each token's secret.
const MARK: &str = "Zq7DoorMark4f1c2a9e7b3d";

const SCOPES: [&str; 7] = [
    "status:read",
    "held:read",
    "held:write",
    "trace:read",
    "replay:write",
    "destination:write",
    "published:read",
];

/// The page's places: how they are asked, and whether only an operator may.
const PLACES: [(&str, &str, bool); 12] = [
    ("GET", "/page", false),
    ("GET", "/page/held", false),
    ("GET", "/page/held/item", false),
    ("POST", "/page/held/retry", true),
    ("GET", "/page/held/drop", true),
    ("POST", "/page/held/drop", true),
    ("GET", "/page/trace", false),
    ("GET", "/page/destinations", false),
    ("POST", "/page/destinations/pause", true),
    ("POST", "/page/destinations/resume", true),
    ("GET", "/page/mappings", false),
    ("GET", "/page/audit", false),
];
/// And those that anybody may ask for, or that end a session.
const OTHERS: [&str; 5] = [
    "/page/login",
    "/page/logout",
    "/page/style.css",
    "/page/script.js",
    "/page/icon.svg",
];

/// What came back.
#[derive(Debug)]
struct Reply {
    status: u16,
    whole: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.whole.split_once("\r\n\r\n")?;
        head.lines().find_map(|line| {
            let (known, text) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(text)
        })
    }
}

async fn send(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "Host") {
        write!(request, "Host: 127.0.0.1:{port}\r\n").unwrap();
    }
    for (name, text) in headers {
        write!(request, "{name}: {text}\r\n").unwrap();
    }
    write!(request, "Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let whole = ask(port, request.as_bytes()).await;
    let status = whole.split(' ').nth(1).and_then(|text| text.parse().ok());
    Reply {
        status: status.unwrap_or(0),
        whole,
    }
}

/// A site with a token for each scope, a viewer and an operator.
fn guarded(receiver: &Receiver) -> (Site, u16) {
    let mut more = String::from("unknown_tokens_per_minute = 60000\n");
    for (n, scope) in SCOPES.iter().enumerate() {
        write!(
            more,
            "[[local.token]]\nname = \"t{n}\"\nsecret = {{ file = \"t{n}\" }}\nscopes = [\"{scope}\"]\n\
             requests_per_minute = 6000\n"
        )
        .unwrap();
        if *scope == "published:read" {
            let types = contract::EventType::ALL.map(contract::EventType::name);
            writeln!(more, "types = {}", serde_json::json!(types)).unwrap();
        }
    }
    for (name, role) in [("anna", "operator"), ("desk", "viewer")] {
        write!(
            more,
            "[[local.user]]\nname = \"{name}\"\nrole = \"{role}\"\nsecret = {{ file = \"{name}\" }}\n"
        )
        .unwrap();
    }
    let (site, port) = site(receiver, &more);
    let secret = |name: &str, text: &str| std::fs::write(site.path().join(name), text).unwrap();
    for n in 0..SCOPES.len() {
        secret(&format!("t{n}"), &format!("{MARK}-{n}"));
    }
    secret("anna", OPERATOR);
    secret("desk", VIEWER);
    (site, port)
}

async fn ready(port: u16, agent: &Agent) {
    until(port, "/health/live", agent, |status, _| status == 200).await;
}

/// The cookie and the form's token of somebody who logged in.
async fn login(port: u16, name: &str, secret: &str) -> (String, String) {
    let origin = format!("http://127.0.0.1:{port}");
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("name", name), ("secret", secret)])
        .finish();
    let reply = send(port, "POST", "/page/login", &[("Origin", &origin)], &body).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let cookie = reply.header("set-cookie").unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = send(port, "GET", "/page", &[("Cookie", &cookie)], "").await;
    let (_, rest) = page.whole.split_once("name=\"form\" value=\"").unwrap();
    (cookie, rest.split('"').next().unwrap().to_owned())
}

/// No secret and no word for another site's script stands in any answer.
#[track_caller]
fn says_nothing_it_must_not(reply: &Reply) {
    for secret in [OPERATOR, VIEWER, MARK] {
        assert!(!reply.whole.contains(secret), "{reply:?}");
    }
    for name in [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "server",
    ] {
        assert_eq!(reply.header(name), None, "{reply:?}");
    }
}

/// Whoever has a token may ask for what its scope names, and for nothing else of all that the description has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_place_of_the_api_is_open_to_its_scope_alone() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = guarded(&receiver);
    let agent = site.agent();
    ready(port, &agent).await;
    let (cookie, _) = login(port, "anna", OPERATOR).await;
    let described = send(port, "GET", "/api/v1/openapi.json", &[], "").await;
    let (_, body) = described.whole.split_once("\r\n\r\n").unwrap();
    let described: Value = serde_json::from_str(body).unwrap();
    let mut asked = 0;
    for (path, ways) in described["paths"].as_object().unwrap() {
        let real = path
            .replace("{name}", "shop")
            .replace("{id}", "shop%2F999")
            .replace("{number}", "1");
        for (method, way) in ways.as_object().unwrap() {
            let needed: BTreeSet<&str> = way["security"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["token"][0].as_str().unwrap())
                .collect();
            let method = method.to_uppercase();
            let place = format!("{method} {path}");
            let origin = format!("http://127.0.0.1:{port}");
            let mut strangers = vec![
                vec![],
                vec![("Authorization", "Bearer guess")],
                // A person's session is nothing here, so no page can use it.
                vec![("Cookie", cookie.as_str()), ("Origin", origin.as_str())],
            ];
            if needed.is_empty() {
                strangers.clear();
            }
            for headers in strangers {
                let reply = send(port, &method, &real, &headers, "").await;
                assert_eq!(reply.status, 401, "{place} {headers:?}: {reply:?}");
                says_nothing_it_must_not(&reply);
                if method == "GET" {
                    let reply = send(port, "HEAD", &real, &headers, "").await;
                    assert_eq!(reply.status, 401, "{place} {headers:?}: {reply:?}");
                }
            }
            for (n, scope) in SCOPES.iter().enumerate() {
                let bearer = format!("Bearer {MARK}-{n}");
                let headers = [("Authorization", bearer.as_str())];
                let reply = send(port, &method, &real, &headers, "").await;
                says_nothing_it_must_not(&reply);
                let may = needed.is_empty() || needed.contains(scope);
                let came_in = ![401, 403].contains(&reply.status);
                assert_eq!(came_in, may, "{place} with {scope}: {reply:?}");
                asked += 1;
            }
            // What a browser asks before it lets another site's page in.
            let before = [
                ("Origin", "http://evil.example"),
                ("Access-Control-Request-Method", "POST"),
                ("Access-Control-Request-Headers", "authorization"),
            ];
            let reply = send(port, "OPTIONS", &real, &before, "").await;
            assert!(reply.status >= 400, "{place}: {reply:?}");
            says_nothing_it_must_not(&reply);
        }
    }
    assert!(asked > 100, "{asked}");
}

/// The page's places are those of the table above, and each is open to its role alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_place_of_the_page_is_open_to_its_role_alone() {
    let source = include_str!("../agent/cli/src/local/page/mod.rs");
    let literals: BTreeSet<&str> = source
        .split("\"/page")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    let known = PLACES.iter().map(|(_, path, _)| *path).chain(OTHERS);
    let known: BTreeSet<&str> = known.map(|path| &path["/page".len()..]).collect();
    let new: Vec<_> = literals.difference(&known).collect();
    assert!(
        new.is_empty(),
        "{new:?} is not in the table of who may do what"
    );

    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = guarded(&receiver);
    let agent = site.agent();
    ready(port, &agent).await;
    let origin = format!("http://127.0.0.1:{port}");
    let anna = login(port, "anna", OPERATOR).await;
    let desk = login(port, "desk", VIEWER).await;
    for (method, path, of_operators) in PLACES {
        let post = method == "POST";
        let nobody = send(port, method, path, &[("Origin", &origin)], "").await;
        assert_eq!(
            nobody.status,
            if post { 401 } else { 303 },
            "{path}: {nobody:?}"
        );
        // A token of the API is nothing here.
        let token = format!("Bearer {MARK}-5");
        let headers = [
            ("Authorization", token.as_str()),
            ("Origin", origin.as_str()),
        ];
        let program = send(port, method, path, &headers, "").await;
        assert_eq!(program.status, nobody.status, "{path}: {program:?}");
        for (who, (cookie, form), operator) in [("anna", &anna, true), ("desk", &desk, false)] {
            let headers = [("Cookie", cookie.as_str()), ("Origin", origin.as_str())];
            let body = if post {
                format!("form={form}")
            } else {
                String::new()
            };
            let reply = send(port, method, path, &headers, &body).await;
            let may = operator || !of_operators;
            assert_eq!(reply.status != 403, may, "{who} {method} {path}: {reply:?}");
            says_nothing_it_must_not(&reply);
            assert!(
                reply
                    .header("content-security-policy")
                    .is_some_and(|policy| policy.contains("frame-ancestors 'none'")),
                "{path}: {reply:?}"
            );
            if post {
                // The other's form, another site's page, and a look instead of a form.
                let other = if operator { &desk.1 } else { &anna.1 };
                let with = |origin: &'static str| {
                    let mut headers = vec![("Cookie", cookie.as_str())];
                    headers.extend((!origin.is_empty()).then_some(("Origin", origin)));
                    headers
                };
                for (headers, body) in [
                    (headers.to_vec(), format!("form={other}")),
                    (headers.to_vec(), String::new()),
                    (with("http://evil.example"), body.clone()),
                    (with("null"), body.clone()),
                    (with(""), body.clone()),
                ] {
                    let reply = send(port, "POST", path, &headers, &body).await;
                    assert_eq!(reply.status, 403, "{who} {path} {headers:?}: {reply:?}");
                }
            }
        }
    }
    for path in OTHERS {
        let reply = send(port, "GET", path, &[], "").await;
        assert!([200, 303, 405].contains(&reply.status), "{path}: {reply:?}");
        says_nothing_it_must_not(&reply);
    }
}

/// Other names of this server, and ways out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_other_name_and_no_way_out_of_its_places_is_answered() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = guarded(&receiver);
    let agent = site.agent();
    ready(port, &agent).await;
    let places = [
        "/",
        "/metrics",
        "/health/live",
        "/page/login",
        "/api/v1/openapi.json",
        "/x",
    ];
    for path in places {
        for host in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "10.0.0.7",
            "",
            "127.0.0.1@evil.example",
        ] {
            let reply = send(port, "GET", path, &[("Host", host)], "").await;
            assert!(
                [400, 421].contains(&reply.status),
                "{path} {host}: {reply:?}"
            );
        }
        let here = format!("127.0.0.1:{port}");
        for headers in [
            vec![("Host", here.as_str()), ("Host", "evil.example")],
            vec![("Host", here.as_str()), ("Host", here.as_str())],
        ] {
            let reply = send(port, "GET", path, &headers, "").await;
            assert_eq!(reply.status, 400, "{path}: {reply:?}");
        }
        let written = format!("http://evil.example{path}");
        let reply = send(port, "GET", &written, &[], "").await;
        assert!([400, 421].contains(&reply.status), "{written}: {reply:?}");
    }
    let (cookie, _) = login(port, "anna", OPERATOR).await;
    let bearer = format!("Bearer {MARK}-1");
    let headers = [
        ("Cookie", cookie.as_str()),
        ("Authorization", bearer.as_str()),
    ];
    std::fs::write(site.path().join("outside"), "Zq7Outside").unwrap();
    for path in [
        "/page/../outside",
        "/page/style.css/../../outside",
        "/page/%2e%2e/outside",
        "/page/..%2foutside",
        "/..%5c..%5coutside",
        "/page//../../etc/passwd",
        "/api/v1/held/..%2f..%2foutside",
        "/api/v1/held/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/page/held/item?id=..%2f..%2foutside",
        "/page/%00",
        "/page/style.css%00.html",
    ] {
        let reply = send(port, "GET", path, &headers, "").await;
        assert!([400, 404].contains(&reply.status), "{path}: {reply:?}");
        assert!(
            !reply.whole.contains("Zq7Outside") && !reply.whole.contains("root:"),
            "{path}: {reply:?}"
        );
    }
}

/// Requests that two readers may cut in two ways: never more than one answer, and none for what hides in the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_hides_another_is_one_request() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = guarded(&receiver);
    let agent = site.agent();
    ready(port, &agent).await;
    let hidden = format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    let host = format!("POST /page/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
    let long = hidden.len();
    for (why, request) in [
        (
            "length and chunks",
            format!(
                "{host}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "chunks and length",
            format!(
                "{host}Transfer-Encoding: chunked\r\nContent-Length: {}\r\n\r\n0\r\n\r\n{hidden}",
                long + 5
            ),
        ),
        (
            "two lengths",
            format!("{host}Content-Length: 0\r\nContent-Length: {long}\r\n\r\n{hidden}"),
        ),
        (
            "two lengths in one",
            format!("{host}Content-Length: 0, {long}\r\n\r\n{hidden}"),
        ),
        (
            "a signed length",
            format!("{host}Content-Length: +0\r\n\r\n{hidden}"),
        ),
        (
            "a negative length",
            format!("{host}Content-Length: -1\r\n\r\n{hidden}"),
        ),
        (
            "an unknown encoding",
            format!("{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "an encoding twice",
            format!(
                "{host}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a blank before the colon",
            format!("{host}Content-Length : 0\r\n\r\n{hidden}"),
        ),
        (
            "a folded header",
            format!("{host}X: a\r\n Content-Length: 0\r\n\r\n{hidden}"),
        ),
        (
            "a bare CR",
            format!("{host}X: a\rContent-Length: 0\r\n\r\n{hidden}"),
        ),
        (
            "a NUL",
            format!("{host}X: a\0b\r\nContent-Length: 0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk with a bare LF",
            format!("{host}Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}"),
        ),
        (
            "a chunk that is too long",
            format!("{host}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}"),
        ),
        (
            "HTTP/1.0 with chunks",
            format!(
                "{}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
                host.replace("1.1", "1.0")
            ),
        ),
    ] {
        let answer = ask(port, request.as_bytes()).await;
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{why}: {answer}");
        assert!(!answer.contains("lighterman_"), "{why}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 2"), "{why}: {answer}");
    }
    // What is honest is answered one by one.
    let two = format!(
        "{hidden}{}",
        hidden.replace("Host", "Connection: close\r\nHost")
    );
    let answer = ask(port, two.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

/// Heads and bodies that are too large or never end: bounded, and nobody else waits for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_or_never_ends_is_cut() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = guarded(&receiver);
    let agent = site.agent();
    ready(port, &agent).await;
    let before = agent.memory_peak_kib();
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let origin = format!("Origin: http://127.0.0.1:{port}\r\n");
    let many = "X: y\r\n".repeat(1_000);
    for request in [
        format!("GET /metrics HTTP/1.1\r\n{host}{many}\r\n"),
        format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(1 << 20)),
        format!(
            "GET /metrics HTTP/1.1\r\n{host}X: {}\r\n\r\n",
            "x".repeat(1 << 20)
        ),
        "\0".repeat(1 << 20),
    ] {
        let answer = ask(port, request.as_bytes()).await;
        let refused = ["HTTP/1.1 400", "HTTP/1.1 414", "HTTP/1.1 431"];
        let refused = refused.iter().any(|status| answer.starts_with(status));
        assert!(answer.is_empty() || refused, "{answer}");
    }
    // A form of 32 MB, and a body for the API that never comes.
    let head =
        format!("POST /page/login HTTP/1.1\r\n{host}{origin}Content-Length: 33554432\r\n\r\n");
    let large = ask(port, (head + &"x".repeat(32 << 20)).as_bytes()).await;
    assert!(
        large.is_empty() || large.starts_with("HTTP/1.1 413"),
        "{large}"
    );
    let bearer = format!("Authorization: Bearer {MARK}-4\r\nContent-Type: application/json\r\n");
    let slow =
        format!("POST /api/v1/replay HTTP/1.1\r\n{host}{bearer}Content-Length: 10\r\n\r\n{{");
    let (slow, others) = tokio::join!(ask(port, slow.as_bytes()), async {
        let mut others = Vec::new();
        for _ in 0..20 {
            others.push(send(port, "GET", "/health/live", &[], "").await.status);
        }
        others
    });
    assert!(others.iter().all(|status| *status == 200), "{others:?}");
    let ended = slow.is_empty() || !slow.starts_with("HTTP/1.1 2");
    assert!(ended, "{slow}");
    let grown = agent.memory_peak_kib().saturating_sub(before) >> 10;
    assert!(grown < 64, "{grown} MiB");
}
