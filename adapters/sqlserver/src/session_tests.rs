//! Sessions over the scripted server.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::SourceError;
use tds_server::wire::{
    Answer, Column, Fault, FaultKind, Gate, Length, Options, Parameter as Given, Part, Point,
    Server, ServerError, Type, Value, answering,
};

use super::*;
use crate::settings::of_tests;

fn server<F>(answer: F) -> Server
where
    F: Fn(&str, &[Given]) -> Answer + Send + Sync + 'static,
{
    let answer = move |sql: &str, given: &[Given]| {
        if sql.starts_with("SET ") {
            Answer::empty()
        } else {
            answer(sql, given)
        }
    };
    Server::start(Options::default(), answering(answer)).unwrap()
}

fn numbers(rows: i32) -> Answer {
    let columns = vec![Column::new("n", Type::Int)];
    Answer::rows(columns, (0..rows).map(|n| vec![Value::Int(n)]))
}

async fn session(server: &Server) -> Session {
    let settings = of_tests(server.address().port());
    connect::connect(&settings, Rights::Read).await.unwrap()
}

fn ints(rows: &[Row]) -> Vec<i64> {
    rows.iter()
        .map(|row| row.int_there("t", 0).unwrap())
        .collect()
}

#[tokio::test]
async fn every_session_has_the_same_settings() {
    let server = server(|_, _| numbers(1));
    session(&server).await;
    let sent = server.handle().statements();
    let sent: Vec<&String> = sent.iter().collect();
    let [settings] = sent.as_slice() else {
        panic!("{sent:?}");
    };
    for part in [
        "SET TEXTSIZE 2147483647",
        "SET DEADLOCK_PRIORITY LOW",
        "SET LOCK_TIMEOUT 2000",
        "SET XACT_ABORT ON",
        "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
    ] {
        assert!(settings.contains(part), "{settings}");
    }
}

#[tokio::test]
async fn parameters_arrive_as_they_were_given_and_change_no_text() {
    let server = server(|_, given| {
        let columns = given
            .iter()
            .map(|one| Column::new(&one.name, one.kind.clone()));
        let row = given.iter().map(|one| one.value.clone()).collect();
        Answer::rows(columns.collect(), [row])
    });
    let mut session = session(&server).await;
    for n in [1, i64::MAX] {
        let row = session
            .one(
                "ask",
                "SELECT @P1, @P2, @P3, @P4",
                &[
                    Parameter::Int(n),
                    Parameter::Text("it's".to_owned()),
                    Parameter::Bytes(vec![0, 255]),
                    Parameter::Uuid([7; 16]),
                ],
            )
            .await
            .unwrap();
        assert_eq!(row.int("t", 0), Ok(Some(n)));
        assert_eq!(row.text("t", 1), Ok(Some("it's".to_owned())));
        assert_eq!(row.array::<2>("t", 2), Ok(Some([0, 255])));
        assert_eq!(row.uuid("t", 3), Ok(Some([7; 16])));
        assert!(
            row.array::<3>("t", 2).is_err() && row.int("t", 1).is_err() && row.int("t", 9).is_err()
        );
    }
    assert_eq!(server.handle().statements().len(), 2);
}

#[tokio::test]
async fn what_the_server_refuses_leaves_the_connection_usable() {
    let server = server(|sql, _| match sql {
        "BROKEN" => numbers(3).then(Answer::error(ServerError::new(1205, 13, "Deadlock."))),
        "FATAL" => Answer::error(ServerError::new(596, 21, "Killed.")),
        "SELECT" => numbers(2),
        other => Answer::error(ServerError::invalid_object(other)),
    });
    let mut session = session(&server).await;
    let failed = session.rows("read x", "x", &[]).await.unwrap_err();
    assert!(failed.is(crate::errors::NO_OBJECT));
    assert_eq!(
        failed.error.to_string(),
        "read x: Invalid object name 'x' (error 208, state 1)"
    );
    assert!(matches!(failed.error, SourceError::SchemaChanged { .. }));
    // Rows that came before it are no answer.
    for _ in 0..2 {
        let failed = session.rows("read", "BROKEN", &[]).await.unwrap_err();
        assert_eq!(failed.number, Some(1205));
    }
    assert_eq!(
        ints(&session.rows("read", "SELECT", &[]).await.unwrap()),
        [0, 1]
    );
    // One that ends the connection is the last.
    let failed = session.rows("read", "FATAL", &[]).await.unwrap_err();
    assert!(matches!(failed.error, SourceError::Disconnected(_)));
    assert!(!session.is_usable());
}

