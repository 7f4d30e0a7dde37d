//! How a login lives: renewed, kept, shared with what else goes with a request, and never shown.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::auth::{file, one, shop, shop_with};
use crate::common::*;
use contract::gate::Open;
use serde_json::json;

const REFRESH: &str = "{oauth2: {token_url: setting.url || '/token', client_id: \"'me'\", grant: refresh_token, refresh_token: setting.key}}";

/// Knows only the newest refresh token; `late` = how long its first answer takes.
async fn rotating(newest: &Arc<Mutex<String>>, late: Option<Duration>) -> Api {
    let newest = Arc::clone(newest);
    let late = Mutex::new(late);
    Api::start(move |request: &Request| {
        if request.path != "/token" {
            return answer(200, json!({}));
        }
        let mut newest = newest.lock().unwrap();
        let known = format!("&refresh_token={}", newest.replace('+', "%2B"));
        if !request.text.ends_with(&known) {
            return answer(400, json!({"error": "invalid_grant"}));
        }
        let expires = if newest.starts_with("long") { 3_600 } else { 0 };
        newest.push('+');
        let said = json!({"access_token": "t", "expires_in": expires, "refresh_token": *newest});
        match late.lock().unwrap().take() {
            Some(late) => Do::Late(late, said),
            None => answer(200, said),
        }
    })
    .await
}

/// Another process that logs in with the same file leaves the only token that the server knows there.
#[tokio::test]
async fn a_refresh_token_that_another_process_wrote_is_used() {
    let newest = Arc::new(Mutex::new("given".to_owned()));
    let api = rotating(&newest, None).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refresh-token");
    std::fs::write(&path, "given\n").unwrap();
    let place = map([("file", text(path.to_str().unwrap()))]);
    let shop = shop_with(&api.url, REFRESH, None, place);
    assert_eq!(one(&shop).await, "applied");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "given+\n");
    "other".clone_into(&mut newest.lock().unwrap());
    std::fs::write(&path, "other\n").unwrap();
    assert_eq!(one(&shop).await, "applied");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "other+\n");
}

/// The server has forgotten the old refresh token when it answers: that answer must not be missed.
#[tokio::test]
async fn a_login_has_time_of_its_own() {
    let newest = Arc::new(Mutex::new("long".to_owned()));
    let api = rotating(&newest, Some(Duration::from_millis(1_300))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refresh-token");
    std::fs::write(&path, "long\n").unwrap();
    let place = map([("file", text(path.to_str().unwrap()))]);
    let settings = map([("url", text(&api.url)), ("key", place)]);
    let shop = of_file(
        &file(REFRESH).replace("timeout: 2s", "timeout: 20s"),
        vec![("settings", settings), ("timeout_seconds", number(1))],
    );
    assert_eq!(one(&shop).await, "retry", "the call's own time is over");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "long+\n");
    assert_eq!(one(&shop).await, "applied");
    let took = api.took();
    let paths: Vec<&str> = took.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/token", "/stock/A?b=2"]);
}

#[tokio::test]
async fn a_session_that_ended_before_the_token_against_forged_requests_is_renewed() {
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/login" => answer(200, json!({"token": "new"})),
        "/csrf" if request.header("authorization") == "Bearer new" => {
            Do::Answer(200, vec![("x-csrf-token", "c".to_owned())], json!({}))
        }
        "/csrf" => answer(401, json!({})),
        _ => answer(200, json!({})),
    })
    .await;
    let auth = "{login: {post: /login, take: {token: token}}, csrf: {get: /csrf}}";
    let shop = shop(&api.url, auth, None);
    api.then([answer(200, json!({"token": "old"}))]);
    assert_eq!(one(&shop).await, "applied");
    let took = api.took();
    let paths: Vec<&str> = took.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        ["/login", "/csrf", "/login", "/csrf", "/stock/A?b=2"]
    );
}

