//! Messages in packets over a connection.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use super::encode::Unfit;
use super::reader::Malformed;
use super::tls::Transport;

/// The bytes before the body of a packet.
pub(super) const HEADER_BYTES: usize = 8;
/// The most bytes of a packet.
pub(super) const PACKET_BYTES_MAX: usize = 32_767;

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The client went, or the network did.
    Gone,
    /// The test wanted it.
    Wanted,
    /// The client sent what is not the protocol.
    Malformed(Malformed),
    /// The script gave what the protocol cannot say.
    Unfit(Unfit),
}

impl From<io::Error> for Ended {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<Malformed> for Ended {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<Unfit> for Ended {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// A message of a client.
pub(super) struct Message {
    pub(super) kind: u8,
    /// The status of its first packet.
    pub(super) status: u8,
    /// Whether the client took it back while sending.
    pub(super) ignored: bool,
    pub(super) body: Vec<u8>,
}

/// A connection to a client.
pub(super) struct Link {
    pub(super) transport: Transport,
    incoming: Vec<u8>,
    /// The most bytes of a message that are taken.
    pub(super) message_bytes_max: usize,
    /// The most bytes that are written at once.
    pub(super) write_bytes_max: usize,
    pub(super) spid: u16,
}

impl Link {
    pub(super) fn new(transport: Transport, message_bytes_max: usize) -> Self {
        Self {
            transport,
            incoming: Vec::new(),
            message_bytes_max,
            write_bytes_max: usize::MAX,
            spid: 0,
        }
    }

    /// Takes the next packet if it is there in whole: its kind, its status and its body.
    fn packet(&mut self) -> Result<Option<(u8, u8, Vec<u8>)>, Malformed> {
        let Some(header) = self.incoming.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [kind, status, high, low, ..] = *header;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if !(HEADER_BYTES..=PACKET_BYTES_MAX).contains(&length) {
            return Err(Malformed(format!("a packet of {length} bytes")));
        }
        if !matches!(
            kind,
            0x01 | 0x03 | 0x06 | 0x07 | 0x08 | 0x0E | 0x10 | 0x11 | 0x12
        ) {
            return Err(Malformed(format!("a packet of kind {kind:#04x}")));
        }
        if self.incoming.len() < length {
            return Ok(None);
        }
        let body = self.incoming[HEADER_BYTES..length].to_vec();
        self.incoming.drain(..length);
        Ok(Some((kind, status, body)))
    }

    /// Reads one packet.
    pub(super) async fn read_packet(&mut self) -> Result<(u8, u8, Vec<u8>), Ended> {
        loop {
            if let Some(packet) = self.packet()? {
                return Ok(packet);
            }
            if self.transport.read_buf(&mut self.incoming).await? == 0 {
                return match self.incoming.len() {
                    0 => Err(Ended::Gone),
                    count => {
                        Err(Malformed(format!("the end after {count} bytes of a packet")).into())
                    }
                };
            }
        }
    }

    /// Reads a message.
    pub(super) async fn read(&mut self) -> Result<Message, Ended> {
        let (kind, status, body) = self.read_packet().await?;
        let mut message = Message {
            kind,
            status,
            ignored: false,
            body,
        };
        let mut last = status;
        while last & 0x01 == 0 {
            let (kind, status, body) = self.read_packet().await?;
            if kind == 0x06 {
                // An attention in the middle of a message takes it back.
                message.ignored = true;
                return Ok(message);
            }
            if kind != message.kind {
                return Err(Malformed(format!(
                    "a packet of kind {kind:#04x} in a message of kind {:#04x}",
                    message.kind
                ))
                .into());
            }
            if message.body.len() + body.len() > self.message_bytes_max {
                return Err(Malformed(format!(
                    "a message of more than {} bytes",
                    self.message_bytes_max
                ))
                .into());
            }
            message.body.extend(body);
            last = status;
        }
        message.ignored = last & 0x02 != 0;
        Ok(message)
    }

    /// Whether the client asks for a stop.
    pub(super) fn starts_with_attention(&self) -> bool {
        self.incoming.first() == Some(&0x06) && self.incoming.len() >= HEADER_BYTES
    }

    /// Whether the client asks for a stop. Takes that packet.
    pub(super) fn takes_attention(&mut self) -> Result<bool, Malformed> {
        Ok(self.starts_with_attention() && self.packet()?.is_some())
    }

    /// Takes in what the client has sent, if anything. Pending while nothing came.
    fn poll_incoming(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.transport).poll_read(context, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(_)) => Poll::Ready(Err(Ended::Gone)),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => Poll::Ready(Err(Ended::Gone)),
            Poll::Ready(Ok(())) => {
                self.incoming.extend_from_slice(buffer.filled());
                if self.incoming.len() > self.message_bytes_max {
                    let malformed = Malformed("more is sent while it is answered".to_owned());
                    return Poll::Ready(Err(malformed.into()));
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Waits until something came from the client.
    pub(super) async fn incoming(&mut self) -> Result<(), Ended> {
        poll_fn(|context| self.poll_incoming(context)).await
    }

    /// Writes all, and takes in what comes meanwhile, so that neither side waits for the other.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        let mut at = 0;
        poll_fn(|context| {
            while let Poll::Ready(came) = self.poll_incoming(context) {
                came?;
            }
            while at < bytes.len() {
                let end = bytes.len().min(at.saturating_add(self.write_bytes_max));
                match Pin::new(&mut self.transport).poll_write(context, &bytes[at..end]) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Ended::Gone)),
                    Poll::Ready(Ok(written)) => at += written,
                    Poll::Pending => return Poll::Pending,
                }
                if self.write_bytes_max != usize::MAX {
                    // So that each piece goes out by itself.
                    match Pin::new(&mut self.transport).poll_flush(context) {
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended::Gone)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            }
            Pin::new(&mut self.transport)
                .poll_flush(context)
                .map_err(|_| Ended::Gone)
        })
        .await
    }

    /// Writes a message that is not an answer to a statement.
    pub(super) async fn write_message(
        &mut self,
        body: &[u8],
        body_max: usize,
    ) -> Result<(), Ended> {
        let mut id = 1_u8;
        let mut pieces = body.chunks(body_max.max(1)).peekable();
        while let Some(piece) = pieces.next() {
            let packet = packet(piece, pieces.peek().is_none(), self.spid, id)?;
            self.write(&packet).await?;
            id = id.wrapping_add(1);
        }
        Ok(())
    }
}

/// A packet of the server.
pub(super) fn packet(body: &[u8], last: bool, spid: u16, id: u8) -> Result<Vec<u8>, Unfit> {
    let length: u16 = super::encode::narrow(body.len() + HEADER_BYTES, "a packet")?;
    let mut packet = Vec::with_capacity(body.len() + HEADER_BYTES);
    packet.extend([0x04, u8::from(last)]);
    packet.extend(length.to_be_bytes());
    packet.extend(spid.to_be_bytes());
    packet.extend([id, 0]);
    packet.extend(body);
    Ok(packet)
}
