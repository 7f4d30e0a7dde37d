//! A command at a terminal of its own, and the person before it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// Between two looks while waiting.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// What a person waits at most.
const PATIENCE: Duration = Duration::from_mins(1);

/// A command at a terminal; killed when dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    shown: Arc<Mutex<Vec<u8>>>,
    /// So much of it was read.
    read: usize,
}

impl Terminal {
    /// Starts a command in `folder`, with a terminal that knows nothing but lines.
    pub fn start(binary: &str, folder: &Path, words: &[&str]) -> Self {
        Self::begin(binary, folder, words, "dumb", None)
    }

    /// Starts a command in `folder`, with a terminal of colours and so many columns and rows.
    pub fn coloured(binary: &str, folder: &Path, words: &[&str], size: (u16, u16)) -> Self {
        Self::begin(binary, folder, words, "xterm-256color", Some(size))
    }

    fn begin(
        binary: &str,
        folder: &Path,
        words: &[&str],
        kind: &str,
        size: Option<(u16, u16)>,
    ) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        if let Some((columns, rows)) = size {
            let size = Winsize {
                ws_row: rows,
                ws_col: columns,
                ws_xpixel: 0,
                ws_ypixel: 0,
            };
            tcsetwinsize(&ours, size).unwrap();
        }
        let name = ptsname(&ours, Vec::new()).unwrap();
        let theirs = || {
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
            rustix::fs::open(&name, flags, Mode::empty()).unwrap()
        };
        // A session of its own, so that keys such as Ctrl-C reach it as they do at a real terminal.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(binary)
            .args(words)
            .current_dir(folder)
            .env("TERM", kind)
            .env_remove("NO_COLOR")
            .stdin(theirs())
            .stdout(theirs())
            .stderr(theirs())
            .spawn()
            .unwrap();
        let keyboard = File::from(ours);
        let mut screen = keyboard.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&shown);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other end any more.
            while let Ok(count) = screen.read(&mut bytes) {
                if count == 0 {
                    return;
                }
                kept.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self {
            child,
            keyboard,
            shown,
            read: 0,
        }
    }

    /// Everything that was shown.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap()).into_owned()
    }

    /// Waits until a text is shown behind what was read, and reads up to its end.
    ///
    /// # Panics
    /// When it does not come.
    pub fn expect(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = {
                let shown = self.shown.lock().unwrap();
                let rest = &shown[self.read..];
                let at = rest
                    .windows(text.len())
                    .position(|part| part == text.as_bytes());
                at.map(|at| self.read + at + text.len())
            };
            if let Some(read) = found {
                self.read = read;
                return;
            }
            assert!(
                Instant::now() < deadline,
                "`{text}` is not shown:\n{}",
                self.shown()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Types a line.
    pub fn line(&mut self, text: &str) {
        self.keys(&format!("{text}\n"));
    }

    /// Types keys, without Enter.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for a question, and answers it.
    pub fn answer(&mut self, question: &str, text: &str) {
        self.expect(question);
        self.expect("> ");
        self.line(text);
    }

    /// Whether what is typed is shown.
    pub fn echoes(&self) -> bool {
        let modes = tcgetattr(&self.keyboard).unwrap().local_modes;
        modes.contains(LocalModes::ECHO)
    }

    /// Waits for its end: the exit code.
    ///
    /// # Panics
    /// When it does not end.
    pub fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "it does not end:\n{}",
                self.shown()
            );
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
