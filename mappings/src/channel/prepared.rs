//! From a request's shape to a request.

use std::fmt::Write as _;

use serde_json::Value as Json;

use super::formula::Scope;
use super::model::{Channel, HeaderValue, Piece, Request};
use super::rules::plain;
use super::template::Render;

/// A request, ready to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Method.
    pub method: &'static str,
    /// Address.
    pub url: String,
    /// Headers, names in lower case, but those of the login.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Option<Vec<u8>>,
    /// Points that it costs.
    pub points: u32,
    /// The form's fields, where the body is one: some logins sign them.
    pub form: Vec<(String, String)>,
    /// It goes to another server: without our credentials.
    pub away: bool,
}

/// Shows no content.
impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.body.as_ref().map_or(0, Vec::len);
        write!(f, "Prepared({}, {bytes} bytes)", self.method)
    }
}

impl HeaderValue {
    /// The value; nothing where it is null.
    pub(super) fn text(&self, scope: &Scope<'_>) -> Result<Option<String>, String> {
        let Some(text) = self.formula.text(scope)? else {
            return Ok(None);
        };
        if text.bytes().any(|b| b < 0x20 && b != b'\t' || b == 0x7f) {
            return Err("holds a control character".to_owned());
        }
        Ok(Some(match &self.base64 {
            Some(before) => format!("{before}{}", base64(text.as_bytes())),
            None => text,
        }))
    }
}

impl Request {
    /// The request.
    ///
    /// # Errors
    /// Where and why there is none, without any value.
    pub(super) fn prepare(
        &self,
        channel: &Channel,
        render: &Render<'_>,
    ) -> Result<Prepared, String> {
        let scope = &render.scope;
        let mut url = self.address(channel, scope)?;
        let mut mark = if url.contains('?') { '&' } else { '?' };
        for (name, template) in &self.query {
            let made = template
                .render(render)
                .map_err(|reason| format!("query {name}: {reason}"))?;
            // Each element of a list is a parameter of its own.
            let values = match made {
                None => continue,
                Some(Json::Array(items)) => items,
                Some(json) => vec![json],
            };
            for value in values {
                match &value {
                    Json::Null => continue,
                    Json::Array(_) | Json::Object(_) => {
                        return Err(format!(
                            "query {name}: an object has no place in an address"
                        ));
                    }
                    _ => {}
                }
                let (name, value) = (percent(name, b"$"), percent(&plain(&value), b""));
                let _ = write!(url, "{mark}{name}={value}");
                mark = '&';
            }
        }
        let mut headers: Vec<(String, String)> = Vec::new();
        let away = !self.away.is_empty();
        let own: &[(String, HeaderValue)] = if away { &[] } else { &channel.headers };
        for (name, value) in self.headers.iter().chain(own) {
            let text = value
                .text(scope)
                .map_err(|reason| format!("header {name}: {reason}"))?;
            if let (Some(text), false) = (text, headers.iter().any(|(known, _)| known == name)) {
                headers.push((name.clone(), text));
            }
        }
        let mut form = Vec::new();
        for (name, value) in &self.form {
            if let Some(text) = value
                .text(scope)
                .map_err(|reason| format!("form {name}: {reason}"))?
            {
                form.push((name.clone(), text));
            }
        }
        let json = match &self.body {
            Some(template) => template
                .render(render)
                .map_err(|reason| format!("body: {reason}"))?
                .map(|json| json.to_string()),
            None => None,
        };
        let body = match &self.body {
            Some(_) => match (&self.part, json) {
                (Some(part), Some(json)) => {
                    let (kind, body) = file_in(part, &json);
                    headers.retain(|(name, _)| name != "content-type");
                    headers.push(("content-type".to_owned(), kind));
                    Some(body)
                }
                (_, json) => json.map(String::into_bytes),
            },
            None if self.form.is_empty() => None,
            None => Some(form_body(&form).into_bytes()),
        };
        if body.is_some() && !headers.iter().any(|(name, _)| name == "content-type") {
            let form = if self.form.is_empty() {
                "application/json"
            } else {
                "application/x-www-form-urlencoded"
            };
            headers.push((
                "content-type".to_owned(),
                self.content_type.clone().unwrap_or_else(|| form.to_owned()),
            ));
        }
        Ok(Prepared {
            method: self.method,
            url,
            headers,
            body,
            points: self.points,
            form,
            away,
        })
    }

    fn address(&self, channel: &Channel, scope: &Scope<'_>) -> Result<String, String> {
        let base = channel.base();
        let base = base.trim_end_matches('/');
        let mut path = String::new();
        for (n, piece) in self.path.iter().enumerate() {
            match piece {
                Piece::Text(text) => path.push_str(text),
                Piece::Value(formula) => {
                    let Some(text) = formula.text(scope)?.filter(|text| !text.is_empty()) else {
                        return Err("a part of the address is empty".to_owned());
                    };
                    if !self.away.is_empty() {
                        return elsewhere(&text, base, &self.away);
                    }
                    // What an answer said is where to go on: an address of the same server, or a path.
                    if n == 0 && text.starts_with("http") {
                        let Some(rest) = text
                            .strip_prefix(origin(base))
                            .filter(|rest| rest.starts_with('/'))
                        else {
                            return Err("the answer leads to another server".to_owned());
                        };
                        return Ok(format!("{}{rest}", origin(base)));
                    }
                    if n == 0 && text.starts_with('/') {
                        return Ok(format!("{}{text}", origin(base)));
                    }
                    if text == "." || text == ".." {
                        return Err("a part of the address is a dot".to_owned());
                    }
                    path.push_str(&percent(&text, b""));
                }
            }
        }
        Ok(format!("{base}{path}"))
    }
}

