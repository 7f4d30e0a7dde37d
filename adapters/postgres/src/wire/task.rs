//! The task that owns the socket.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::dial::Duplex;
use super::queue::Queue;
use super::startup::{self, Session};
use super::{Event, Failure, event, frame};

/// Between two status updates.
const STATUS_EVERY: Duration = Duration::from_secs(1);
/// A server that has been silent for so long is asked for an answer with the next status. On a
/// quiet server the answer is also what tells the newest border.
const SILENCE_ASK: Duration = Duration::from_millis(500);
/// How long the end of the connection may take.
const END_MAX: Duration = Duration::from_secs(3);
/// How long we look, after a write failed, for what the server said before it went.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// From 1970 to 2000, PostgreSQL's own zero.
const EPOCH: Duration = Duration::from_hours(262_968);

type Reader = ReadHalf<Box<dyn Duplex>>;
type Writer = WriteHalf<Box<dyn Duplex>>;

struct Line {
    arrived: BytesMut,
    /// Read and not yet in the queue.
    events: Vec<Event>,
    outgoing: BytesMut,
    /// Bytes may still stand between us and the socket.
    flushing: bool,
    /// The server wants to hear from us.
    answer: bool,
    /// What the last status acknowledged.
    told: Option<u64>,
    /// When the server was heard last, or we began to listen again.
    heard_at: Instant,
    queue: Arc<Queue>,
}

/// Tells the stream that nothing will come, also when the task is thrown away.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0
            .end(Failure::Ended("the connection has ended".to_owned()));
    }
}

pub(super) async fn run(session: Session, queue: Arc<Queue>) {
    let _ending = Ending(Arc::clone(&queue));
    let (mut reader, mut writer) = tokio::io::split(session.socket);
    let mut line = Line {
        arrived: session.arrived,
        events: Vec::new(),
        outgoing: BytesMut::new(),
        flushing: false,
        answer: false,
        told: None,
        heard_at: Instant::now(),
        queue: Arc::clone(&queue),
    };
    match line.stream(&mut reader, &mut writer).await {
        Ok(()) => {
            if timeout(END_MAX, line.leave(&mut reader, &mut writer))
                .await
                .is_err()
            {
                tracing::debug!("the replication connection was ended by force");
            }
        }
        Err(failure) => queue.end(failure),
    }
}

impl Line {
    /// Reads and writes until nobody listens any more.
    async fn stream(&mut self, reader: &mut Reader, writer: &mut Writer) -> Result<(), Failure> {
        let mut tick = interval(STATUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let queue = Arc::clone(&self.queue);
        let mut listening = true;
        // Since when we cannot write any more, and why.
        let mut broken: Option<(Instant, Failure)> = None;
        loop {
            self.split()?;
            if queue.is_closed() {
                return Ok(());
            }
            let room = !queue.is_full();
            if room != listening {
                // What the server said meanwhile lies in the socket: no silence of its own.
                self.heard_at = Instant::now();
                queue.owe(None);
                listening = room;
            }
            // The first acknowledgement goes at once: connections that never live for a second
            // would never let the server forget anything.
            let first = self
                .told
                .is_none_or(|told| told == queue.started_at() && queue.acknowledged() > told);
            if (self.answer || first) && broken.is_none() {
                self.put_status(false);
            }
            let writing = (!self.outgoing.is_empty() || self.flushing) && broken.is_none();
            frame::make_room(&mut self.arrived);
            tokio::select! {
                biased;
                () = queue.called.notified() => {}
                _ = tick.tick() => {
                    if let Some((since, _)) = &broken {
                        let over = since.elapsed() >= LAST_WORDS_MAX;
                        if let (true, true, Some((_, why))) = (over, listening, broken.take()) {
                            return Err(why);
                        }
                    } else {
                        self.tick(listening);
                    }
                }
                written = write(writer, &mut self.outgoing), if writing => match written {
                    Ok(()) => self.flushing = false,
                    Err(error) => {
                        tracing::debug!(error = %error, "the replication connection takes no more");
                        broken = Some((Instant::now(), Failure::Io(error)));
                    }
                },
                read = reader.read_buf(&mut self.arrived), if listening => {
                    if read.map_err(|error| self.cut(error))? == 0 {
                        return Err(self.closed());
                    }
                    self.heard_at = Instant::now();
                    queue.owe(None);
                }
            }
        }
    }

    /// Every second: a status, and a question when the server is silent.
    fn tick(&mut self, listening: bool) {
        let silent = listening && self.heard_at.elapsed() >= SILENCE_ASK;
        self.put_status(silent);
    }

    /// One status at a time: while the last one is stuck, a newer one would be, too.
    fn put_status(&mut self, ask: bool) {
        if !self.outgoing.is_empty() {
            return;
        }
        self.answer = false;
        self.flushing = true;
        let acknowledged = self.queue.acknowledged();
        self.told = Some(acknowledged);
        event::put_status(&mut self.outgoing, acknowledged, clock(), ask);
        if ask && self.queue.owed_since().is_none() {
            self.queue.owe(Some(Instant::now()));
        }
    }

    /// Splits what has arrived into messages and hands them on.
    fn split(&mut self) -> Result<(), Failure> {
        let split = self.split_all();
        // What came before an error comes before it.
        self.queue.put(&mut self.events);
        split
    }

    fn split_all(&mut self) -> Result<(), Failure> {
        while let Some(frame) = frame::take(&mut self.arrived, frame::STREAM_MAX)? {
            match frame.kind {
                b'd' => {
                    let told = event::read(frame.body)?;
                    self.answer |= told.answer;
                    self.events.extend(told.event);
                }
                b'E' => return Err(error(&frame)),
                // A notice, a setting that changed.
                b'N' | b'S' => {}
                b'c' | b'C' => {
                    return Err(Failure::Ended(
                        "the server has ended the stream: it shuts down".to_owned(),
                    ));
                }
                kind => {
                    return Err(Failure::Malformed(format!(
                        "a message of kind 0x{kind:02x} inside the stream"
                    )));
                }
            }
        }
        Ok(())
    }

    fn in_the_middle(&self) -> &'static str {
        if self.arrived.is_empty() {
            ""
        } else {
            " in the middle of a message"
        }
    }

