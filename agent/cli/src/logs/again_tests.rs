use super::*;

fn line(code: &str, table: &str, error: &str) -> Seen {
    Seen {
        error: Some(error.to_owned()),
        message: Some("it fails".to_owned()),
        same: Some(Same {
            level: Level::WARN,
            code: code.to_owned(),
            source: Some("erp".to_owned()),
            destination: None,
            table: Some(table.to_owned()),
        }),
        ..Seen::default()
    }
}

#[test]
fn the_first_of_each_text_is_written_and_the_rest_is_summed_up() {
    let again = Again::default();
    let begin = Instant::now();
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    assert!(again.passes(line("a.b", "item", "one"), at(0)));
    for second in 1..=42 {
        assert!(!again.passes(line("a.b", "item", "one"), at(second)));
    }
    // News is written, up to a point; so is the same of another table, and another code.
    assert!(again.passes(line("a.b", "price", "one"), at(43)));
    assert!(again.passes(line("a.c", "item", "one"), at(43)));
    for (error, written) in [("2", true), ("3", true), ("4", true), ("5", false)] {
        assert_eq!(again.passes(line("a.b", "item", error), at(44)), written);
    }
    assert!(again.due(at(59), false).is_empty());
    let due = again.due(at(60), false);
    let [summary] = due.as_slice() else {
        panic!("{due:?}");
    };
    assert_eq!((summary.count, summary.seconds), (43, 60));
    assert_eq!(summary.error.as_deref(), Some("5"));
    // It goes on: only sums are said, each minute, and after a quiet one it is news again.
    assert!(!again.passes(line("a.b", "item", "one"), at(61)));
    assert_eq!(again.due(at(120), false).len(), 1);
    assert!(again.due(at(180), false).is_empty());
    assert!(again.passes(line("a.b", "item", "one"), at(181)));
}

#[test]
fn the_end_says_what_was_counted() {
    let again = Again::default();
    let now = Instant::now();
    again.passes(line("a.b", "item", "x"), now);
    again.passes(line("a.b", "item", "x"), now);
    assert_eq!(again.due(now, true).len(), 1);
    assert_eq!(again.due(now, true).len(), 0, "and says it once");
}

#[test]
fn more_lines_than_are_remembered_are_written_as_they_come() {
    let again = Again::default();
    let now = Instant::now();
    for table in 0..LINES_MAX * 2 {
        assert!(again.passes(line("a.b", &table.to_string(), "x"), now));
    }
    let last = (LINES_MAX * 2 - 1).to_string();
    assert!(again.passes(line("a.b", &last, "x"), now));
    assert!(!again.passes(line("a.b", "0", "x"), now));
    assert_eq!(again.counted.lock().unwrap().len(), LINES_MAX);
}

#[test]
fn what_a_person_does_is_never_counted_away() {
    for code in [
        "agent.started",
        "destination.paused",
        "log.level_changed",
        "mapping.refused",
    ] {
        assert!(is_always_said(code), "{code}");
    }
    for code in ["destination.fails", "mapping.held", "capture.disconnected"] {
        assert!(!is_always_said(code), "{code}");
    }
}
