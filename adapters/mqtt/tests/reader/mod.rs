//! A subscriber that is there whenever the broker is, and remembers all it gets.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "not every test file looks at everything"
)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use harness::brokers::Mosquitto;
use serde_json::Value;

/// A message as it came.
#[derive(Debug, Clone)]
pub struct Message {
    pub topic: String,
    /// The MQTT 5 properties, as bytes.
    pub properties: Vec<u8>,
    pub payload: String,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Message>>,
    subscribed: AtomicBool,
    over: AtomicBool,
}

pub struct Reader(Arc<Shared>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Reader {
    /// Subscribes to everything below `lighterman/`.
    pub fn start(port: u16) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !thread.over.load(Ordering::Relaxed) {
                let _ = read(port, &thread);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        wait_for("it subscribes", || {
            shared.subscribed.load(Ordering::Relaxed)
        });
        Self(shared)
    }

    /// All that was published so far, repetitions by the broker left out.
    pub fn messages(&self, broker: &Mosquitto) -> Vec<Message> {
        let marker = format!("end {}", self.0.messages.lock().unwrap().len());
        broker.publish("lighterman/marker", &marker);
        let messages = || self.0.messages.lock().unwrap().clone();
        wait_for("the marker comes", || {
            messages().iter().any(|message| message.payload == marker)
        });
        let mut messages = messages();
        messages.retain(|message| message.topic != "lighterman/marker");
        messages
    }

    /// Ids and contents of all events so far.
    pub fn held(&self, broker: &Mosquitto) -> Vec<(String, String)> {
        let messages = self.messages(broker).into_iter();
        messages
            .map(|message| {
                let event: Value = serde_json::from_str(&message.payload).unwrap();
                (event["id"].as_str().unwrap().to_owned(), message.payload)
            })
            .collect()
    }
}

fn read(port: u16, shared: &Shared) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    // A session that outlives connections and restarts.
    let hello = b"\x10\x15\x00\x04MQTT\x05\x00\x00\x00\x05\x11\xff\xff\xff\xff\x00\x03all";
    stream.write_all(hello)?;
    let (first, _) = packet(&mut stream)?;
    assert_eq!(first, 0x20);
    stream.write_all(b"\x82\x12\x00\x01\x00\x00\x0clighterman/#\x01")?;
    while !shared.over.load(Ordering::Relaxed) {
        let (first, body) = packet(&mut stream)?;
        if first == 0x90 {
            shared.subscribed.store(true, Ordering::Relaxed);
        }
        if first >> 4 != 3 {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, rest) = body[2..].split_at(length);
        let acknowledged = first & 0x06 != 0;
        let (id, rest) = rest.split_at(if acknowledged { 2 } else { 0 });
        // The broker itself sends again what we could not acknowledge.
        let again = first & 0x08 != 0;
        assert!(rest[0] < 0x80 || rest[1] < 0x80);
        let (size, width) = if rest[0] < 0x80 {
            (usize::from(rest[0]), 1)
        } else {
            (usize::from(rest[0] & 0x7f) | usize::from(rest[1]) << 7, 2)
        };
        let message = Message {
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            properties: rest[width..width + size].to_vec(),
            payload: String::from_utf8(rest[width + size..].to_vec()).unwrap(),
        };
        let mut messages = shared.messages.lock().unwrap();
        let known = again
            && messages
                .iter()
                .any(|known| known.payload == message.payload);
        if !known {
            messages.push(message);
        }
        drop(messages);
        if acknowledged {
            stream.write_all(&[0x40, 2, id[0], id[1]])?;
        }
    }
    Ok(())
}

fn packet(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    let first = byte[0];
    let mut length = 0;
    for place in 0..4 {
        stream.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7f) << (7 * place);
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((first, body))
}
