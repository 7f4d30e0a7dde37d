//! Who asks, whether their own page asked, and whether they may: one gate for everything but the login.

use std::sync::Arc;
use std::time::Instant;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use super::session::Visitor;
use super::settings::{ProxyHeaders, Role, is_name};
use super::{Page, login, view};

/// Where whoever is logged in ends that. The one form that a viewer may send.
pub(super) const LOGOUT: &str = "/page/logout";

/// A form is no larger than this.
const FORM_BYTES_MAX: usize = 64 << 10;

/// What the page's own script says, which keeps no session alive.
const BY_ITSELF: &str = "x-lighterman-refresh";

/// The fields of a form, or of a question in an address.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    fn of(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes);
        Self(pairs.into_owned().collect())
    }

    /// What an address asks.
    pub(super) fn of_uri(uri: &Uri) -> Self {
        Self::of(uri.query().unwrap_or_default().as_bytes())
    }

    /// A field's text without the blanks at its ends, where it has any.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, text)| text.trim())
            .filter(|text| !text.is_empty())
    }
}

/// Who asks.
enum Who {
    Known(Visitor),
    Nobody,
    /// Why not, in a sentence.
    Refused(&'static str),
}

/// Lets through who may, with who it is and what their form says.
pub(super) async fn pass(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if !page.settings.is_for_somebody() {
        return view::for_nobody();
    }
    let looks = parts.method == Method::GET || parts.method == Method::HEAD;
    let visitor = match who(&page, &parts.headers) {
        Who::Known(visitor) => visitor,
        Who::Nobody if looks => return login::first(&parts.uri),
        Who::Nobody => {
            let sentence = "Nobody is logged in, or the session is over. Nothing was done: log in and ask again.";
            return view::refused(StatusCode::UNAUTHORIZED, sentence);
        }
        Who::Refused(sentence) => return view::refused(StatusCode::FORBIDDEN, sentence),
    };
    if !looks {
        let fields = match form(&page, &parts.headers, body).await {
            Ok(fields) => fields,
            Err(refused) => return refused,
        };
        let token = fields.get("form").unwrap_or_default();
        if !page.sessions.are_same(token, &visitor.form_token) {
            let sentence = "The form is not of this session. Nothing was done: go back, load the page again, and \
                            ask once more.";
            return view::refused(StatusCode::FORBIDDEN, sentence);
        }
        if !visitor.is_operator() && parts.uri.path() != LOGOUT {
            let sentence =
                "You are a viewer, who changes nothing. Nothing was done: ask an operator.";
            return view::refused(StatusCode::FORBIDDEN, sentence);
        }
        parts.extensions.insert(fields);
    }
    parts.extensions.insert(visitor);
    next.run(Request::from_parts(parts, Body::empty())).await
}

/// A form that our own page sent.
pub(super) async fn form(page: &Page, headers: &HeaderMap, body: Body) -> Result<Fields, Response> {
    if !is_from_here(headers, page.behind_proxy) {
        let sentence = "The form was not sent by this page. Nothing was done. If you did send it here, the reverse \
                        proxy must pass the Host header on as it comes.";
        return Err(view::refused(StatusCode::FORBIDDEN, sentence));
    }
    let Ok(bytes) = to_bytes(body, FORM_BYTES_MAX).await else {
        let sentence = "The form is too large, or it did not come whole. Nothing was done.";
        return Err(view::refused(StatusCode::PAYLOAD_TOO_LARGE, sentence));
    };
    Ok(Fields::of(&bytes))
}

/// Whether a browser sent it from a page of ours: it says so in one of two headers, which no page can
/// set; who sends neither is refused.
fn is_from_here(headers: &HeaderMap, behind_proxy: bool) -> bool {
    let fetched = headers.get("sec-fetch-site");
    let origin = headers.get(header::ORIGIN);
    if fetched.is_none() && origin.is_none() {
        return false;
    }
    let same = fetched.is_none_or(|site| site == "same-origin");
    same && origin.is_none_or(|origin| {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|text| text.parse::<Uri>().ok());
        let origin = origin.as_ref().and_then(Uri::authority);
        origin.is_some_and(|origin| hosts(headers, behind_proxy).any(|host| host == *origin))
    })
}

/// By what names we were asked.
fn hosts(headers: &HeaderMap, behind_proxy: bool) -> impl Iterator<Item = Authority> {
    let forwarded = headers.get("x-forwarded-host").filter(|_| behind_proxy);
    let all = [headers.get(header::HOST), forwarded];
    all.into_iter()
        .flatten()
        .filter_map(|host| host.to_str().ok()?.parse().ok())
}

