//! What brokers answer: Redis, AMQP, MQTT and Kafka, each of which takes the same bytes for its own.
#![no_main]

use std::sync::LazyLock;

use broker::Stream;
use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/amqp/src/frame.rs"]
mod amqp;
#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/kafka/src/api.rs"]
mod api;
#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/kafka/src/error.rs"]
mod kafka_error;
#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/mqtt/src/packet.rs"]
mod mqtt;
#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/redis/src/wire.rs"]
mod redis;
#[allow(dead_code, reason = "the rest is used by the destination")]
#[path = "../../../adapters/kafka/src/wire.rs"]
mod wire;

use mqtt::Packet;
use redis::Reply;
use wire::In;

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.build().expect("a runtime of one thread")
});

fuzz_target!(|data: &[u8]| {
    RUNTIME.block_on(async {
        redis_replies(data).await;
        amqp_frames(data).await;
        kafka_answer(data).await;
    });
    kafka(data);
    if let [first, body @ ..] = data {
        match mqtt::read(*first, body) {
            Some(Packet::Connected {
                reason,
                limits,
                said,
            }) => {
                assert!(limits.at_once > 0, "nothing may be sent, for ever");
                told(&mqtt::reason(reason), &said, body);
            }
            Some(
                Packet::Acknowledged { reason, said, .. } | Packet::Disconnected { reason, said },
            ) => {
                told(&mqtt::reason(reason), &said, body);
            }
            Some(Packet::Other) | None => {}
        }
    }
});

/// What is said of an answer has words, and is no longer than it.
fn told(words: &str, said: &str, body: &[u8]) {
    assert!(!words.is_empty() && said.len() <= 3 * body.len());
}

async fn redis_replies(data: &[u8]) {
    let mut wire = redis::Wire::new(Stream::of(data));
    for _ in 0..=data.len() {
        match wire.reply().await {
            Ok(Reply::Text(text)) => assert!(text.is_none_or(|text| text.len() <= 3 * data.len())),
            Ok(Reply::List(list)) => {
                let bytes: usize = list.iter().flatten().map(String::len).sum();
                assert!(list.len() <= data.len() && bytes <= 3 * data.len());
            }
            Ok(Reply::Error(error)) => assert!(error.len() <= 3 * data.len()),
            Err(why) => {
                assert!(!why.is_empty());
                return;
            }
        }
    }
    panic!("more replies than bytes");
}

async fn amqp_frames(data: &[u8]) {
    let mut wire = amqp::Wire::new(Stream::of(data));
    for _ in 0..=data.len() {
        match wire.frame().await {
            Ok(frame) => {
                assert!(frame.payload.len() <= data.len());
                let _ = amqp::returned_id(&frame.payload);
                if let Some((_, mut read)) = frame.method() {
                    let _ = (
                        read.byte(),
                        read.u16(),
                        read.u32(),
                        read.u64(),
                        read.short(),
                        read.long(),
                    );
                }
            }
            Err(why) => {
                assert!(!why.is_empty());
                return;
            }
        }
    }
    panic!("more frames than bytes");
}

async fn kafka_answer(data: &[u8]) {
    let mut connection = wire::Connection::new(Stream::of(data));
    if let Ok(answer) = connection.answer(0).await {
        assert!(answer.len() <= data.len());
        kafka(&answer);
    }
}

fn kafka(answer: &[u8]) {
    if let Some((error, versions)) = api::versions(&mut In(answer)) {
        let (_, words) = kafka_error::meaning(error);
        assert!(!words.is_empty() && versions.len() * 6 <= answer.len());
    }
    if let Some(metadata) = api::metadata(&mut In(answer)) {
        let leaders: usize = metadata
            .topics
            .iter()
            .map(|topic| topic.leaders.len())
            .sum();
        assert!(metadata.brokers.len() + metadata.topics.len() + leaders <= answer.len());
    }
    let _ = api::producer(&mut In(answer));
    if let Some(produced) = api::produced(&mut In(answer)) {
        assert!(produced.len() * 26 <= answer.len());
    }
}