#[tokio::test]
async fn the_number_decides() {
    let table: &[(i32, &str)] = &[
        (18456, "denied"),
        (4060, "denied"),
        (229, "denied"),
        (297, "denied"),
        (208, "schema"),
        (207, "schema"),
        (313, "lost"),
        (1205, "disconnected"),
        (1222, "disconnected"),
        (3952, "denied"),
        (3958, "disconnected"),
        (3960, "disconnected"),
        (3961, "disconnected"),
        (3966, "disconnected"),
        (22105, "denied"),
        (22116, "denied"),
        (22117, "denied"),
        (40613, "disconnected"),
        (40197, "disconnected"),
        (40501, "disconnected"),
        (10928, "disconnected"),
        (10929, "disconnected"),
        (983, "disconnected"),
        (978, "denied"),
        (976, "denied"),
        (979, "denied"),
        (982, "denied"),
        (911, "denied"),
        (916, "denied"),
        (230, "denied"),
        (300, "denied"),
        (40615, "denied"),
        (40532, "denied"),
        (17892, "denied"),
        (3956, "denied"),
        (4221, "disconnected"),
        (49918, "disconnected"),
        (49920, "disconnected"),
        (10054, "disconnected"),
        (701, "disconnected"),
        (35250, "disconnected"),
        (102, "malformed"),
        (8152, "disconnected"),
    ];
    let server = server(|sql, _| {
        let number = sql.parse().unwrap();
        Answer::error(ServerError::new(number, 16, "In words."))
    });
    let mut session = session(&server).await;
    for (number, expected) in table {
        let failed = session.run("ask", &number.to_string()).await.unwrap_err();
        let kind = match &failed.error {
            SourceError::Disconnected(_) => "disconnected",
            SourceError::PositionLost { .. } => "lost",
            SourceError::Denied { .. } => "denied",
            SourceError::SchemaChanged { .. } => "schema",
            SourceError::Malformed(_) => "malformed",
        };
        assert_eq!(kind, *expected, "{number}");
        let shown = failed.error.to_string();
        assert!(shown.contains(&format!("(error {number}")), "{shown}");
        assert!(!shown.contains("nothing is known"), "{shown}");
        let to_do = failed.error.hint().unwrap_or_default();
        assert!(
            kind == "disconnected" || kind == "malformed" || !to_do.is_empty(),
            "{number}"
        );
    }
    let failed = session.run("ask", "7777").await.unwrap_err();
    assert!(
        failed
            .error
            .to_string()
            .ends_with("nothing is known of this error here"),
        "{failed:?}"
    );
    assert!(matches!(failed.error, SourceError::Disconnected(_)));
}

/// Keeps what was told to the log.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<String>>);