fn who(page: &Page, headers: &HeaderMap) -> Who {
    let now = Instant::now();
    if let Some(proxy) = &page.settings.proxy {
        match named(proxy, headers) {
            Ok(Some((name, role))) => {
                let visitor = page.sessions.of_proxy(&name, role, now);
                return visitor.map_or(Who::Refused(view::NO_RANDOM), Who::Known);
            }
            Err(sentence) => return Who::Refused(sentence),
            Ok(None) if page.settings.users.is_empty() => {
                return Who::Refused(
                    "The reverse proxy named nobody: it must log people in and say who they are in the header of \
                     proxy_user_header.",
                );
            }
            Ok(None) => {}
        }
    }
    let by_itself = headers.contains_key(BY_ITSELF);
    let token = cookie(headers, &page.cookie);
    let visitor = token.and_then(|token| page.sessions.find(token, by_itself, now));
    visitor.map_or(Who::Nobody, Who::Known)
}

/// Whom the proxy names. A header that comes twice may have one that a client sent.
fn named(
    proxy: &ProxyHeaders,
    headers: &HeaderMap,
) -> Result<Option<(String, Role)>, &'static str> {
    let mut names = headers.get_all(&proxy.user).iter();
    let (name, more) = (names.next(), names.next());
    let Some(name) = name else {
        return Ok(None);
    };
    let name = std::str::from_utf8(name.as_bytes()).ok();
    let name = name.filter(|name| more.is_none() && is_name(name));
    let name = name.ok_or("The reverse proxy named nobody that can be understood.")?;
    let Some(header) = &proxy.role else {
        return Ok(Some((name.to_owned(), Role::Viewer)));
    };
    let mut roles = headers.get_all(header).iter();
    let (role, more) = (roles.next(), roles.next());
    let role = match role {
        None => Some(Role::Viewer),
        Some(role) => role.to_str().ok().and_then(Role::of),
    };
    let role = role.filter(|_| more.is_none());
    let role = role.ok_or("The reverse proxy gave a role that is neither viewer nor operator.")?;
    Ok(Some((name.to_owned(), role)))
}

/// A cookie's text.
fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let all = headers.get_all(header::COOKIE).iter();
    let pairs = all.filter_map(|line| line.to_str().ok());
    pairs
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(known, text)| (known == name).then_some(text))
}

/// Whether the visitor's browser speaks TLS, as far as the proxy says.
pub(super) fn is_https(page: &Page, headers: &HeaderMap) -> bool {
    let scheme = headers.get("x-forwarded-proto");
    page.behind_proxy && scheme.is_some_and(|scheme| scheme == "https")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = all
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn only_our_own_page_sends_forms() {
        let ours = ("origin", "http://127.0.0.1:8350");
        let host = ("host", "127.0.0.1:8350");
        let same = ("sec-fetch-site", "same-origin");
        for (all, wanted) in [
            (vec![host, ours], true),
            (vec![host, ours, same], true),
            (vec![host, same], true),
            (vec![host], false),
            (vec![host, ("origin", "null")], false),
            (vec![host, ("origin", "http://evil.example")], false),
            (vec![host, ("origin", "http://127.0.0.1:9999")], false),
            (vec![host, ("origin", "http://evil.example"), same], false),
            (vec![host, ours, ("sec-fetch-site", "cross-site")], false),
            (vec![host, ours, ("sec-fetch-site", "same-site")], false),
            (vec![host, ours, ("sec-fetch-site", "none")], false),
        ] {
            assert_eq!(is_from_here(&headers(&all), false), wanted, "{all:?}");
        }
        // A proxy's word for the name counts only where there is a proxy.
        let outside = [
            host,
            ("origin", "https://lm.example.com"),
            ("x-forwarded-host", "lm.example.com"),
        ];
        assert!(is_from_here(&headers(&outside), true));
        assert!(!is_from_here(&headers(&outside), false));
    }

    #[test]
    fn a_proxy_names_one_person_or_nobody() {
        let proxy = ProxyHeaders {
            user: HeaderName::from_static("x-user"),
            role: Some(HeaderName::from_static("x-role")),
        };
        let named = |all: &[(&'static str, &str)]| named(&proxy, &headers(all));
        assert_eq!(named(&[]), Ok(None));
        let anna = |role| Ok(Some(("anna".to_owned(), role)));
        assert_eq!(named(&[("x-user", "anna")]), anna(Role::Viewer));
        let both = [("x-user", "anna"), ("x-role", "operator")];
        assert_eq!(named(&both), anna(Role::Operator));
        for wrong in [
            vec![("x-user", "anna"), ("x-user", "eve")],
            vec![("x-user", "")],
            vec![("x-user", "anna"), ("x-role", "admin")],
            vec![
                ("x-user", "anna"),
                ("x-role", "viewer"),
                ("x-role", "operator"),
            ],
        ] {
            assert!(named(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_cookie_is_found_among_others() {
        let all = headers(&[("cookie", "a=1; lighterman_8350=xyz"), ("cookie", "b=2")]);
        assert_eq!(cookie(&all, "lighterman_8350"), Some("xyz"));
        assert_eq!(cookie(&all, "lighterman_835"), None);
    }
}
