//! The way events come in a running agent: through the client's reader, which takes them apart and
//! must not stop at what it does not know itself.

use mysql_common::binlog::EventStreamReader;
use mysql_common::binlog::consts::BinlogVersion;

use super::event::{Event, Format, decode};
use super::golden::{all, events, file};
use super::raw::{Header, Raw};

/// An event from the parts of the client.
pub(super) fn of_client(event: &mysql_common::binlog::events::Event) -> Raw {
    let header = event.header();
    let header = Header {
        timestamp: header.timestamp(),
        kind: header.event_type_raw(),
        server_id: header.server_id(),
        size: header.event_size(),
        end: header.log_pos(),
        flags: header.flags_raw(),
    };
    let algorithm = event.footer().get_checksum_alg().ok().flatten();
    let algorithm = algorithm.map(|algorithm| algorithm as u8);
    Raw::from_parts(header, event.data(), algorithm, event.checksum()).unwrap()
}

#[test]
fn the_client_hands_over_every_event_as_it_is() {
    for name in all() {
        let log = file(&name);
        let mut reader = EventStreamReader::new(BinlogVersion::Version4);
        let mut format = Format::new();
        // What stands inside compressed transactions, the client does not count.
        let expected: Vec<_> = events(&log)
            .into_iter()
            .map(Result::unwrap)
            .filter(|(raw, _)| raw.header.end != 0)
            .collect();
        let mut rest = &log[4..];
        for (raw, event) in &expected {
            let size = usize::try_from(raw.header.size).unwrap();
            let (whole, behind) = rest.split_at(size);
            rest = behind;
            let read = reader
                .read(whole)
                .unwrap_or_else(|error| panic!("{name}: the client stops: {error}"))
                .unwrap();
            let ours = of_client(&read);
            assert_eq!(&ours, raw, "{name}");
            assert_eq!(&decode(&ours, &format).unwrap(), event, "{name}");
            if let Event::FormatDescription(description) = event {
                format.learn(description);
            }
        }
    }
}
