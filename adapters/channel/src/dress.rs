//! What says who we are and whose trace it is, put on a request: parts of its address, headers, a signature.

use contract::trace_context::{self, Context};
use mappings::channel::{Prepared, percent};

use crate::session::{Pass, nonce};
use crate::sign;

/// Puts it on.
///
/// # Errors
/// Why that cannot be.
pub(crate) fn dress(request: &mut Prepared, pass: &Pass) -> Result<(), String> {
    for (name, value) in &pass.sending.query {
        let mark = if request.url.contains('?') { '&' } else { '?' };
        let (name, value) = (percent(name, b""), percent(value, b""));
        request.url = format!("{}{mark}{name}={value}", request.url);
    }
    request.headers.extend(pass.sending.headers.iter().cloned());
    if let Some(signing) = &pass.signing {
        let signed = sign::oauth1(signing, request, http_client::now().as_second(), &nonce());
        let signed = signed.ok_or("the request could not be signed")?;
        request.headers.push(("authorization".to_owned(), signed));
    }
    Ok(())
}

/// More cookies, beside those that a request has: it has one header for all (RFC 6265 section 5.4).
pub(crate) fn add_cookies(request: &mut Prepared, cookies: &str) {
    let known = request
        .headers
        .iter_mut()
        .find(|(name, _)| name == "cookie");
    match known {
        Some((_, known)) => {
            known.push_str("; ");
            known.push_str(cookies);
        }
        None => request
            .headers
            .push(("cookie".to_owned(), cookies.to_owned())),
    }
}

/// The trace context, unless the channel's file says another or the request goes to another server.
pub(crate) fn trace(request: &mut Prepared, context: &Context) {
    let mut headers = request.headers.iter();
    if !request.away && !headers.any(|(name, _)| name == trace_context::NAME) {
        let header = (trace_context::NAME.to_owned(), context.traceparent());
        request.headers.push(header);
    }
}
