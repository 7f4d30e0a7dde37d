//! Network addresses and UUIDs, which MariaDB keeps as bytes of a fixed length and shows as text.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use contract::Value;

/// The bytes of a value of fixed length: the log leaves out zero bytes at its end.
pub(crate) fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut all = [0; N];
    all.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(all)
}

/// `192.168.0.1`.
pub(crate) fn inet4(bytes: [u8; 4]) -> Value {
    Value::Text(Ipv4Addr::from(bytes).to_string())
}

/// An IPv6 address as MariaDB writes it: the first of the longest runs of zeros is left out, even
/// where it is only one, and addresses that hold an IPv4 address end in its form.
pub(crate) fn inet6(bytes: [u8; 16]) -> Value {
    let words: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| pair.iter().fold(0, |sum, byte| sum << 8 | u16::from(*byte)))
        .collect();
    let (mut gap_at, mut gap) = (0, 0);
    let mut run = 0;
    for (at, word) in words.iter().enumerate() {
        run = if *word == 0 { run + 1 } else { 0 };
        if run > gap {
            (gap_at, gap) = (at + 1 - run, run);
        }
    }
    let holds_ipv4 =
        gap_at == 0 && (gap == 6 || gap == 5 && words.get(5).is_some_and(|word| *word == 0xffff));
    let mut text = String::with_capacity(39);
    for (at, word) in words.iter().enumerate() {
        if (gap_at..gap_at + gap).contains(&at) {
            if at == gap_at {
                text.push_str("::");
            }
            continue;
        }
        if at > 0 && !text.ends_with(':') {
            text.push(':');
        }
        if at == 6 && holds_ipv4 {
            let [.., a, b, c, d] = bytes;
            let _ = write!(text, "{}", Ipv4Addr::new(a, b, c, d));
            break;
        }
        let _ = write!(text, "{word:x}");
    }
    Value::Text(text)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// Each text as `SELECT CAST('..' AS INET6)` of MariaDB 10.11 gives it.
    #[test]
    fn addresses_are_written_as_the_server_writes_them() {
        for text in [
            "::",
            "1::",
            "::1",
            "::ffff",
            "1:2:3::5:6:7:8",
            "0:0:1::",
            "::1:0:0:1",
            "::1.2.3.4",
            "::0.1.0.0",
            "::ffff:0.0.0.1",
            "::ffff:0.1.0.2",
            "1:0:0:2::3",
            "1::2:3:0:0:4",
            "::1:2:3:4:5:6:7",
            "1:2:3:4:5:6:7::",
            "::1:ffff:102:304",
            "::ffff:0:102:304",
            "fe80:0:0:1::1",
            "1:2:3:4:5:6:7:8",
        ] {
            let bytes = text.parse::<Ipv6Addr>().unwrap().octets();
            assert_eq!(inet6(bytes).text().as_deref(), Some(text));
        }
        assert_eq!(inet4([10, 0, 0, 0]), Value::Text("10.0.0.0".to_owned()));
        assert_eq!(padded::<4>(&[10]), Some([10, 0, 0, 0]));
        assert_eq!(padded::<4>(&[1, 2, 3, 4, 5]), None);
    }
}
