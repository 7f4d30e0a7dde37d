//! Servers that send us on to another, and instances whose port a SQL Browser knows.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{Door, connect, denied, disconnected, empty, encrypted, plain, start, text};
use contract::NodeKind;
use harness::certificates::Certificates;
use tds_server::wire::{Options, Route, Server};

fn door() -> Door {
    Door::new(|sql, _| empty(sql))
}

fn route(host: &str, port: u16, readers_only: bool) -> Options {
    Options {
        route: Some(Route {
            host: host.to_owned(),
            port,
            readers_only,
        }),
        ..Options::default()
    }
}

fn port(server: &Server) -> u16 {
    server.address().port()
}

/// A gateway, as Azure's are.
#[tokio::test]
async fn where_a_server_sends_us_we_go() {
    let (here, there) = (door(), door());
    let target = plain(&there);
    let gateway = start(route("localhost", port(&target), false), &here);
    connect(port(&gateway), &[]).await.unwrap();
    assert_eq!((here.logins().len(), there.logins().len()), (1, 1));
    // Nothing is asked where we were sent away.
    assert!(gateway.handle().statements().is_empty());
    assert!(!target.handle().statements().is_empty());
    assert_eq!(there.logins()[0].server, "localhost");
    assert_eq!(gateway.handle().complaints(), Vec::<String>::new());
}

/// Azure names the instance behind the host; the port is that of the instance, and nobody else is asked for it.
#[tokio::test]
async fn a_route_may_name_an_instance() {
    let there = door();
    let target = plain(&there);
    let gateway = start(route("localhost\\ERP", port(&target), false), &door());
    connect(port(&gateway), &[]).await.unwrap();
    assert_eq!(there.logins()[0].server, "localhost");
}

/// The listener of an availability group.
#[tokio::test]
async fn who_only_reads_is_sent_to_a_replica_and_who_does_not_is_not() {
    for (intent, at_replica) in [(true, 1), (false, 0)] {
        let (here, there) = (door(), door());
        let replica = plain(&there);
        let listener = start(route("127.0.0.1", port(&replica), true), &here);
        let settings = [("read_only_intent", NodeKind::Bool(intent))];
        connect(port(&listener), &settings).await.unwrap();
        let logins = there.logins();
        assert_eq!(logins.len(), at_replica, "{intent}");
        assert!(logins.iter().all(|login| login.read_only));
    }
}

#[tokio::test]
async fn servers_that_send_us_in_circles_are_given_up() {
    let doors = (door(), door());
    let third = plain(&door());
    let second = start(route("127.0.0.1", port(&third), false), &doors.1);
    let first = start(route("127.0.0.1", port(&second), false), &doors.0);
    let error = connect(port(&first), &[]).await.unwrap_err();
    disconnected(&error, "sends us on to 127.0.0.1");
    assert_eq!((doors.0.logins().len(), doors.1.logins().len()), (1, 1));
}

#[tokio::test]
async fn a_place_that_is_not_there_is_named() {
    let gone = port(&plain(&door()));
    let gateway = start(route("127.0.0.1", gone, false), &door());
    let error = connect(port(&gateway), &[]).await.unwrap_err();
    disconnected(&error, &format!("connect to 127.0.0.1:{gone}"));
}

