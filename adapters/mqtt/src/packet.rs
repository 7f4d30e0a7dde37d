//! As much of MQTT 5 as publishing takes (<https://docs.oasis-open.org/mqtt/mqtt/v5.0/mqtt-v5.0.html>).
//!
//! Our own, for the crates at hand either are no longer kept (with open advisories in the TLS they
//! bring) or connect again and send again by themselves, when an outcome was told long ago.

/// A packet that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// The answer to our greeting.
    Connected {
        reason: u8,
        limits: Limits,
        said: String,
    },
    /// A message was taken, or refused.
    Acknowledged { id: u16, reason: u8, said: String },
    /// The server ends the connection.
    Disconnected { reason: u8, said: String },
    /// Nothing to us.
    Other,
}

/// What a server bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Messages on their way at once.
    pub(crate) at_once: u16,
    /// Bytes in a packet.
    pub(crate) packet_bytes: u32,
    /// It acknowledges messages at all.
    pub(crate) acknowledges: bool,
    /// It keeps the last message of a topic.
    pub(crate) retains: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            at_once: u16::MAX,
            packet_bytes: 268_435_460,
            acknowledges: true,
            retains: true,
        }
    }
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    // Longer ones are refused before: see `fits`.
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(text.get(..usize::from(length)).unwrap_or_default());
}

/// Whether a text can be said in MQTT: its length, and characters that a server may refuse.
pub(crate) fn fits(text: &str) -> bool {
    u16::try_from(text.len()).is_ok() && !text.contains('\0')
}

fn number(out: &mut Vec<u8>, mut number: usize) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    number(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

/// A greeting: a session that ends with the connection.
pub(crate) fn connect(client: &str, login: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(5);
    body.push(if login.is_some() {
        0b1100_0010
    } else {
        0b0000_0010
    });
    // No keep-alive: a connection that lay still is looked at before it is used.
    body.extend_from_slice(&[0, 0]);
    body.push(0);
    text(&mut body, client.as_bytes());
    if let Some((user, password)) = login {
        text(&mut body, user.as_bytes());
        text(&mut body, password.as_bytes());
    }
    packet(0x10, &body)
}

/// A message at quality of service 1.
pub(crate) struct Publish<'a> {
    pub(crate) id: u16,
    pub(crate) topic: &'a str,
    pub(crate) retain: bool,
    pub(crate) content_type: &'a str,
    pub(crate) properties: &'a [(String, String)],
    pub(crate) payload: &'a [u8],
}

impl Publish<'_> {
    pub(crate) fn packet(&self) -> Vec<u8> {
        // The payload is UTF-8.
        let mut properties = vec![0x01, 1, 0x03];
        text(&mut properties, self.content_type.as_bytes());
        for (name, value) in self.properties {
            properties.push(0x26);
            text(&mut properties, name.as_bytes());
            text(&mut properties, value.as_bytes());
        }
        let mut body = Vec::with_capacity(self.payload.len() + properties.len() + 64);
        text(&mut body, self.topic.as_bytes());
        body.extend_from_slice(&self.id.to_be_bytes());
        number(&mut body, properties.len());
        body.extend_from_slice(&properties);
        body.extend_from_slice(self.payload);
        packet(0x32 | u8::from(self.retain), &body)
    }
}

/// The connection ends because we want it to.
pub(crate) const DISCONNECT: [u8; 2] = [0xe0, 0];

/// Reads a packet's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn long(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = self.short()?;
        let text = self.take(usize::from(length))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = 0;
        for place in 0..4 {
            let byte = self.byte()?;
            number |= usize::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// The properties: what the server bears, and its reason in words.
    fn properties(&mut self) -> Option<(Limits, String)> {
        let (mut limits, mut said) = (Limits::default(), String::new());
        if self.0.is_empty() {
            return Some((limits, said));
        }
        let length = self.number()?;
        let mut own = Body(self.take(length)?);
        while let Some(kind) = own.byte() {
            match kind {
                0x1f => said = own.text()?,
                0x21 => limits.at_once = own.short()?.max(1),
                0x24 => limits.acknowledges = own.byte()? >= 1,
                0x25 => limits.retains = own.byte()? == 1,
                0x27 => limits.packet_bytes = own.long()?,
                0x01 | 0x17 | 0x19 | 0x28 | 0x29 | 0x2a => drop(own.byte()?),
                0x13 | 0x22 | 0x23 => drop(own.short()?),
                0x02 | 0x11 | 0x18 => drop(own.long()?),
                0x0b => drop(own.number()?),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c => drop(own.text()?),
                0x26 => drop((own.text()?, own.text()?)),
                _ => return None,
            }
        }
        Some((limits, said))
    }
}

