//! Ids and sets of them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn texts_are_read_and_written_in_one_form() {
    for (text, written) in [
        ("", ""),
        ("0-1-3010", "0-1-3010"),
        (" 7-2-4 , 0-1-3010", "0-1-3010,7-2-4"),
    ] {
        assert_eq!(GtidSet::parse_maria(text).unwrap().to_string(), written);
    }
    for (text, written) in [
        (String::new(), String::new()),
        (format!("{UUID}:1-5"), format!("{UUID}:1-5")),
        (
            format!("{}:6-7:1-5:9,\n{UUID}:11", UUID.to_uppercase()),
            format!("{UUID}:1-7:9:11"),
        ),
        (
            format!("{UUID}:1-3:Sale:1-2:5"),
            format!("{UUID}:1-3,{UUID}:sale:1-2:5"),
        ),
    ] {
        let set = GtidSet::parse_mysql(&text).unwrap();
        assert_eq!(set.to_string(), written);
        assert_eq!(GtidSet::parse_mysql(&written), Some(set));
    }
}

#[test]
fn what_is_none_is_refused() {
    for text in ["0-1", "0-1-2-3", "a-1-2", "0-1-", "0-1-2,0-2-3", "0-1-+2"] {
        assert_eq!(GtidSet::parse_maria(text), None, "{text}");
    }
    for text in [
        "x:1",
        &format!("{UUID}:5-3"),
        &format!("{UUID}:a b:1"),
        // What names nothing would be read as a set of nothing.
        &format!("{UUID}:tag"),
        &format!("{UUID}:1-5:tag"),
        &format!("{UUID}:one:two:3"),
        &format!("{UUID}::3"),
        UUID,
    ] {
        assert_eq!(GtidSet::parse_mysql(text), None, "{text}");
    }
    assert_eq!(
        Gtid::parse(&format!("{UUID}:0")),
        None,
        "numbers begin at 1"
    );
}

#[test]
fn a_newer_one_of_a_domain_stands_for_those_before() {
    let set = GtidSet::parse_maria("0-1-3010,7-1-4").unwrap();
    for (text, known) in [
        ("0-2-3010", true),
        ("0-1-3011", false),
        ("7-9-1", true),
        ("8-1-1", false),
    ] {
        assert_eq!(set.contains(&Gtid::parse(text).unwrap()), known, "{text}");
    }
    let other = GtidSet::parse_maria("0-1-3000").unwrap();
    assert!(set.covers(&other) && !other.covers(&set));
}

/// Each server counts its own, so another's number says nothing.
#[test]
fn a_number_of_one_server_is_not_that_of_another() {
    const OTHER: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";
    let set = GtidSet::parse_mysql(&format!("{UUID}:1-40,{OTHER}:1-3")).unwrap();
    for (text, known) in [
        (format!("{UUID}:4"), true),
        (format!("{OTHER}:3"), true),
        (format!("{OTHER}:4"), false),
        (format!("{UUID}:41"), false),
    ] {
        assert_eq!(set.contains(&Gtid::parse(&text).unwrap()), known, "{text}");
    }
}

proptest! {
    #[test]
    fn a_set_holds_what_was_put_in(numbers in proptest::collection::vec(1_u64..40, 0..60)) {
        let source = MysqlSource::parse(UUID).unwrap();
        let mut set = GtidSet::mysql();
        let mut known = BTreeSet::new();
        for number in numbers {
            let gtid = Gtid::Mysql { source: source.clone(), number };
            prop_assert!(set.insert(&gtid));
            known.insert(number);
        }
        for number in 1..40 {
            let gtid = Gtid::Mysql { source: source.clone(), number };
            prop_assert_eq!(set.contains(&gtid), known.contains(&number));
        }
        let text = set.to_string();
        prop_assert_eq!(GtidSet::parse_mysql(&text), Some(set));
    }

    #[test]
    fn never_panics(text: String) {
        let _ = (GtidSet::parse_maria(&text), GtidSet::parse_mysql(&text), Gtid::parse(&text));
    }
}
