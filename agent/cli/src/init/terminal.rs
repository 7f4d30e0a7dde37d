//! A person at a terminal: lines in, lines out. Nothing moves the cursor and nothing is coloured, so any terminal will
//! do, over ssh too.

use std::io::{BufRead, IsTerminal, Read, Write};

use contract::Secret;

use super::Stop;

/// No answer is longer.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// Whether a person can be asked.
pub(super) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// Says a line.
pub(super) fn say(line: &str) {
    crate::out(line);
}

/// Asks for a line.
///
/// # Errors
/// The input has ended.
pub(super) fn line(prompt: &str) -> Result<String, Stop> {
    print(prompt);
    let mut line = String::new();
    let read = std::io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line);
    match read {
        Ok(0) | Err(_) => Err(Stop),
        Ok(_) => Ok(line.trim().to_owned()),
    }
}

/// Asks for a line that is not shown while it is typed.
///
/// # Errors
/// The input has ended.
#[cfg(windows)]
pub(super) fn secret(prompt: &str) -> Result<Secret, Stop> {
    // The console shows what is typed as long as nobody asks it by its own means not to.
    print(prompt);
    let typed = rpassword::read_password().map_err(|_| Stop)?;
    Ok(Secret::new(typed))
}

/// Asks for a line that is not shown while it is typed.
///
/// # Errors
/// The input has ended.
#[cfg(not(windows))]
pub(super) fn secret(prompt: &str) -> Result<Secret, Stop> {
    print(prompt);
    if !echo::off() {
        print("(this terminal shows what is typed) ");
    }
    let mut line = String::new();
    let read = std::io::stdin()
        .lock()
        .take(LINE_BYTES_MAX)
        .read_line(&mut line);
    echo::on();
    say("");
    match read {
        Ok(0) | Err(_) => Err(Stop),
        // Blanks may be part of it.
        Ok(_) => Ok(Secret::new(line.trim_end_matches(['\n', '\r']))),
    }
}

fn print(text: &str) {
    let mut out = std::io::stdout();
    let _ = out.write_all(text.as_bytes());
    let _ = out.flush();
}

/// Leaves the terminal as it was found.
pub(super) fn restore() {
    echo::on();
}

#[cfg(unix)]
mod echo {
    use std::sync::{Mutex, PoisonError};

    use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

    /// How the terminal was set before.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    pub(super) fn off() -> bool {
        let Ok(before) = tcgetattr(std::io::stdin()) else {
            return false;
        };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).is_ok()
    }

    pub(super) fn on() {
        let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(before) = before {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
        }
    }
}

#[cfg(not(unix))]
mod echo {
    #[cfg(not(windows))]
    pub(super) fn off() -> bool {
        false
    }

    pub(super) fn on() {}
}
