//! What the service control manager refuses, in words, with what to do.

use contract::Finding;
use windows_service::Error;

use super::named;
use crate::{Exit, refuse};

/// Numbers by which Windows says why.
pub(super) const ACCESS_DENIED: i32 = 5;
pub(super) const NO_SUCH_SERVICE: i32 = 1060;
/// Of a setting of services: a Windows that does not have it, such as Wine.
pub(super) const NOT_KNOWN: i32 = 124;
pub(super) const NOT_STARTED_BY_MANAGER: i32 = 1063;
const DISABLED: i32 = 1058;
const LOGON_FAILED: i32 = 1069;
const GOING: i32 = 1072;
const NO_SUCH_ACCOUNT: i32 = 1057;
const NO_ANSWER: i32 = 1053;

/// Windows' number of an error.
pub(super) fn number(error: &Error) -> Option<i32> {
    match error {
        Error::Winapi(error) => error.raw_os_error(),
        _ => None,
    }
}

/// What went wrong while `what` was being done to service `name`.
pub(super) fn finding(what: &str, name: &str, error: &Error) -> Finding {
    let said = match error {
        Error::Winapi(error) => error.to_string(),
        other => other.to_string(),
    };
    let finding = Finding::fail(format!("{what} service {name}"), said);
    let option = named(name);
    match number(error) {
        Some(ACCESS_DENIED) => finding.fix("open the terminal with \"Run as administrator\", and try again"),
        Some(NO_SUCH_SERVICE) => finding.fix(format!("lighterman service install{option}")),
        Some(DISABLED) => finding.fix(format!("sc.exe config {name} start= delayed-auto")),
        Some(LOGON_FAILED | NO_SUCH_ACCOUNT) => finding.fix(format!(
            "Services (services.msc), {name}, Log On: give it an account that may log on as a service; or take \
             its own: lighterman service uninstall{option}, then lighterman service install{option}"
        )),
        Some(GOING) => finding.fix("close Services (services.msc) and whatever else looks at it, and try again"),
        Some(NO_ANSWER) => finding.fix(format!("lighterman service status{option}; the log says how far it came")),
        _ => finding,
    }
}

/// Says why a command was not done.
pub(super) fn trouble(finding: Finding, json: bool) -> Exit {
    refuse(&[finding], json);
    Exit::Trouble
}
