//! `lighterman status --watch`: redrawn in place on a terminal, printed again and again into a pipe.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use state::StoreError;
use tokio::sync::mpsc;

use super::facts::Facts;
use super::screen::{self, Look};
use crate::Exit;
use crate::config::Config;

/// Shows how things stand until a person has seen enough, or nobody reads it any more: how they stood then.
///
/// # Errors
/// Why the state file cannot be read.
pub(super) async fn watch(
    config: &Config,
    every: Duration,
    json: bool,
    colour: bool,
) -> Result<Exit, StoreError> {
    let on_terminal = !json && io::stdout().is_terminal();
    let mut terminal = on_terminal.then(Terminal::take).flatten();
    let mut signals = Signals::new();
    loop {
        let facts = Facts::gather(config).await?;
        let drawn = if json {
            print(&(facts.json().to_string() + "\n"))
        } else if terminal.is_some() {
            draw(&facts, colour)
        } else {
            let lines = screen::lines(&super::blocks(&facts), Look::pipe());
            print(&(lines.join("\n") + "\n\n"))
        };
        let key = async {
            match &mut terminal {
                Some(terminal) => terminal.key().await,
                None => std::future::pending().await,
            }
        };
        let ends = drawn.is_err()
            || tokio::select! {
                () = tokio::time::sleep(every) => false,
                ends = signals.next() => ends,
                key = key => is_end(key),
            };
        if ends {
            return Ok(facts.exit());
        }
    }
}

/// q, Ctrl-C where it comes as a key, Ctrl-D. Any other key looks again at once.
fn is_end(key: u8) -> bool {
    matches!(key, b'q' | b'Q' | 3 | 4)
}

fn draw(facts: &Facts, colour: bool) -> io::Result<()> {
    let look = Look::terminal(colour);
    let mut lines = screen::lines(&super::blocks(facts), look);
    // What is worst stands on top; the rest has no room.
    lines.truncate(look.rows().saturating_sub(1));
    let mut text = String::from("\x1b[H");
    for line in lines {
        text.push_str(&line);
        text.push_str("\x1b[K\r\n");
    }
    text.push_str("q ends it\x1b[K\x1b[J");
    print(&text)
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// A terminal whose keys come one by one and whose screen is ours; as it was before when dropped.
struct Terminal {
    keys: mpsc::Receiver<u8>,
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Terminal {
    #[cfg(unix)]
    fn take() -> Option<Self> {
        use rustix::termios::{
            LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr,
        };
        // Without a keyboard there are still signals.
        let before = tcgetattr(io::stdin()).ok();
        if let Some(before) = &before {
            let mut modes = before.clone();
            modes
                .local_modes
                .remove(LocalModes::ICANON | LocalModes::ECHO);
            // Put to sleep, it would leave the terminal as it is.
            modes.special_codes[SpecialCodeIndex::VSUSP] = 0;
            tcsetattr(io::stdin(), OptionalActions::Now, &modes).ok()?;
        }
        let (sender, keys) = mpsc::channel(16);
        if before.is_some() {
            // It ends with the process: nothing else ends a read of a terminal.
            std::thread::spawn(move || read(&sender));
        }
        let _ = print("\x1b[?1049h\x1b[?25l\x1b[2J");
        Some(Self { keys, before })
    }

    /// A console that may not know escape codes is written to like a pipe.
    #[cfg(not(unix))]
    fn take() -> Option<Self> {
        None
    }

    async fn key(&mut self) -> u8 {
        match self.keys.recv().await {
            Some(key) => key,
            None => std::future::pending().await,
        }
    }
}

#[cfg(unix)]
fn read(keys: &mpsc::Sender<u8>) {
    use std::io::Read as _;
    for key in io::stdin().lock().bytes() {
        let Ok(key) = key else { return };
        if keys.blocking_send(key).is_err() {
            return;
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = print("\x1b[?25h\x1b[?1049l");
        #[cfg(unix)]
        if let Some(before) = &self.before {
            use rustix::termios::{OptionalActions, tcsetattr};
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, before);
        }
    }
}

/// What tells the process to end, or that its terminal has another size.
#[cfg(unix)]
struct Signals {
    ends: Vec<tokio::signal::unix::Signal>,
    resized: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        let ends = [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ];
        let ends = ends.into_iter();
        Self {
            ends: ends.filter_map(|kind| signal(kind).ok()).collect(),
            resized: signal(SignalKind::window_change()).ok(),
        }
    }

    /// Whether it is to end.
    async fn next(&mut self) -> bool {
        use std::task::Poll;
        let Self { ends, resized } = self;
        std::future::poll_fn(|context| {
            for end in &mut *ends {
                if end.poll_recv(context).is_ready() {
                    return Poll::Ready(true);
                }
            }
            match resized {
                Some(resized) => resized.poll_recv(context).map(|_| false),
                None => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Self {
        Self
    }

    async fn next(&mut self) -> bool {
        let _ = tokio::signal::ctrl_c().await;
        true
    }
}