impl tracing::field::Visit for Heard {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        let mut all = self.0.lock().unwrap();
        let _ = write!(all, "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// The library tells the log of rows, of errors that quote them, and of logins.
#[tokio::test]
async fn no_row_and_no_password_reaches_the_log() {
    let heard = Heard::default();
    let _guard = tracing::subscriber::set_default(heard.clone());
    let server = server(|sql, _| match sql {
        "VALUE" => Answer::error(ServerError::new(
            245,
            16,
            "Conversion failed when converting the varchar value 'secret row value' to data type int.",
        )),
        _ => Answer::rows(
            vec![Column::new("t", Type::NVarChar(Length::Of(100)))],
            [vec![Value::text("secret row value")]],
        ),
    });
    let mut session = session(&server).await;
    let given = [Parameter::Text("secret row value".to_owned())];
    session.rows("read", "SELECT @P1", &given).await.unwrap();
    session.run("read", "SELECT").await.unwrap();
    let failed = session.run("read", "VALUE").await.unwrap_err();
    assert_eq!(
        failed.error.to_string(),
        "read: the server refuses a value (error 245)"
    );
    tracing::info!("this is heard");
    let all = heard.0.lock().unwrap().clone();
    assert!(all.contains("this is heard"), "{all}");
    assert!(!all.contains("secret") && !all.contains("p@ss"), "{all}");
}

/// Scenario 34: whichever byte is the last, the answer is whole or it is none.
#[tokio::test]
async fn an_answer_that_is_cut_at_any_byte_is_none() {
    let server = server(|_, _| numbers(3));
    let mut bytes = 0;
    loop {
        let mut session = session(&server).await;
        let cut = Fault::new(FaultKind::Cut(Point::Bytes(bytes))).on("SELECT");
        server.handle().fault(cut);
        match session.rows("read", "SELECT", &[]).await {
            Ok(rows) => {
                // Not one byte was missing.
                assert_eq!(ints(&rows), [0, 1, 2]);
                break;
            }
            Err(failed) => {
                assert!(
                    matches!(failed.error, SourceError::Disconnected(_)),
                    "{bytes} {failed:?}"
                );
                assert!(!session.is_usable(), "{bytes}");
            }
        }
        bytes += 1;
    }
    assert!(bytes > 40, "{bytes}");
}

#[tokio::test]
async fn an_answer_in_any_pieces_is_the_same() {
    let server = server(|_, _| numbers(3));
    let mut session = session(&server).await;
    for bytes in 1..60 {
        let split = Fault::new(FaultKind::Split(bytes)).on("SELECT");
        server.handle().fault(split);
        let rows = session.rows("read", "SELECT", &[]).await.unwrap();
        assert_eq!(ints(&rows), [0, 1, 2], "{bytes}");
    }
}

/// Trap 22: a request that nobody waited for poisons its connection, and the next one is rebuilt.
#[tokio::test]
async fn trap_22_an_answer_that_was_not_waited_for_is_never_taken_for_the_next_one() {
    let server = server(|sql, _| {
        if sql == "SLOW" {
            numbers(1)
        } else {
            numbers(2)
        }
    });
    let mut line = Line::new(&of_tests(server.address().port()));
    let (session, fresh) = line.session().await.unwrap();
    assert!(fresh);
    let gate = Gate::closed();
    let stall = FaultKind::Stall(Point::Rows(0), gate.clone());
    server.handle().fault(Fault::new(stall).on("SLOW"));
    let given_up = tokio::select! {
        found = session.rows("read", "SLOW", &[]) => Some(found.is_ok()),
        () = gate.reached() => None,
    };
    assert_eq!(given_up, None);
    let failed = session.rows("read", "SELECT", &[]).await.unwrap_err();
    assert!(
        failed.error.to_string().contains("was not waited for"),
        "{failed:?}"
    );
    for fresh in [true, false] {
        let (session, is_fresh) = line.session().await.unwrap();
        assert_eq!(is_fresh, fresh);
        let rows = session.rows("read", "SELECT", &[]).await.unwrap();
        assert_eq!(ints(&rows), [0, 1]);
    }
    assert_eq!(server.handle().connection_count(), 2);
    gate.open();
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up() {
    let server = server(|_, _| numbers(3));
    for point in [
        Point::Start,
        Point::Rows(1),
        Point::InRow { rows: 1, bytes: 2 },
        Point::End,
    ] {
        let mut session = session(&server).await;
        session.silence_max(Duration::from_millis(50));
        let gate = Gate::closed();
        let stall = FaultKind::Stall(point, gate.clone());
        server.handle().fault(Fault::new(stall).on("SELECT"));
        let failed = session.rows("read", "SELECT", &[]).await.unwrap_err();
        assert!(
            failed.error.to_string().contains("has said nothing for"),
            "{point:?} {failed:?}"
        );
        assert!(!session.is_usable());
        gate.open();
    }
}

/// Scenario 34: late is not silent, and the answer is the whole one, on the same connection.
#[tokio::test]
async fn an_answer_that_comes_late_is_taken() {
    let server = server(|_, _| numbers(3));
    let mut session = session(&server).await;
    for point in [Point::Start, Point::Rows(1), Point::End] {
        let gate = Gate::closed();
        let stall = FaultKind::Stall(point, gate.clone());
        server.handle().fault(Fault::new(stall).on("SELECT"));
        let late = async {
            gate.reached().await;
            gate.open();
        };
        let (rows, ()) = tokio::join!(session.rows("read", "SELECT", &[]), late);
        assert_eq!(ints(&rows.unwrap()), [0, 1, 2], "{point:?}");
    }
    assert_eq!(server.handle().connection_count(), 1);
}

/// The server is told to stop, and the connection is good for more.
#[tokio::test]
async fn rows_that_are_not_wanted_are_not_read() {
    let server = server(|sql, _| match sql {
        "MANY" => numbers(1_000_000),
        _ => numbers(1),
    });
    let mut session = session(&server).await;
    for wanted in [1, 1_000] {
        let mut taken = 0;
        let columns = session
            .each("read", "MANY", &[], |_| {
                taken += 1;
                Ok(if taken == wanted {
                    Take::Enough
                } else {
                    Take::More
                })
            })
            .await
            .unwrap();
        assert_eq!((taken, columns.len()), (wanted, 1));
        assert!(session.is_usable());
        assert_eq!(
            ints(&session.rows("read", "SELECT", &[]).await.unwrap()),
            [0]
        );
    }
    let ours = |_: Row| Err(SourceError::Malformed("ours".to_owned()));
    let failed = session.each("read", "MANY", &[], ours).await.unwrap_err();
    assert_eq!(failed.error, SourceError::Malformed("ours".to_owned()));
    assert_eq!(
        ints(&session.rows("read", "SELECT", &[]).await.unwrap()),
        [0]
    );
}

#[tokio::test]
async fn an_answer_of_several_results_is_none_of_ours() {
    let server = server(|sql, _| match sql {
        "TWO" => numbers(1).then(numbers(1)),
        "INFO" => Answer::new([
            Part::Info(ServerError::new(5701, 0, "Changed database context.")),
            Part::Done(Some(1)),
        ])
        .then(numbers(2)),
        _ => numbers(1),
    });
    let mut session = session(&server).await;
    let failed = session.rows("read", "TWO", &[]).await.unwrap_err();
    assert!(
        matches!(failed.error, SourceError::Malformed(_)),
        "{failed:?}"
    );
    assert_eq!(
        ints(&session.rows("read", "INFO", &[]).await.unwrap()),
        [0, 1]
    );
}