/// The password goes to nobody whose certificate is not for the place we were sent to.
#[tokio::test]
async fn where_we_are_sent_the_certificate_is_verified_again() {
    let certificates = Certificates::new();
    certificates.sign("other", "other", "DNS:other.example.com");
    // For where we are sent, not for where we asked.
    certificates.sign("there", "there", "DNS:localhost");
    let ca = certificates.file("ca.crt").display().to_string();
    let settings = [("ca_file", text(ca)), ("tls", text("verify-full"))];
    for (own, reached) in [("there", 1), ("other", 0)] {
        let there = door();
        let target = start(encrypted(&certificates, own), &there);
        let gateway = Options {
            route: route("localhost", port(&target), false).route,
            ..encrypted(&certificates, "server")
        };
        let gateway = start(gateway, &door());
        let done = connect(port(&gateway), &settings).await;
        assert_eq!(there.logins().len(), reached, "{own}");
        match done {
            Ok(()) => assert_eq!(own, "there"),
            Err(error) => denied(&error, "another host name", "verify-ca"),
        }
    }
    // Nor to one that does not encrypt.
    let there = door();
    let target = plain(&there);
    let gateway = Options {
        route: route("localhost", port(&target), false).route,
        ..encrypted(&certificates, "server")
    };
    let gateway = start(gateway, &door());
    let error = connect(port(&gateway), &settings).await.unwrap_err();
    denied(&error, "does not offer TLS", "turn it on at the server");
    assert_eq!(there.logins().len(), 0);
}

/// Every browser has the same port, so each test has an address of its own; other systems than Linux have but
/// one of this machine's.
#[cfg(target_os = "linux")]
mod browser {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicU8, Ordering};

    use contract::SourceError;
    use tds_server::wire::{Browser, named_port};

    use super::*;

    fn address() -> Ipv4Addr {
        static LAST: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        Ipv4Addr::new(127, high | 64, low, LAST.fetch_add(1, Ordering::Relaxed))
    }

    fn there(host: Ipv4Addr, door: &Door) -> Server {
        let options = Options {
            address: host,
            instance: "ERP".to_owned(),
            ..Options::default()
        };
        start(options, door)
    }

    async fn to(host: Ipv4Addr, instance: &str) -> Result<(), SourceError> {
        let settings = [
            ("host", text(host.to_string())),
            ("port", NodeKind::Null),
            ("instance", text(instance)),
            ("tls", text("disable")),
        ];
        connect(0, &settings).await
    }

    #[tokio::test]
    async fn an_instance_is_found_by_its_name() {
        let (host, door) = (address(), door());
        let server = there(host, &door);
        let port = port(&server);
        let browser = Browser::start(host, move |_| Some(named_port("ERP", port))).unwrap();
        to(host, "erp").await.unwrap();
        assert_eq!(browser.asked(), [b"\x04erp".to_vec()]);
        assert_eq!(door.logins()[0].instance, "erp");
    }

    #[tokio::test]
    async fn a_question_that_is_lost_is_asked_again() {
        let (host, door) = (address(), door());
        let server = there(host, &door);
        let (port, mut times) = (port(&server), 0);
        let answer = move |_: &[u8]| {
            times += 1;
            (times > 1).then(|| named_port("ERP", port))
        };
        let browser = Browser::start(host, answer).unwrap();
        to(host, "ERP").await.unwrap();
        assert_eq!(browser.asked().len(), 2);
    }

    #[tokio::test]
    async fn an_answer_about_another_instance_is_not_taken() {
        let (host, door) = (address(), door());
        let server = there(host, &door);
        let port = port(&server);
        let browser = Browser::start(host, move |_| Some(named_port("CRM", port))).unwrap();
        let error = to(host, "ERP").await.unwrap_err();
        denied(&error, "knows no instance ERP", "set port");
        drop(browser);
        // One that has it wrong: another instance listens there.
        let browser = Browser::start(host, move |_| Some(named_port("CRM", port))).unwrap();
        let error = to(host, "CRM").await.unwrap_err();
        denied(&error, "another instance answers there", "SQL Browser");
        drop(browser);
        assert_eq!(door.logins().len(), 0);
    }

    #[tokio::test]
    async fn a_browser_that_is_not_there_is_said() {
        let error = to(address(), "ERP").await.unwrap_err();
        assert!(matches!(error, SourceError::Disconnected(_)), "{error:?}");
        assert!(
            error
                .to_string()
                .contains("its SQL Browser does not answer"),
            "{error:?}"
        );
    }
}
