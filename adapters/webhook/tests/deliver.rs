//! The webhook destination against a real HTTP server.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use contract::gate::{Open, Together};
use contract::section::Problems;
use contract::trace_context::{Context, traceparent};
use contract::{
    Allowance, Destination, EventOp, EventType, Gate, Key, Level, Node, NodeKind, Outcome,
    Outgoing, Secret, SecretPlace, Secrets, Section,
};
use harness::certificates::Certificates;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

struct Fixed;

impl Secrets for Fixed {
    fn read(&self, _: &SecretPlace) -> Result<Secret, String> {
        Ok(Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
    }
}

type Seen = Arc<Mutex<Vec<(HeaderMap, String)>>>;
/// Answers by what stands in the body.
type Answer = fn(&str) -> Response;

async fn take(
    State((seen, answer)): State<(Seen, Answer)>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let response = answer(&body);
    seen.lock().unwrap().push((headers, body));
    response
}

fn app(seen: &Seen, answer: Answer) -> Router {
    Router::new()
        .route("/", any(take))
        .with_state((Arc::clone(seen), answer))
}

async fn serve(answer: Answer) -> (String, Seen) {
    let seen = Seen::default();
    let app = app(&seen, answer);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, seen)
}

fn node(kind: NodeKind) -> Node {
    Node {
        line: 1,
        column: 1,
        kind,
    }
}

fn text(value: &str) -> Node {
    node(NodeKind::Text(value.to_owned()))
}

fn destination(url: &str, more: Vec<(&str, Node)>) -> Arc<dyn Destination> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let key = |name: &str| Key {
        name: name.to_owned(),
        line: 1,
        column: 1,
    };
    let secret = node(NodeKind::Map(vec![(key("env"), text("SECRET"))]));
    let timeout = node(NodeKind::Number("2".to_owned()));
    let mut settings = vec![
        ("url", text(url)),
        ("secret", secret),
        ("timeout_seconds", timeout),
    ];
    settings.extend(more);
    let map = node(NodeKind::Map(
        settings.into_iter().map(|(k, v)| (key(k), v)).collect(),
    ));
    let problems = Problems::new("t");
    let mut section = Section::new(&map, "destination", &problems);
    let build = destination_webhook::read(&mut section, &Fixed).unwrap();
    section.finish();
    let findings = problems.take();
    assert!(
        findings.iter().all(|f| f.level != Level::Fail),
        "{findings:?}"
    );
    build("shop").unwrap()
}

