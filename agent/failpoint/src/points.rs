//! Where the agent is to fail, as a test said.

use std::io::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Failed;

/// The environment variable that says where the agent fails, and how.
pub const VARIABLE: &str = "LIGHTERMAN_FAILPOINTS";

/// What `exit` ends the process with: none of the agent's own codes.
const EXIT_CODE: i32 = 70;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Kill,
    Abort,
    Exit,
    Panic,
    Fail(Failed),
    Sleep(Duration),
}

#[derive(Debug)]
struct Point {
    name: String,
    action: Action,
    /// The visit at which it happens, and whether it does at later ones.
    at: u64,
    onwards: bool,
    visits: AtomicU64,
}

impl Point {
    /// One part of the variable.
    fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.trim().split_once('=')?;
        let (at, action) = rest.split_once(':').unwrap_or(("1", rest));
        let number = at.strip_suffix('+');
        let action = match action {
            "kill" => Action::Kill,
            "abort" => Action::Abort,
            "exit" => Action::Exit,
            "panic" => Action::Panic,
            "error" => Action::Fail(Failed::Error),
            "full" => Action::Fail(Failed::Full),
            other => Action::Sleep(Duration::from_millis(
                other.strip_prefix("sleep=")?.parse().ok()?,
            )),
        };
        Some(Self {
            name: name.to_owned(),
            action,
            at: number.unwrap_or(at).parse().ok().filter(|at| *at > 0)?,
            onwards: number.is_some(),
            visits: AtomicU64::new(0),
        })
    }

    /// Whether it happens at this visit: its number.
    fn due(&self) -> Option<u64> {
        let visit = self.visits.fetch_add(1, Ordering::Relaxed) + 1;
        (visit == self.at || self.onwards && visit > self.at).then_some(visit)
    }
}

/// All of them, or the part that says nothing.
fn read(text: &str) -> Result<Vec<Point>, &str> {
    let parts = text.split(';').filter(|part| !part.trim().is_empty());
    parts.map(|part| Point::read(part).ok_or(part)).collect()
}

fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn points() -> &'static [Point] {
    static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
    POINTS.get_or_init(|| {
        let said = std::env::var(VARIABLE).unwrap_or_default();
        read(&said).unwrap_or_else(|part| {
            // A test that fails nowhere by mistake would prove nothing.
            say(&format!("{VARIABLE}: `{part}` is not NAME=[N[+]:]ACTION"));
            std::process::exit(EXIT_CODE)
        })
    })
}

/// The agent comes to a point.
///
/// # Errors
/// Where the test says so.
///
/// # Panics
/// Likewise.
#[expect(clippy::panic, reason = "that is what was asked for")]
pub fn hit(name: &str) -> Result<(), Failed> {
    for point in points().iter().filter(|point| point.name == name) {
        let Some(visit) = point.due() else { continue };
        say(&format!("failpoint {name}: {:?} ({visit})", point.action));
        match point.action {
            Action::Kill => kill(),
            Action::Abort => std::process::abort(),
            Action::Exit => std::process::exit(EXIT_CODE),
            Action::Panic => panic!("failpoint {name}"),
            Action::Fail(failed) => return Err(failed),
            Action::Sleep(time) => std::thread::sleep(time),
        }
    }
    Ok(())
}

/// As [`hit`], where nothing can fail but the task itself.
///
/// # Panics
/// Where the test says so.
#[expect(clippy::panic, reason = "that is what was asked for")]
pub fn pass(name: &str) {
    if let Err(failed) = hit(name) {
        panic!("failpoint {name}: {failed}");
    }
}

#[cfg(unix)]
fn kill() -> ! {
    use rustix::process::{Signal, getpid, kill_process};
    let _ = kill_process(getpid(), Signal::KILL);
    // It has no choice; until then nothing goes on here.
    loop {
        std::thread::park();
    }
}

#[cfg(not(unix))]
fn kill() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_variable_says_is_read_whole_or_not_at_all() {
        let points = read("a.b=kill; c=3:sleep=20;d=2+:full;").unwrap_or_default();
        let read_back: Vec<_> = points
            .iter()
            .map(|one| (one.name.as_str(), one.at, one.onwards, one.action))
            .collect();
        let sleep = Action::Sleep(Duration::from_millis(20));
        assert_eq!(
            read_back,
            [
                ("a.b", 1, false, Action::Kill),
                ("c", 3, false, sleep),
                ("d", 2, true, Action::Fail(Failed::Full)),
            ]
        );
        for wrong in ["a", "a=boom", "a=0:kill", "a=x:kill", "a=kill;b=sleep=x"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_point_is_due_at_its_visit_and_where_asked_from_then_on() {
        let due = |text: &str| -> Vec<bool> {
            let point = Point::read(text);
            let visits = 0..4;
            visits
                .map(|_| point.as_ref().is_some_and(|one| one.due().is_some()))
                .collect()
        };
        assert_eq!(due("a=2:kill"), [false, true, false, false]);
        assert_eq!(due("a=2+:kill"), [false, true, true, true]);
    }
}
