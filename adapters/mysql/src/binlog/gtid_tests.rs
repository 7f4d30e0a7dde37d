//! Transactions by bytes made by hand.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::gtid::{MariadbGtid, MysqlGtid, PreviousGtids, list};

#[test]
fn the_beginning_of_a_transaction_of_mariadb() {
    let mut body = BytesMut::new();
    body.put_u64_le(42);
    body.put_u32_le(3);
    let head = body.clone();
    body.put_u8(0x01 | 0x20);
    // Older servers fill it up.
    body.put_bytes(0, 6);
    let gtid = MariadbGtid::read(&body, 9).unwrap();
    assert_eq!(gtid.place.to_string(), "3-9-42");
    assert!(gtid.is_standalone());
    assert!(!gtid.is_prepared_xa());
    assert_eq!((gtid.commit_id, gtid.xid), (None, None));
    for (flag, prepared) in [(0x40, true), (0x80, false)] {
        let mut body = head.clone();
        body.put_u8(0x02 | flag);
        body.put_u64_le(77);
        body.put_u32_le(1);
        body.put_slice(&[2, 1]);
        body.put_slice(b"abc");
        let gtid = MariadbGtid::read(&body, 9).unwrap();
        assert_eq!(gtid.commit_id, Some(77));
        assert_eq!(gtid.xid.as_ref().unwrap().to_string(), "X'6162',X'63',1");
        assert_eq!(gtid.is_prepared_xa(), prepared);
        for cut in 0..body.len() {
            assert!(MariadbGtid::read(&body[..cut], 9).is_err(), "{cut}");
        }
    }
}

#[test]
fn a_list_that_says_it_is_longer_is_refused() {
    let mut body = BytesMut::new();
    // The upper bits are flags.
    body.put_u32_le(0xf000_0001);
    body.put_u32_le(1);
    body.put_u32_le(2);
    body.put_u64_le(3);
    let places = list(&body).unwrap();
    assert_eq!(places.len(), 1);
    assert_eq!(places[0].to_string(), "1-2-3");
    body[0] = 2;
    assert!(list(&body).is_err());
    assert!(list(&[0xff; 20]).is_err());
}

fn mysql(behind: &[u8]) -> Option<MysqlGtid> {
    let mut body = BytesMut::new();
    body.put_u8(1);
    body.put_slice(&[0xab; 16]);
    body.put_u64_le(5);
    body.put_slice(behind);
    MysqlGtid::read(33, &body).ok()
}

#[test]
fn the_beginning_of_a_transaction_of_mysql_grew_over_time() {
    let gtid = mysql(&[]).unwrap();
    let (origin, number) = gtid.gtid.clone().unwrap();
    assert_eq!(
        format!("{origin}:{number}"),
        "abababab-abab-abab-abab-abababababab:5"
    );
    assert_eq!((gtid.sequence, gtid.committed_at), (None, None));
    let mut clock = BytesMut::new();
    clock.put_u8(2);
    clock.put_u64_le(10);
    clock.put_u64_le(11);
    let gtid = mysql(&clock).unwrap();
    assert_eq!((gtid.last_committed, gtid.sequence), (Some(10), Some(11)));
    assert_eq!(gtid.committed_at, None);
    let mut here = clock.clone();
    here.put_uint_le(1_764_000_000_000_000, 7);
    assert_eq!(
        mysql(&here).unwrap().committed_at,
        Some(1_764_000_000_000_000)
    );
    // Committed elsewhere before.
    clock.put_uint_le(1_764_000_000_000_009 + (1 << 55), 7);
    clock.put_uint_le(1_763_000_000_000_000, 7);
    assert_eq!(
        mysql(&clock).unwrap().committed_at,
        Some(1_763_000_000_000_000)
    );
}

#[test]
fn sets_with_impossible_intervals_are_refused() {
    let set = |intervals: &[(u64, u64)]| {
        let mut body = BytesMut::new();
        body.put_u64_le(1);
        body.put_slice(&[0xab; 16]);
        body.put_u64_le(u64::try_from(intervals.len()).unwrap());
        for (first, behind) in intervals {
            body.put_u64_le(*first);
            body.put_u64_le(*behind);
        }
        PreviousGtids::read(&body).map(|set| set.to_string())
    };
    assert_eq!(
        set(&[(1, 6), (7, 8)]).unwrap(),
        "abababab-abab-abab-abab-abababababab:1-5:7"
    );
    for wrong in [(0, 5), (5, 5), (6, 5)] {
        assert!(set(&[wrong]).is_err(), "{wrong:?}");
    }
    assert!(PreviousGtids::read(&[0xff; 40]).is_err());
    assert_eq!(PreviousGtids::read(&[0; 8]).unwrap().to_string(), "");
}

proptest! {
    #[test]
    fn any_bytes_are_read(body: Vec<u8>, tagged in 0_u8..2) {
        let _ = MariadbGtid::read(&body, 1);
        let _ = MysqlGtid::read(33, &body);
        let _ = MysqlGtid::read_tagged(&body);
        let _ = list(&body);
        let _ = PreviousGtids::read(&body);
        let mut few = vec![tagged, 1, 0, 0, 0, 0, 0, tagged];
        few.extend(body);
        let _ = PreviousGtids::read(&few);
    }
}