#[tokio::test]
async fn the_token_against_forged_requests_is_fetched_with_all_that_says_who_we_are() {
    for (auth, path, header) in [
        (
            "{api_key: {query: key, value: setting.key}, csrf: {get: /csrf}}",
            "/csrf?key=s3cr3t-pass",
            "",
        ),
        (
            "{oauth1: {consumer_key: \"'ck'\", consumer_secret: setting.key}, csrf: {get: /csrf}}",
            "/csrf",
            "OAuth oauth_consumer_key=\"ck\"",
        ),
    ] {
        let api = Api::start(|_: &Request| {
            Do::Answer(200, vec![("x-csrf-token", "c".to_owned())], json!({}))
        })
        .await;
        assert_eq!(one(&shop(&api.url, auth, None)).await, "applied");
        let fetch = &api.took()[0];
        assert_eq!(fetch.path, path);
        assert!(
            fetch.header("authorization").starts_with(header),
            "{fetch:?}"
        );
        assert_eq!(fetch.header("authorization").is_empty(), header.is_empty());
    }
}

/// A session of several cookies, beside those of a token against forged requests: one header for all.
#[tokio::test]
async fn a_session_of_several_cookies_is_taken_whole() {
    let api = Api::start(|request: &Request| {
        let cookies: &[&str] = match request.path.as_str() {
            "/login" => &[
                "A=1; path=/; HttpOnly",
                "B=2",
                "GONE=; Max-Age=0",
                "A=3; Secure",
            ],
            "/csrf" => &["S=9; path=/"],
            _ => &[],
        };
        let mut headers: Vec<(&str, String)> = cookies
            .iter()
            .map(|one| ("set-cookie", (*one).to_owned()))
            .collect();
        headers.push(("x-csrf-token", "c".to_owned()));
        Do::Answer(200, headers, json!({}))
    })
    .await;
    let auth = "{login: {post: /login, take: {token: $cookies}, send: {cookie: token}}, csrf: {get: /csrf}}";
    assert_eq!(one(&shop(&api.url, auth, None)).await, "applied");
    let took = api.took();
    assert_eq!(took[1].header("cookie"), "B=2; A=3");
    let cookies = took[2].headers.iter().filter(|(name, _)| name == "cookie");
    let cookies: Vec<&str> = cookies.map(|(_, text)| text.as_str()).collect();
    assert_eq!(cookies, ["B=2; A=3; S=9"]);
}

/// A secret may be a part of something else that an answer says: it is cut out of what is kept, not of what is read.
#[tokio::test]
async fn secrets_are_cut_out_of_what_is_kept_and_not_of_what_is_read() {
    let api = Api::start(|_: &Request| answer(200, json!({"id": 12345, "ok": true}))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "1234").unwrap();
    let place = map([("file", text(path.to_str().unwrap()))]);
    let settings = map([("url", text(&api.url)), ("key", place)]);
    let shop = of_file(
        &file("{bearer: setting.key}").replace(
            "body: {q: sellable}, done: {status: 200}",
            "body: {q: sellable}, done: ok",
        ),
        vec![("settings", settings)],
    );
    let event = [stock(1, "A", "MAIN", 1)];
    let outcomes = shop.deliver(&event, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "applied", "{outcomes:?}");
    assert!(!format!("{outcomes:?}").contains("1234"), "{outcomes:?}");
    api.then([answer(422, json!({"message": "1234 is no good"}))]);
    let outcomes = shop.deliver(&event, &Open).await.outcomes();
    assert_eq!(cause(&outcomes[0]), "HTTP 422: <redacted> is no good");
    assert!(!format!("{outcomes:?}").contains("1234"), "{outcomes:?}");
}

#[tokio::test]
async fn what_a_login_gave_or_says_is_not_kept() {
    let api = Api::start(|request: &Request| match request.path.as_str() {
        "/login" => answer(200, json!({"token": "t0ken-of-a-login"})),
        _ => answer(
            422,
            json!({"message": format!("not for {}", request.header("authorization"))}),
        ),
    })
    .await;
    let auth = "{login: {post: /login, take: {token: token}, says: why}}";
    let shop = shop(&api.url, auth, None);
    let event = [stock(1, "A", "MAIN", 1)];
    let outcomes = shop.deliver(&event, &Open).await.outcomes();
    assert_eq!(words(&outcomes), "rejected");
    assert!(!format!("{outcomes:?}").contains("t0ken"), "{outcomes:?}");
    let shop = self::shop(&api.url, auth, None);
    api.then([answer(200, json!({"why": "s3cr3t-pass is wrong"}))]);
    let outcomes = shop.deliver(&event, &Open).await.outcomes();
    assert_eq!(cause(&outcomes[0]), "login: <redacted> is wrong");
}
