//! Coming in with a name and a secret, and going out.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use maud::html;

use super::act::noted;
use super::attempts::Tried;
use super::gate::{self, Fields};
use super::session::{Message, Visitor};
use super::{HOME, Page, view};

/// Where the form stands.
pub(super) const PLACE: &str = "/page/login";

/// A login waits for its note so long: whoever comes to see why nothing can be written must get in.
const NOTED_MAX: Duration = Duration::from_secs(3);

/// Browsers forget a cookie after this; the session is over before.
const COOKIE_SECONDS: u64 = 12 * 3_600;

/// Sends somebody who is not logged in to the form, and back to where they wanted to go.
pub(super) fn first(uri: &Uri) -> Response {
    let wanted = uri.path_and_query().map_or(HOME, |all| all.as_str());
    view::go_to(&view::asking(PLACE, &[("to", wanted)]))
}

/// A place within the page, and nothing else.
fn place_within(text: Option<&str>) -> &str {
    let within = |text: &&str| {
        let rest = text.strip_prefix(HOME);
        let begins = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        begins
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    text.filter(within).unwrap_or(HOME)
}

pub(super) async fn show(State(page): State<Arc<Page>>, uri: Uri) -> Response {
    if !page.settings.is_for_somebody() {
        return view::for_nobody();
    }
    let fields = Fields::of_uri(&uri);
    form(StatusCode::OK, place_within(fields.get("to")), None)
}

fn form(status: StatusCode, to: &str, wrong: Option<&str>) -> Response {
    let content = html! {
        h1 { "Log in" }
        @if let Some(wrong) = wrong {
            p .message.bad role="alert" { (wrong) }
        }
        form .login method="post" action=(PLACE) {
            input type="hidden" name="to" value=(to);
            label for="name" { "Name" }
            input #name name="name" type="text" autocomplete="username" required autofocus
                maxlength="64" spellcheck="false" autocapitalize="none";
            label for="secret" { "Secret" }
            input #secret name="secret" type="password" autocomplete="current-password" required
                maxlength="1024";
            button type="submit" { "Log in" }
        }
    };
    view::bare(status, "Log in", &content)
}

pub(super) async fn login(
    State(page): State<Arc<Page>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if !page.settings.is_for_somebody() {
        return view::for_nobody();
    }
    let fields = match gate::form(&page, &headers, body).await {
        Ok(fields) => fields,
        Err(refused) => return refused,
    };
    let to = place_within(fields.get("to"));
    let name = fields.get("name").unwrap_or_default();
    let secret = fields.get("secret").unwrap_or_default();
    let now = Instant::now();
    let user = page.settings.users.iter().find(|user| user.name == name);
    let tried = {
        let mut attempts = page.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.attempt(user.map(|user| user.name.as_str()), now, || {
            // A name that nobody has takes as long.
            let wanted = user.map_or("", |user| user.secret.expose().trim());
            page.sessions.are_same(secret, wanted) && user.is_some()
        })
    };
    let user = match (tried, user) {
        (Tried::Right, Some(user)) => user,
        (Tried::Wait(wait), _) => return slower(to, wait),
        (Tried::Right | Tried::Wrong, _) => {
            tracing::warn!(
                code = "page.login_refused",
                hint = "where nobody mistyped, find out who reaches the local server",
                "a login at the status page was refused"
            );
            let wrong = "That name and that secret do not belong together.";
            return form(StatusCode::UNAUTHORIZED, to, Some(wrong));
        }
    };
    let Ok(token) = page.sessions.begin(&user.name, user.role, now) else {
        return view::refused(StatusCode::SERVICE_UNAVAILABLE, view::NO_RANDOM);
    };
    let details = serde_json::Value::Null;
    let noted = noted(&page, &user.name, "page.login", "status page", details);
    let noted = tokio::time::timeout(NOTED_MAX, noted).await;
    let noted = noted.unwrap_or_else(|_| Err("the state file is busy".to_owned()));
    if let Err(error) = noted
        && let Some(visitor) = page.sessions.find(&token, false, now)
    {
        // Whoever comes to see why nothing can be written must get in.
        let text = format!("It could not be noted that you logged in: {error}.");
        let is_good = false;
        page.sessions.say(&visitor, Message { is_good, text });
    }
    tracing::info!(
        code = "page.login",
        by = user.name,
        "somebody logged in at the status page"
    );
    let mut response = view::go_to(to);
    let cookie = cookie(&page, &headers, &token, COOKIE_SECONDS);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

fn slower(to: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs().saturating_add(1);
    let wrong = format!(
        "There were too many wrong secrets. This one was not looked at: try again in {seconds} s."
    );
    let mut response = form(StatusCode::TOO_MANY_REQUESTS, to, Some(&wrong));
    let seconds = HeaderValue::from(seconds);
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}

pub(super) async fn logout(
    State(page): State<Arc<Page>>,
    Extension(visitor): Extension<Visitor>,
    headers: HeaderMap,
) -> Response {
    page.sessions.end(&visitor);
    let mut response = (
        StatusCode::SEE_OTHER,
        [(header::LOCATION, HeaderValue::from_static(PLACE))],
    )
        .into_response();
    let cookie = cookie(&page, &headers, "", 0);
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    response
}

/// No script sees it, no other site's page sends it, and behind TLS it never leaves without.
fn cookie(page: &Page, headers: &HeaderMap, token: &str, seconds: u64) -> HeaderValue {
    let secure = if gate::is_https(page, headers) {
        "; Secure"
    } else {
        ""
    };
    let text = format!(
        "{}={token}; Path={HOME}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        page.cookie
    );
    // It has nothing but letters, digits and signs that headers may have.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for within in ["/page", "/page/held?by=shop", "/page?x=1"] {
            assert_eq!(place_within(Some(within)), within);
        }
        for elsewhere in [
            "https://evil.example",
            "//evil.example",
            "/pageant",
            "/page/\\evil",
            "/page/\u{e9}",
            "/metrics",
        ] {
            assert_eq!(place_within(Some(elsewhere)), HOME, "{elsewhere}");
        }
        assert_eq!(place_within(None), HOME);
    }
}
