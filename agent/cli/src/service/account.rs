//! As whom a service runs on Windows: accounts that have no password, for nobody would change it.

/// The account that is the service's own: it exists as long as the service, and has no password and no rights.
pub(super) fn own(service: &str) -> String {
    format!("NT SERVICE\\{service}")
}

/// An account as Windows names it.
///
/// # Errors
/// One that needs a password, or none at all.
pub(super) fn read(text: &str, service: &str) -> Result<String, String> {
    let said = text.trim();
    let bare = ["NT AUTHORITY\\", ".\\"].into_iter().find_map(|before| {
        let (start, rest) = said.split_at_checked(before.len())?;
        start.eq_ignore_ascii_case(before).then_some(rest)
    });
    let word = bare.unwrap_or(said).replace(' ', "");
    for (known, name) in [
        ("LocalService", "NT AUTHORITY\\LocalService"),
        ("NetworkService", "NT AUTHORITY\\NetworkService"),
        ("LocalSystem", "LocalSystem"),
    ] {
        if word.eq_ignore_ascii_case(known) {
            return Ok(name.to_owned());
        }
    }
    if said.eq_ignore_ascii_case(&own(service)) {
        return Ok(own(service));
    }
    let managed = said
        .split_once('\\')
        .is_some_and(|(domain, name)| !domain.is_empty() && name.len() > 1 && name.ends_with('$'));
    let plain =
        !said.contains(|letter: char| letter.is_control() || "\"/[]:;|=,+*?<>".contains(letter));
    if managed && plain {
        return Ok(said.to_owned());
    }
    Err(format!("{said} is no account without a password"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_without_a_password_are_known() {
        for (said, named) in [
            ("localservice", "NT AUTHORITY\\LocalService"),
            ("NT Authority\\Local Service", "NT AUTHORITY\\LocalService"),
            ("NetworkService", "NT AUTHORITY\\NetworkService"),
            (".\\LocalSystem", "LocalSystem"),
            ("nt service\\lighterman", "NT SERVICE\\Lighterman"),
            ("SHOP\\agent$", "SHOP\\agent$"),
        ] {
            assert_eq!(read(said, "Lighterman").as_deref(), Ok(named), "{said}");
        }
    }

    #[test]
    fn what_would_need_a_password_is_refused() {
        for said in [
            "SHOP\\agent",
            "agent",
            "",
            "\\$",
            "SHOP\\a\"$",
            "NT SERVICE\\Other",
        ] {
            assert!(read(said, "Lighterman").is_err(), "{said}");
        }
    }
}
