//! Places in a source's log as text: what is read is written as what it was.
#![no_main]

use contract::{LogPos, Position};
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/binlog/mod.rs"]
mod binlog;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/charset/mod.rs"]
mod charset;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/column.rs"]
mod column;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/gtid.rs"]
mod gtid;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/lsn.rs"]
mod lsn;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/mysql/src/place.rs"]
mod mysql_place;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/postgres/src/lsn.rs"]
mod postgres_lsn;
#[allow(dead_code, reason = "the rest is used by the source")]
#[path = "../../../adapters/sqlserver/src/place.rs"]
mod sqlserver_place;

use gtid::{Gtid, GtidSet};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(position) = text.parse::<Position>() {
        assert_eq!(position.to_string(), text);
        places(&position);
    }
    if let Ok(pos) = LogPos::try_new(text) {
        assert_eq!(pos.as_str(), text);
        if let Some(number) = pos.number() {
            assert_eq!(LogPos::from_number(number), pos);
        }
        for seq in [0, 1] {
            places(&Position {
                epoch: 1,
                pos: pos.clone(),
                seq,
            });
        }
    }
    if let Some(lsn) = postgres_lsn::parse(text) {
        assert_eq!(postgres_lsn::parse(&postgres_lsn::text(lsn)), Some(lsn));
        assert!(postgres_lsn::record_end(lsn, 8_192, 16 << 20) <= lsn);
    }
    if let Some(lsn) = lsn::Lsn::parse(text) {
        assert_eq!(lsn::Lsn::parse(&lsn.to_string()), Some(lsn));
        assert!(lsn.before() <= lsn);
    }
    if let Some(one) = Gtid::parse(text) {
        assert_eq!(Gtid::parse(&one.to_string()), Some(one));
    }
    let sets = [
        GtidSet::parse(text),
        GtidSet::parse_maria(text),
        GtidSet::parse_mysql(text),
    ];
    for set in sets.into_iter().flatten() {
        set_of_transactions(set);
    }
    let _ = mysql_place::file_number(text);
});

fn set_of_transactions(mut set: GtidSet) {
    let again = GtidSet::parse(&set.to_string());
    let newest = set.newest();
    if !newest.is_empty() {
        assert_eq!(again.as_ref(), Some(&set));
    }
    assert!(set.covers(&set));
    for one in newest {
        assert!(set.contains(&one), "the newest of a set is not in it");
        let before = set.clone();
        assert!(set.insert(&one) || set == before);
        assert_eq!(set, before, "what is in a set changes it");
    }
}

/// What a source makes of a stored position. What does not fit into one is left out, but never the place itself.
fn places(position: &Position) {
    let (epoch, seq) = (position.epoch, position.seq);
    if let Ok(place) = mysql_place::Place::parse(position) {
        let again =
            mysql_place::Place::parse(&place.at(epoch, seq)).expect("its own text is a place");
        assert_eq!(
            (again.life, again.file, again.offset),
            (place.life, place.file, place.offset)
        );
        assert_eq!((again.born, again.last), (place.born, place.last));
        if place
            .before
            .as_ref()
            .is_none_or(|set| set.to_string().len() < 256)
        {
            assert_eq!(again, place);
        }
    }
    if let Ok(place) = sqlserver_place::Place::parse(position) {
        assert_eq!(
            sqlserver_place::Place::parse(&place.at(epoch, seq)),
            Ok(place)
        );
    }
    if let Ok(number) = postgres_lsn::of(position) {
        assert_eq!(postgres_lsn::border(epoch, number).pos, position.pos);
    }
}
