//! As much of the Redis protocol (RESP2) as publishing takes.

use broker::Stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Longest text that is read.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What a server answers to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A status, a text or a number, as text; `None` = nothing.
    Text(Option<String>),
    /// A list of such.
    List(Vec<Option<String>>),
    /// It refused.
    Error(String),
}

/// A connection.
pub(crate) struct Wire {
    stream: BufReader<Stream>,
    /// Our script's name at the server.
    pub(crate) script: String,
}

/// Puts a command behind others.
pub(crate) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn broken(error: &std::io::Error) -> String {
    format!("the connection broke: {error}")
}

impl Wire {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream: BufReader::new(stream),
            script: String::new(),
        }
    }

    pub(crate) async fn usable(&mut self) -> bool {
        self.stream.buffer().is_empty() && self.stream.get_mut().quiet().await
    }

    /// One command and its answer.
    pub(crate) async fn ask(&mut self, words: &[&[u8]]) -> Result<Reply, String> {
        let mut out = Vec::new();
        command(&mut out, words);
        self.send(&out).await?;
        self.reply().await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).await.map_err(|e| broken(&e))?;
        stream.flush().await.map_err(|e| broken(&e))
    }

    /// The answer to the oldest command that has none yet.
    pub(crate) async fn reply(&mut self) -> Result<Reply, String> {
        let (kind, rest) = self.line().await?;
        if kind != '*' {
            return self.item(kind, rest).await;
        }
        let count: usize = rest.parse().map_err(|_| strange())?;
        let mut list = Vec::new();
        // A list as a whole is no longer than a text may be.
        let mut room = TEXT_BYTES_MAX;
        for _ in 0..count {
            let (kind, rest) = self.line().await?;
            match self.item(kind, rest).await? {
                Reply::Text(text) => {
                    let taken = size_of_val(&text) + text.as_ref().map_or(0, String::len);
                    room = room
                        .checked_sub(taken)
                        .ok_or("the server's answer is a list that is too long")?;
                    list.push(text);
                }
                Reply::List(_) | Reply::Error(_) => return Err(strange()),
            }
        }
        Ok(Reply::List(list))
    }

    async fn item(&mut self, kind: char, rest: String) -> Result<Reply, String> {
        match kind {
            '+' | ':' => Ok(Reply::Text(Some(rest))),
            '-' => Ok(Reply::Error(rest)),
            '$' if rest == "-1" => Ok(Reply::Text(None)),
            '$' => {
                let length: usize = rest.parse().map_err(|_| strange())?;
                if length > TEXT_BYTES_MAX {
                    return Err(format!("the server's answer has {length} bytes"));
                }
                let mut text = vec![0; length + 2];
                let read = self.stream.read_exact(&mut text).await;
                read.map_err(|e| broken(&e))?;
                text.truncate(length);
                Ok(Reply::Text(Some(
                    String::from_utf8_lossy(&text).into_owned(),
                )))
            }
            _ => Err(strange()),
        }
    }

    async fn line(&mut self) -> Result<(char, String), String> {
        let mut line = Vec::new();
        let mut limited = (&mut self.stream).take(LINE_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut line).await;
        read.map_err(|e| broken(&e))?;
        if line.last() != Some(&b'\n') {
            return Err("the server closed the connection".to_owned());
        }
        let text = String::from_utf8_lossy(&line);
        let mut characters = text.trim_end().chars();
        let kind = characters.next().ok_or_else(strange)?;
        Ok((kind, characters.collect()))
    }
}

fn strange() -> String {
    "what answers there is no Redis server".to_owned()
}