fn event(n: u32) -> Outgoing {
    Outgoing {
        offset: i64::from(n),
        id: format!("evt_{n}"),
        event_type: EventType::Product,
        key: format!("ACME|\"{n}\""),
        op: EventOp::Upsert,
        idempotency_key: format!("evt_{n}"),
        origin: "acme/my erp".to_owned(),
        occurred_at: "2026-11-20T08:00:00Z".parse().unwrap(),
        attempt: 1,
        json: Bytes::from(format!(r#"{{"price":1.10,"n":"{n}"}}"#)),
    }
}

fn status(code: u16) -> Response {
    StatusCode::from_u16(code).unwrap().into_response()
}

async fn one(shop: &Arc<dyn Destination>, event: Outgoing) -> Outcome {
    shop.deliver(&[event], &Open).await.outcomes().remove(0)
}

#[tokio::test]
async fn a_structured_request_is_signed_and_carries_the_event_byte_for_byte() {
    let (url, seen) = serve(|_| status(204)).await;
    let outcome = one(&destination(&url, vec![]), event(1)).await;
    assert!(matches!(outcome, Outcome::Applied(answer) if answer.status == Some(204)));
    let (headers, body) = seen.lock().unwrap()[0].clone();
    assert_eq!(
        body,
        r#"{"specversion":"1.0","id":"evt_1","source":"/lighterman/acme/my%20erp","type":"product.v1","subject":"ACME|\"1\"","time":"2026-11-20T08:00:00Z","datacontenttype":"application/json","op":"upsert","idempotencykey":"evt_1","data":{"price":1.10,"n":"1"}}"#
    );
    assert_eq!(headers["content-type"], "application/cloudevents+json");
    assert_eq!(headers["webhook-id"], "evt_1");
    assert_eq!(
        headers["traceparent"],
        contract::trace_context::traceparent("evt_1")
    );
    assert_eq!(headers["idempotency-key"], "\"evt_1\"");
    assert!(
        headers["webhook-signature"]
            .to_str()
            .unwrap()
            .starts_with("v1,")
    );
    assert!(
        headers["webhook-timestamp"]
            .to_str()
            .unwrap()
            .parse::<i64>()
            .is_ok()
    );
}

#[tokio::test]
async fn what_is_told_again_on_purpose_and_what_is_corrected_look_new_to_the_receiver() {
    let (url, seen) = serve(|_| status(204)).await;
    let batches = destination(&url, vec![("mode", text("batch"))]);
    let singles = destination(&url, vec![]);
    let keys = || {
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        let keys = seen
            .iter()
            .map(|(headers, _)| headers["idempotency-key"].to_str().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    let replayed = |n: u32| Outgoing {
        idempotency_key: format!("evt_{n}/r9"),
        ..event(n)
    };
    let plain = [event(1), event(2)];
    let again = [replayed(1), replayed(2)];
    for batch in [&plain, &plain, &again] {
        batches.deliver(batch, &Open).await;
    }
    let batch = keys();
    assert_eq!(batch[0], batch[1], "sent again after a lost answer");
    assert_ne!(batch[0], batch[2], "replayed on purpose");

    one(&singles, replayed(1)).await;
    for (n, op) in [(3, EventOp::Fact), (4, EventOp::Correction)] {
        let told = Outgoing {
            event_type: EventType::InventoryMovement,
            op,
            idempotency_key: "ACME/wms.move/1".to_owned(),
            ..event(n)
        };
        one(&singles, told).await;
    }
    assert_eq!(keys(), ["\"evt_1/r9\"", "\"evt_3\"", "\"evt_4\""]);
}

#[tokio::test]
async fn answers_become_outcomes() {
    let (url, _) = serve(|body| {
        if body.contains("evt_1") {
            (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "7")]).into_response()
        } else if body.contains("evt_2") {
            let problem = r#"{"title":"SKU is not known","detail":"not for the cause"}"#;
            (StatusCode::UNPROCESSABLE_ENTITY, problem).into_response()
        } else {
            (StatusCode::FOUND, [("location", "/elsewhere")]).into_response()
        }
    })
    .await;
    let shop = destination(&url, vec![]);
    let outcome = one(&shop, event(1)).await;
    assert!(matches!(outcome, Outcome::Retry { after: Some(wait), .. } if wait.as_secs() == 7));
    let Outcome::Rejected { cause, .. } = one(&shop, event(2)).await else {
        panic!("not rejected")
    };
    assert_eq!(cause, "HTTP 422: SKU is not known");
    let outcome = one(&shop, event(3)).await;
    assert!(matches!(outcome, Outcome::Rejected { cause, .. } if cause.contains("redirects")));
}

/// Whoever answers would else choose who reads what we send, and with which login.
#[tokio::test]
async fn no_request_goes_where_an_answer_points() {
    let (elsewhere, seen) = serve(|_| status(204)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    // Of each kind: the first lets the body go, the others take it along.
    let answer = move |body: String| {
        let codes = [("evt_1", 302_u16), ("evt_2", 307), ("evt_3", 308)];
        let (_, code) = codes.into_iter().find(|(id, _)| body.contains(id)).unwrap();
        let points = [("location", elsewhere.clone())];
        let code = StatusCode::from_u16(code).unwrap();
        std::future::ready((code, points).into_response())
    };
    let app = Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let shop = destination(&url, vec![]);
    for n in 1..=3 {
        let outcome = one(&shop, event(n)).await;
        assert!(
            matches!(&outcome, Outcome::Rejected { cause, .. } if cause.contains("redirects")),
            "{outcome:?}"
        );
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_a_refused_connection_is_retried() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let shop = destination(&url, vec![]);
    // Takes the request and closes without an answer.
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        stream.readable().await.unwrap();
    });
    let outcome = one(&shop, event(1)).await;
    assert!(matches!(outcome, Outcome::Unknown { .. }), "{outcome:?}");
    server.await.unwrap();
    let outcome = one(&shop, event(1)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
}

#[tokio::test]
async fn a_hanging_api_is_left_within_the_timeout_as_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let outcome = one(&destination(&url, vec![]), event(1)).await;
    assert!(matches!(&outcome, Outcome::Unknown { cause, .. } if cause.contains("timeout")));
}

#[tokio::test]
async fn a_refused_batch_is_halved_until_the_event_at_fault_is_found() {
    let (url, seen) = serve(|body| status(if body.contains("evt_3") { 422 } else { 200 })).await;
    let shop = destination(&url, vec![("mode", text("batch"))]);
    let events: Vec<_> = (0..8).map(event).collect();
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(
            matches!(outcome, Outcome::Rejected { .. }),
            n == 3,
            "{n}: {outcome:?}"
        );
        assert_eq!(
            matches!(outcome, Outcome::Applied(_)),
            n != 3,
            "{n}: {outcome:?}"
        );
    }
    let seen = seen.lock().unwrap();
    assert_eq!(
        seen[0].0["content-type"],
        "application/cloudevents-batch+json"
    );
    assert!(seen[0].1.starts_with('[') && seen[0].1.ends_with(']'));
}

/// What a call told its gate of a request: offsets, the context, the status.
type Request = (Vec<i64>, String, Option<u16>);

#[derive(Default)]
struct Told(Mutex<Vec<Request>>);

#[async_trait::async_trait]
impl Gate for Told {
    async fn pass(&self, _: u32, _: std::time::Duration) -> bool {
        true
    }

    fn heard(&self, _: &Allowance) {}

    fn together(&self, request: &Together<'_>) {
        assert!(request.began <= request.ended);
        let offsets = request.events.iter().map(|event| event.offset).collect();
        let context = request.context.traceparent();
        let told = (offsets, context, request.status);
        self.0.lock().unwrap().push(told);
    }
}

#[tokio::test]
async fn a_batch_has_a_trace_context_of_its_own_and_says_of_whom() {
    let (url, seen) = serve(|body| status(if body.contains("evt_2") { 422 } else { 200 })).await;
    let shop = destination(&url, vec![("mode", text("batch"))]);
    let told = Told::default();
    let events: Vec<_> = (0..3).map(event).collect();
    shop.deliver(&events, &told).await;
    let headers: Vec<String> = seen
        .lock()
        .unwrap()
        .iter()
        .map(|(headers, _)| headers["traceparent"].to_str().unwrap().to_owned())
        .collect();
    // All three; the first alone; the other two; each of these.
    let of = |ids: &[usize]| {
        let about: Vec<&Outgoing> = ids.iter().map(|n| &events[*n]).collect();
        Context::of_request(&about).unwrap().traceparent()
    };
    assert_eq!(
        headers,
        [of(&[0, 1, 2]), of(&[0]), of(&[1, 2]), of(&[1]), of(&[2])]
    );
    // One that is alone in its request is in its own trace.
    assert_eq!(headers[1], traceparent("evt_0"));
    let told = told.0.into_inner().unwrap();
    let expected = [
        (vec![0, 1, 2], headers[0].clone(), Some(422)),
        (vec![1, 2], headers[2].clone(), Some(422)),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn results_per_event_are_read_and_a_missing_one_is_unknown() {
    let (url, _) = serve(|_| {
        let results = r#"{"results":[{"id":"evt_0","status":200},{"id":"evt_1","status":503}]}"#;
        results.into_response()
    })
    .await;
    let shop = destination(&url, vec![("mode", text("batch"))]);
    let events: Vec<_> = (0..3).map(event).collect();
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    assert!(matches!(outcomes[0], Outcome::Applied(_)));
    assert!(matches!(outcomes[1], Outcome::Retry { .. }));
    assert!(matches!(outcomes[2], Outcome::Unknown { .. }));
}

/// A receiver that answers each request with these bytes and hangs up.
async fn answering(bytes: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut all, mut part) = (Vec::new(), [0; 4096]);
            // The body is one JSON array.
            while !all.ends_with(b"]") {
                let read = stream.read(&mut part).await.unwrap();
                all.extend_from_slice(&part[..read]);
            }
            let _ = stream.write_all(bytes.as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn an_answer_that_is_not_whole_says_of_no_event_that_it_was_applied() {
    let list: Vec<String> = (0..3)
        .map(|n| format!(r#"{{"id":"evt_{n}","status":503}}"#))
        .collect();
    let whole = format!(r#"{{"results":[{}]}}"#, list.join(","));
    let length = whole.len();
    let cut = &whole[..length - 30];
    let answers = [
        // It breaks off.
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{cut}"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"),
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"res\r\n".to_owned(),
        // It is none that can be read.
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{cut}",
            cut.len()
        ),
        "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"results\":true}".to_owned(),
    ];
    for bytes in answers {
        let shop = destination(
            &answering(bytes.clone()).await,
            vec![("mode", text("batch"))],
        );
        let events: Vec<_> = (0..3).map(event).collect();
        for outcome in shop.deliver(&events, &Open).await.outcomes() {
            let unknown =
                matches!(&outcome, Outcome::Unknown { cause, .. } if cause.contains("answer"));
            assert!(unknown, "{bytes}: {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_long_list_of_results_is_read_to_its_end() {
    let (url, _) = serve(|_| {
        let error = "x".repeat(300);
        let each = |n| format!(r#"{{"id":"evt_{n}","status":503,"error":"{error}"}}"#);
        let all: Vec<String> = (0..1_000).map(each).collect();
        format!(r#"{{"results":[{}]}}"#, all.join(",")).into_response()
    })
    .await;
    let more = vec![
        ("mode", text("batch")),
        (
            "batch_events_max",
            node(NodeKind::Number("1000".to_owned())),
        ),
    ];
    let shop = destination(&url, more);
    let events: Vec<_> = (0..1_000).map(event).collect();
    let outcomes = shop.deliver(&events, &Open).await.outcomes();
    let again = outcomes
        .iter()
        .filter(|one| matches!(one, Outcome::Retry { .. }));
    assert_eq!(again.count(), 1_000);
}

/// Connections that are encrypted with a certificate nobody knows but its authority.
struct TlsListener(TcpListener, TlsAcceptor);

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (connection, from) = self.0.accept().await.unwrap();
            if let Ok(encrypted) = self.1.accept(connection).await {
                return (encrypted, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_nothing() {
    let certificates = Certificates::new();
    let chain = CertificateDer::from_pem_file(certificates.file("server.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(certificates.file("server.key")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![chain], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let listener = TlsListener(listener, TlsAcceptor::from(Arc::new(config)));
    let seen = Seen::default();
    let app = app(&seen, |_| status(204));
    tokio::spawn(async move { axum::serve(listener, app).await });

    let ca_file = || {
        let file = certificates.file("ca.crt").display().to_string();
        vec![("ca_file", text(&file))]
    };
    let url = format!("https://127.0.0.1:{port}/");
    let outcome = one(&destination(&url, ca_file()), event(1)).await;
    assert!(matches!(outcome, Outcome::Applied(_)), "{outcome:?}");
    // Its authority is not known.
    let stranger = Certificates::new();
    let stranger_file = stranger.file("ca.crt").display().to_string();
    let unknown = destination(&url, vec![("ca_file", text(&stranger_file))]);
    let outcome = one(&unknown, event(2)).await;
    let Outcome::Retry { cause, .. } = &outcome else {
        panic!("{outcome:?}");
    };
    assert!(cause.contains("certificate"), "{cause}");
    // Its name is another: the certificate is for 127.0.0.1 and localhost.
    let wrong_name = destination(&format!("https://127.0.0.2:{port}/"), ca_file());
    let outcome = one(&wrong_name, event(3)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}
