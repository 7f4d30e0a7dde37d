use jiff::SignedDuration;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds)
}

fn alert(name: &str, level: &str, seconds: i64) -> AlertStatus {
    AlertStatus {
        alert: name.to_owned(),
        series: "{source=\"erp\"}".to_owned(),
        level: level.to_owned(),
        sentence: "x".to_owned(),
        look: "y".to_owned(),
        value: 1.0,
        began_at: at(seconds),
        ended_at: None,
        told: BTreeMap::new(),
        ended_told: Vec::new(),
    }
}

fn book() -> Book {
    let channels = vec![
        ("mail".to_owned(), Urgency::Warn),
        ("chat".to_owned(), Urgency::Page),
    ];
    Book::open(channels, Vec::new(), |_| true)
}

const SERIES: &str = "{source=\"erp\"}";

fn counts(book: &Book, channel: &str, seconds: i64) -> (usize, usize, usize) {
    let hour = Some(Duration::from_hours(1));
    let news = book.news(channel, at(seconds), hour);
    (news.began.len(), news.ended.len(), news.still.len())
}

fn tell(book: &mut Book, channel: &str, seconds: i64) {
    let news = book.news(channel, at(seconds), Some(Duration::from_hours(1)));
    book.told(channel, &news, at(seconds));
}

#[test]
fn each_channel_is_told_once_that_it_began_and_once_that_it_is_over() {
    let mut book = book();
    book.began(alert("a", "page", 0));
    book.began(alert("b", "warn", 0));
    assert_eq!(counts(&book, "mail", 1), (2, 0, 0));
    assert_eq!(counts(&book, "chat", 1), (1, 0, 0), "it wants pages alone");
    tell(&mut book, "mail", 1);
    assert_eq!(counts(&book, "mail", 2), (0, 0, 0));
    assert_eq!(counts(&book, "mail", 3_601), (0, 0, 2), "reminders");
    tell(&mut book, "mail", 3_601);
    assert_eq!(counts(&book, "mail", 3_602), (0, 0, 0));
    book.ended("b", SERIES, at(4_000));
    assert_eq!(counts(&book, "mail", 4_001), (0, 1, 0));
    tell(&mut book, "mail", 4_001);
    assert_eq!(book.alerts.len(), 1, "whoever was to know knows");
    // What came and went while the channel could not be told is told all the same.
    book.ended("a", SERIES, at(5_000));
    tell(&mut book, "mail", 5_001);
    assert_eq!(counts(&book, "chat", 5_002), (0, 1, 0));
    assert_eq!(book.forget(at(5_002)), 0);
    assert_eq!(book.forget(at(5_000 + 24 * 3_600)), 1, "but not for ever");
    assert!(book.alerts.is_empty());
}

#[test]
fn what_comes_again_goes_on_for_those_who_were_not_told_its_end() {
    let mut book = book();
    book.began(alert("a", "page", 0));
    tell(&mut book, "mail", 1);
    tell(&mut book, "chat", 1);
    book.ended("a", SERIES, at(10));
    tell(&mut book, "mail", 11);
    book.began(alert("a", "page", 20));
    assert_eq!(counts(&book, "mail", 21), (1, 0, 0));
    assert_eq!(counts(&book, "chat", 21), (0, 0, 0));
}

#[test]
fn what_an_alert_says_is_noted_now_and_then() {
    let mut book = book();
    book.began(alert("a", "page", 0));
    book.take_changes();
    for (second, noted) in [(1, 0), (29, 0), (30, 1), (31, 0), (60, 1)] {
        let says = (format!("{second} s"), 1.0);
        book.goes("a", SERIES, says, at(second));
        assert_eq!(book.take_changes().0.len(), noted, "{second}");
    }
    assert_eq!(book.firing("a")[0].sentence, "60 s");
}

#[test]
fn a_restart_goes_on_where_it_stood_and_forgets_rules_that_are_gone() {
    let mut before = book();
    before.began(alert("a", "page", 0));
    before.began(alert("b", "page", 0));
    tell(&mut before, "mail", 1);
    let (kept, gone) = before.take_changes();
    assert_eq!((kept.len(), gone.len()), (2, 0));
    assert_eq!(before.take_changes(), (Vec::new(), Vec::new()));
    let channels = vec![("mail".to_owned(), Urgency::Warn)];
    let mut after = Book::open(channels, kept.clone(), |rule| rule == "a");
    assert_eq!(counts(&after, "mail", 5), (0, 0, 0));
    assert_eq!(after.firing("a").len(), 1);
    let (changed, gone) = after.take_changes();
    assert_eq!((changed.len(), gone.len()), (0, 1));
    // What could not be written is written later.
    after.unwritten(&kept, gone);
    let (changed, gone) = after.take_changes();
    assert_eq!((changed.len(), gone.len()), (1, 1));
}
