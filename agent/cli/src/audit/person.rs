//! Who gives a command, as the system knows it.

use std::path::Path;

/// No list of users that we read is longer.
#[cfg(unix)]
const USERS_MAX: u64 = 1 << 20;

/// Who asks, for the record: who called sudo, else the user as whom the command runs.
pub(crate) fn person() -> String {
    named("SUDO_USER")
        .or_else(process_user)
        .or_else(|| ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(named))
        .unwrap_or_else(|| "somebody".to_owned())
}

/// The user as whom the command runs, where that is another one than who asks.
pub(super) fn acting_as() -> Option<String> {
    let sudo = named("SUDO_USER")?;
    process_user().filter(|user| *user != sudo)
}

fn named(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|name| !name.is_empty())
}

/// The user of this process: variables say what they are set to, this does not.
#[cfg(unix)]
fn process_user() -> Option<String> {
    owner(Path::new("/proc/self"))
}

#[cfg(not(unix))]
fn process_user() -> Option<String> {
    None
}

/// Whom a file belongs to.
#[cfg(unix)]
pub(super) fn owner(file: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let id = std::fs::metadata(file).ok()?.uid();
    Some(user(id).unwrap_or_else(|| format!("uid {id}")))
}

#[cfg(not(unix))]
pub(super) fn owner(_file: &Path) -> Option<String> {
    None
}

#[cfg(unix)]
fn user(id: u32) -> Option<String> {
    use std::io::Read as _;
    let mut users = String::new();
    let file = std::fs::File::open("/etc/passwd").ok()?;
    file.take(USERS_MAX).read_to_string(&mut users).ok()?;
    name_of(&users, id)
}

/// The name of a user's number in a list of users.
#[cfg(any(unix, test))]
fn name_of(users: &str, id: u32) -> Option<String> {
    users.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        let number = parts.nth(1)?.parse::<u32>().ok()?;
        (number == id && !name.is_empty()).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_number() {
        let users =
            "root:x:0:0:root:/root:/bin/sh\n\nbroken\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(name_of(users, 1_000).as_deref(), Some("anna"));
        assert_eq!(name_of(users, 7), None);
    }
}