    fn closed(&self) -> Failure {
        let middle = self.in_the_middle();
        Failure::Ended(format!("the server closed the connection{middle}"))
    }

    fn cut(&self, error: std::io::Error) -> Failure {
        let middle = self.in_the_middle();
        let kind = error.kind();
        if middle.is_empty() || error.get_ref().is_some() {
            return Failure::Io(error);
        }
        Failure::Io(std::io::Error::new(kind, format!("{error}{middle}")))
    }

    /// Ends politely: the last acknowledgement, and no more. A server that sends a transaction
    /// reads our words only when its own do not get through: we listen again after it had time.
    async fn leave(&mut self, reader: &mut Reader, writer: &mut Writer) {
        let acknowledged = self.queue.acknowledged();
        event::put_status(&mut self.outgoing, acknowledged, clock(), false);
        frontend::copy_done(&mut self.outgoing);
        frontend::terminate(&mut self.outgoing);
        if write(writer, &mut self.outgoing).await.is_err() || writer.shutdown().await.is_err() {
            return;
        }
        // What lies unread when a socket closes makes the other side throw away what it has not
        // read of ours.
        let mut rest = pin!(async {
            loop {
                self.arrived.clear();
                frame::make_room(&mut self.arrived);
                if !matches!(reader.read_buf(&mut self.arrived).await, Ok(1..)) {
                    return;
                }
            }
        });
        rest.as_mut().await;
    }
}

/// Writes everything. Cancel-safe: what is written is no longer in `outgoing`.
async fn write(writer: &mut Writer, outgoing: &mut BytesMut) -> std::io::Result<()> {
    writer.write_all_buf(outgoing).await?;
    writer.flush().await
}

fn error(frame: &frame::Frame) -> Failure {
    let mut whole = BytesMut::with_capacity(frame.body.len() + 5);
    let length = u32::try_from(frame.body.len() + 4).unwrap_or(u32::MAX);
    whole.extend_from_slice(&[frame.kind]);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(&frame.body);
    match Message::parse(&mut whole) {
        Ok(Some(Message::ErrorResponse(body))) => startup::server(&body),
        _ => Failure::Malformed("the server's error cannot be read".to_owned()),
    }
}

/// The time as a status has it. The server only shows it (`reply_time`).
#[expect(
    clippy::disallowed_methods,
    reason = "nothing is decided by it: it is told to the server for the eyes of its DBA"
)]
fn clock() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH + EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_micros()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    /// What a stream tells of these bytes, and how it ends, when the server then goes away.
    fn heard(bytes: &[u8]) -> (Vec<Event>, Failure) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (near, mut far) = tokio::io::duplex(1 << 20);
            far.write_all(bytes).await.unwrap();
            drop(far);
            let session = Session {
                socket: Box::new(near),
                arrived: BytesMut::new(),
            };
            let queue = Arc::new(Queue::new(0));
            run(session, Arc::clone(&queue)).await;
            let (mut events, mut handed) = (VecDeque::new(), 0);
            loop {
                match queue.take(&mut events, handed) {
                    Ok(bytes) => handed = bytes,
                    Err(failure) => return (events.into(), failure),
                }
            }
        })
    }

    fn keepalive(end: u64) -> BytesMut {
        let mut message = BytesMut::from(&b"d"[..]);
        message.put_u32(4 + 18);
        message.put_u8(b'k');
        message.put_u64(end);
        message.put_bytes(0, 9);
        message
    }

    /// The first acknowledgement of a connection waits for no second to be over; the regular status
    /// of a silent server would ask for an answer.
    #[tokio::test]
    async fn the_first_acknowledgement_is_told_at_once() {
        let (near, mut far) = tokio::io::duplex(1 << 10);
        let session = Session {
            socket: Box::new(near),
            arrived: BytesMut::new(),
        };
        let queue = Arc::new(Queue::new(3));
        let running = tokio::spawn(run(session, Arc::clone(&queue)));
        let mut status = async || {
            let mut status = [0; 39];
            far.read_exact(&mut status).await.unwrap();
            (status[13], status[38])
        };
        assert_eq!(status().await, (3, 0));
        queue.acknowledge(5);
        let (told, asks) = loop {
            let told = status().await;
            if told.0 != 3 {
                break told;
            }
        };
        assert_eq!((told, asks), (5, 0));
        drop(far);
        running.await.unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_bytes_end_in_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            heard(&bytes);
        }

        /// What came whole is told, and after it that the rest is missing.
        #[test]
        fn a_cut_stream_is_an_error_after_what_came_whole(count in 0u64..6, lost in 1usize..=23) {
            let mut bytes: Vec<u8> = (0..=count).flat_map(keepalive).collect();
            bytes.truncate(bytes.len() - lost);
            let (events, failure) = heard(&bytes);
            let whole: Vec<_> = (0..count).map(|end| Event::Reached { end }).collect();
            prop_assert_eq!(events, whole);
            let Failure::Ended(why) = failure else {
                panic!("{failure:?}");
            };
            prop_assert_eq!(why.contains("in the middle of a message"), lost < 23);
        }
    }
}