/// Reads a packet; `None` = it is not MQTT 5.
pub(crate) fn read(first: u8, body: &[u8]) -> Option<Packet> {
    let mut body = Body(body);
    Some(match first >> 4 {
        2 => {
            let _flags = body.byte()?;
            let reason = body.byte()?;
            let (limits, said) = body.properties()?;
            Packet::Connected {
                reason,
                limits,
                said,
            }
        }
        4 => {
            let id = body.short()?;
            let reason = body.byte().unwrap_or(0);
            let (_, said) = body.properties()?;
            Packet::Acknowledged { id, reason, said }
        }
        14 => {
            let reason = body.byte().unwrap_or(0);
            let (_, said) = body.properties()?;
            Packet::Disconnected { reason, said }
        }
        _ => Packet::Other,
    })
}

/// A reason code in words.
pub(crate) fn reason(code: u8) -> String {
    let words = match code {
        0x00 => "fine",
        0x10 => "nobody subscribes to it",
        0x81 | 0x82 => "it does not understand us",
        0x01 | 0x84 => "it does not speak MQTT 5",
        0x85 => "our client id is not allowed",
        0x04 | 0x86 => "wrong user or password",
        0x05 | 0x87 => "we are not allowed to",
        0x03 | 0x88 => "the server is not available",
        0x89 => "the server is busy",
        0x8a => "we are banned",
        0x8b => "the server shuts down",
        0x8d => "it heard nothing for too long",
        0x8e => "another connection took over our client id",
        0x90 => "the topic's name is not valid",
        0x95 => "the packet is too large",
        0x96 => "too many messages",
        0x97 => "a quota is used up",
        0x99 => "the payload is not what it says it is",
        0x9a => "it keeps no messages (retain)",
        0x9b => "it does not acknowledge messages (quality of service)",
        0x9c | 0x9d => "another server is to be used",
        0x9f => "too many connections in too short a time",
        _ => return format!("reason {code:#04x}"),
    };
    format!("{words} ({code:#04x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_what_the_standard_says() {
        let greeting = connect("c", Some(("u", "p")));
        assert_eq!(
            greeting,
            [
                0x10, 20, 0, 4, b'M', b'Q', b'T', b'T', 5, 0xc2, 0, 0, 0, 0, 1, b'c', 0, 1, b'u',
                0, 1, b'p'
            ]
        );
        let message = Publish {
            id: 7,
            topic: "t",
            retain: true,
            content_type: "c",
            properties: &[("a".to_owned(), "b".to_owned())],
            payload: &[b'x'; 200],
        };
        let packet = message.packet();
        assert_eq!(
            packet[..21],
            [
                0x33, 0xdb, 0x01, 0, 1, b't', 0, 7, 13, 1, 1, 3, 0, 1, b'c', 0x26, 0, 1, b'a', 0, 1
            ]
        );
        assert_eq!(packet.len(), 3 + 219);
    }

    #[test]
    fn answers_are_read_and_nonsense_is_not() {
        let limits = Limits {
            at_once: 20,
            packet_bytes: 1_000,
            ..Limits::default()
        };
        let body = [0, 0, 8, 0x21, 0, 20, 0x27, 0, 0, 3, 0xe8];
        let connected = Packet::Connected {
            reason: 0,
            limits,
            said: String::new(),
        };
        assert_eq!(read(0x20, &body), Some(connected));
        let acknowledged = Packet::Acknowledged {
            id: 258,
            reason: 0x97,
            said: "no".to_owned(),
        };
        assert_eq!(
            read(0x40, &[1, 2, 0x97, 5, 0x1f, 0, 2, b'n', b'o']),
            Some(acknowledged)
        );
        let short = Packet::Acknowledged {
            id: 1,
            reason: 0,
            said: String::new(),
        };
        assert_eq!(read(0x40, &[0, 1]), Some(short));
        for broken in [&[0][..], &[0, 0, 9], &[0, 0, 1, 0x7f], &[0, 0, 2, 0x21, 0]] {
            assert_eq!(read(0x20, broken), None, "{broken:?}");
        }
    }
}