/// An address that an answer gave, at a server of one of these domains. It may be signed: it is never told.
fn elsewhere(text: &str, base: &str, domains: &[String]) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    // No less safe than the API itself.
    if scheme != "https" && !(scheme == "http" && base.starts_with("http://")) {
        return Err("the answer leads to where nothing is encrypted".to_owned());
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-.:".contains(&b);
    let is_of = |domain: &String| {
        let name = host
            .split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let before = name.strip_suffix(domain.as_str());
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    if !host.bytes().all(plain) || !domains.iter().any(is_of) {
        return Err("the answer leads to a server that the channel does not name".to_owned());
    }
    if !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the address that the answer gives is none".to_owned());
    }
    Ok(text.to_owned())
}

/// The address of the next page as an answer gave it: whole, of the same server; or from its root; or as it stands
/// beside the address of the page before.
pub(super) fn follow(url: &str, link: &str) -> Result<String, String> {
    let origin = origin(url);
    if !link.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the address of the next page is none".to_owned());
    }
    if link.contains("://") && !link.starts_with('/') && !link.starts_with('?') {
        let rest = link.strip_prefix(origin);
        let same = rest.is_some_and(|rest| rest.starts_with(['/', '?']));
        return if same {
            Ok(link.to_owned())
        } else {
            Err("the next page is at another server".to_owned())
        };
    }
    let path = url.split('?').next().unwrap_or(url);
    Ok(match link.chars().next() {
        Some('/') => format!("{origin}{link}"),
        Some('?') => format!("{path}{link}"),
        _ => {
            let end = path.rfind('/').map_or(path.len(), |at| at + 1);
            format!("{}{link}", path.get(..end).unwrap_or_default())
        }
    })
}

/// Scheme, host and port.
fn origin(url: &str) -> &str {
    let from = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(from..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |at| from + at);
    url.get(..end).unwrap_or(url)
}

/// `application/x-www-form-urlencoded`, with blanks as `%20`.
pub fn form_body(form: &[(String, String)]) -> String {
    let parts: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{}={}", percent(name, b""), percent(value, b"")))
        .collect();
    parts.join("&")
}

/// A JSON file as one part of `multipart/form-data` (RFC 7578): content type and body. What separates it is its
/// own digest, so that it is not in it, and the same file is the same request.
fn file_in(part: &str, json: &str) -> (String, Vec<u8>) {
    let mark = contract::event::digest(&[json]);
    let body = format!(
        "--{mark}\r\ncontent-disposition: form-data; name=\"{part}\"; filename=\"{part}.json\"\r\n\
         content-type: application/json\r\n\r\n{json}\r\n--{mark}--\r\n"
    );
    (
        format!("multipart/form-data; boundary={mark}"),
        body.into_bytes(),
    )
}

/// The file in such a body.
pub(super) fn file_of(body: &[u8]) -> Option<&[u8]> {
    let find = |what: &[u8]| body.windows(what.len()).position(|part| part == what);
    let (from, to) = (find(b"\r\n\r\n")? + 4, body.len());
    let end = body
        .get(from..to)?
        .windows(4)
        .rposition(|part| part == b"\r\n--")?;
    body.get(from..from + end)
}

/// Everything but unreserved characters (RFC 3986) and `kept` as `%XX`.
pub fn percent(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for n in 0..4_usize {
            let index = (bits >> (18 - 6 * n)) & 63;
            let sign = SIGNS
                .get(usize::try_from(index).unwrap_or(0))
                .copied()
                .unwrap_or(b'=');
            out.push(if n <= three.len() {
                char::from(sign)
            } else {
                '='
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (text, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_file_stands_in_a_form_as_it_is() {
        let json = r#"{"a":"\r\n--"}"#;
        let (kind, body) = file_in("file", json);
        let mark = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let text = String::from_utf8(body.clone()).unwrap();
        assert!(text.starts_with(&format!("--{mark}\r\n")), "{text}");
        assert!(text.ends_with(&format!("\r\n--{mark}--\r\n")), "{text}");
        assert!(
            text.contains("name=\"file\"; filename=\"file.json\""),
            "{text}"
        );
        assert_eq!(file_of(&body), Some(json.as_bytes()));
    }

    #[test]
    fn addresses_keep_their_parts_apart() {
        assert_eq!(percent("a/b ?ä|", b""), "a%2Fb%20%3F%C3%A4%7C");
        assert_eq!(percent("$filter", b"$"), "$filter");
        assert_eq!(origin("https://h:1/a/b"), "https://h:1");
        assert_eq!(origin("https://h"), "https://h");
    }

    #[test]
    fn only_servers_that_are_named_are_gone_to_without_credentials() {
        let domains = ["amazonaws.com".to_owned(), "127.0.0.1".to_owned()];
        let to = |text: &str| elsewhere(text, "https://api.example", &domains);
        for well in [
            "https://amazonaws.com/a?b=%2F",
            "https://x.s3.AmazonAWS.com:443/a",
        ] {
            assert_eq!(to(well), Ok(well.to_owned()));
        }
        for wrong in [
            "http://x.amazonaws.com/a",
            "https://xamazonaws.com/a",
            "https://amazonaws.com.evil.example/a",
            "https://evil.example/amazonaws.com",
            "https://evil.example\\.amazonaws.com/a",
            "https://amazonaws.com@evil.example/a",
            "https://evil.example?.amazonaws.com",
            "https://x.amazonaws.com/a b",
            "/a",
            "",
        ] {
            let found = to(wrong);
            assert!(found.is_err(), "{wrong}");
            assert!(!found.unwrap_err().contains("evil"), "{wrong}");
        }
        assert!(elsewhere("http://127.0.0.1:9/a", "http://127.0.0.1:8", &domains).is_ok());
    }
}
