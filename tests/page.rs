//! The status page's door, by plain HTTP: who gets in, who may do what, and that nothing that comes from
//! elsewhere becomes a part of the page.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::time::Duration;

use harness::agent::Agent;
use harness::local::ask;
use harness::receiver::{Faults, Receiver};
use harness::site::Site;

use crate::metrics::{SOON, holds, site, until};

const OPERATOR: &str = "correct horse battery";
const VIEWER: &str = "only looks around here";

/// Two users; the second one's name is not nice.
const USERS: &str = "[[local.user]]\nname = \"anna\"\nrole = \"operator\"\nsecret = {file = \"anna\"}\n\
    [[local.user]]\nname = \"<b>desk\\\"'\"\nsecret = {file = \"desk\"}\n";
const DESK: &str = "<b>desk\"'";

/// An answer.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            let (known, _) = line.split_once(':').unwrap_or_default();
            known.eq_ignore_ascii_case(name)
        };
        let line = self.head.lines().find(named)?;
        Some(line.split_once(':')?.1.trim())
    }

    /// The cookie that it sets, without what browsers are told of it.
    fn cookie(&self) -> String {
        let set = self.header("set-cookie").unwrap();
        set.split(';').next().unwrap().to_owned()
    }

    /// What forms of this page carry.
    fn form_token(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"form\" value=\"").unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

/// The page of an agent.
struct Door {
    port: u16,
    /// Headers of every request.
    more: Vec<(String, String)>,
}

impl Door {
    fn new(port: u16) -> Self {
        Self {
            port,
            more: Vec::new(),
        }
    }

    fn with(&self, name: &str, text: &str) -> Self {
        let mut more = self.more.clone();
        more.push((name.to_owned(), text.to_owned()));
        Self {
            port: self.port,
            more,
        }
    }

    /// As a browser that got this cookie.
    fn as_of(&self, cookie: &str) -> Self {
        self.with("Cookie", cookie)
    }

    /// As our own page sends forms.
    fn of_our_page(&self) -> Self {
        self.with("Origin", &format!("http://127.0.0.1:{}", self.port))
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> Reply {
        use std::fmt::Write as _;
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !self.more.iter().any(|(name, _)| name == "Host") {
            write!(request, "Host: 127.0.0.1:{}\r\n", self.port).unwrap();
        }
        for (name, text) in &self.more {
            write!(request, "{name}: {text}\r\n").unwrap();
        }
        if method == "POST" {
            let kind = "application/x-www-form-urlencoded";
            let length = body.len();
            write!(
                request,
                "Content-Type: {kind}\r\nContent-Length: {length}\r\n"
            )
            .unwrap();
        }
        let answer = ask(self.port, format!("{request}\r\n{body}").as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        Reply {
            status: status.unwrap_or(0),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "").await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        self.send("POST", path, &body.finish()).await
    }

    /// Somebody who logged in.
    async fn login(&self, name: &str, secret: &str) -> Self {
        let fields = [("name", name), ("secret", secret)];
        let reply = self.of_our_page().post("/page/login", &fields).await;
        assert_eq!(reply.status, 303, "{reply:?}");
        self.as_of(&reply.cookie())
    }

    /// Does something as our own page does.
    async fn act(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let token = self.get("/page").await.form_token();
        let mut all = vec![("form", token.as_str())];
        all.extend_from_slice(fields);
        self.of_our_page().post(path, &all).await
    }

    /// Until a page holds a text.
    async fn says(&self, path: &str, words: &str, agent: &Agent) -> Reply {
        let deadline = tokio::time::Instant::now() + SOON;
        loop {
            let reply = self.get(path).await;
            if reply.body.contains(words) {
                return reply;
            }
            let late = tokio::time::Instant::now() >= deadline;
            assert!(!late, "{path} {words}: {reply:?}\n{}", agent.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// A site with the two users, whose receiver refuses these SKUs.
fn refusing(receiver: &Receiver, skus: &[&str], more: &str) -> (Site, Door) {
    let keys = skus.iter().map(|sku| format!("ACME|{sku}|MAIN"));
    receiver.held().rejected.extend(keys);
    let (site, port) = site(receiver, more);
    std::fs::write(site.path().join("anna"), OPERATOR).unwrap();
    std::fs::write(site.path().join("desk"), VIEWER).unwrap();
    for sku in skus {
        let sku = sku.replace('\'', "''");
        site.run(&format!("INSERT OR IGNORE INTO stock VALUES ('{sku}', 4)"));
    }
    (site, Door::new(port))
}

async fn ready(door: &Door, agent: &Agent) {
    until(door.port, "/health/live", agent, |status, _| status == 200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_user_the_page_says_how_to_make_one_and_shows_nothing_else() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, port) = site(&receiver, "");
    let agent = site.agent();
    let door = Door::new(port);
    ready(&door, &agent).await;
    for path in ["/page", "/page/held", "/page/trace?key=A", "/page/login"] {
        let reply = door.get(path).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        assert!(reply.body.contains("[[local.user]]"), "{reply:?}");
        assert!(!reply.body.contains("shop"), "{reply:?}");
    }
    let fields = [("name", ""), ("secret", "")];
    let reply = door.of_our_page().post("/page/login", &fields).await;
    assert_eq!(reply.status, 403, "{reply:?}");
    // Programs are told what there is, people get to their page.
    let reply = door.get("/").await;
    assert!(reply.status == 200 && reply.body.contains("/metrics"));
    let reply = door.with("Accept", "text/html,*/*").get("/").await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some("/page"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_logged_in_sees_anything_and_only_an_operator_does_anything() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, door) = refusing(&receiver, &["BAD"], USERS);
    let agent = site.agent();
    ready(&door, &agent).await;

    // Nobody: sent to the form with a look, refused with a form.
    for path in [
        "/page",
        "/page/held",
        "/page/destinations",
        "/page/audit",
        "/page/mappings",
    ] {
        let reply = door.get(path).await;
        let place = reply.header("location").unwrap_or_default();
        assert!(
            reply.status == 303 && place.starts_with("/page/login?to="),
            "{reply:?}"
        );
        assert!(reply.body.is_empty(), "{reply:?}");
    }
    let pause = [("destination", "shop"), ("minutes", "0")];
    let reply = door
        .of_our_page()
        .post("/page/destinations/pause", &pause)
        .await;
    assert_eq!(reply.status, 401, "{reply:?}");
    let stranger = door.as_of(&format!("lighterman_{}={}", door.port, "A".repeat(43)));
    assert_eq!(stranger.get("/page").await.status, 303);

    // What browsers are told, whatever the answer.
    for reply in [
        door.get("/page/login").await,
        door.get("/page").await,
        door.get("/page/style.css").await,
    ] {
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(
            !policy.contains("unsafe") && !policy.contains('*'),
            "{policy}"
        );
        assert_eq!(reply.header("x-frame-options"), Some("DENY"));
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    let hostile = door.with("Host", "evil.example").get("/page/login").await;
    assert_eq!(hostile.status, 421, "{hostile:?}");

    // The login itself is a form of ours, too.
    let anna = [("name", "anna"), ("secret", OPERATOR)];
    for foreign in [
        door.with("Origin", "http://evil.example"),
        door.with("Accept", "*/*"),
    ] {
        let reply = foreign.post("/page/login", &anna).await;
        assert!(
            reply.status == 403 && reply.header("set-cookie").is_none(),
            "{reply:?}"
        );
    }
    let reply = door.of_our_page().post("/page/login", &anna).await;
    let cookie = reply.header("set-cookie").unwrap();
    for flag in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/page",
        "; Max-Age=",
    ] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure"), "there is no TLS here: {cookie}");
    // Not out of the page, whatever the form says.
    let fields = [anna[0], anna[1], ("to", "//evil.example/page")];
    let reply = door.of_our_page().post("/page/login", &fields).await;
    assert_eq!(reply.header("location"), Some("/page"));

    let operator = door.login("anna", OPERATOR).await;
    let viewer = door.login(DESK, VIEWER).await;
    operator.says("/page/held", "BAD", &agent).await;

    // A viewer sees everything and no button but the one that lets them out.
    let held = viewer.get("/page/held").await;
    assert!(
        held.body.contains("BAD") && !held.body.contains("Retry"),
        "{held:?}"
    );
    assert_eq!(held.body.matches("<button").count(), 1, "{held:?}");
    assert!(held.body.contains("&lt;b&gt;desk&quot;"), "{held:?}");
    let destinations = viewer.get("/page/destinations").await;
    assert!(
        !destinations.body.contains("Pause shop"),
        "{destinations:?}"
    );
    for (path, fields) in [
        ("/page/destinations/pause", &pause[..]),
        ("/page/destinations/resume", &pause[..1]),
        ("/page/held/retry", &[("by", "shop"), ("cause", "rejected")]),
        (
            "/page/held/drop",
            &[("by", "shop"), ("cause", "rejected"), ("why", "x")],
        ),
    ] {
        let reply = viewer.act(path, fields).await;
        assert!(
            reply.status == 403 && reply.body.contains("You are a viewer"),
            "{reply:?}"
        );
    }
    let reply = viewer.get("/page/held/drop?by=shop&cause=rejected").await;
    assert_eq!(reply.status, 403, "{reply:?}");

    // An operator whose form is not of their own page, or not of their session, does nothing either.
    let token = operator.get("/page").await.form_token();
    let of_viewer = viewer.get("/page").await.form_token();
    assert_ne!(token, of_viewer);
    let with = |token| [("form", token), pause[0], pause[1]];
    let place = "/page/destinations/pause";
    for (why, reply) in [
        ("no token", operator.of_our_page().post(place, &pause).await),
        (
            "wrong",
            operator.of_our_page().post(place, &with("x")).await,
        ),
        (
            "another's",
            operator.of_our_page().post(place, &with(&of_viewer)).await,
        ),
        ("no origin", operator.post(place, &with(&token)).await),
        (
            "null",
            operator
                .with("Origin", "null")
                .post(place, &with(&token))
                .await,
        ),
        (
            "elsewhere",
            operator
                .with("Origin", "http://evil.example")
                .post(place, &with(&token))
                .await,
        ),
        (
            "cross-site",
            operator
                .of_our_page()
                .with("Sec-Fetch-Site", "cross-site")
                .post(place, &with(&token))
                .await,
        ),
    ] {
        assert_eq!(reply.status, 403, "{why}: {reply:?}");
    }
    // Nothing of all that was done, and no form is done by an address.
    assert!(operator.get(place).await.status == 405);
    let (_, listed) = site.command(&["destination", "list"]);
    assert!(
        listed.contains("shop: goes") && listed.contains("1 held"),
        "{listed}"
    );
    let huge = "x".repeat(80 << 10);
    let reply = operator
        .act(place, &[("destination", "shop"), ("minutes", &huge)])
        .await;
    assert_eq!(reply.status, 413, "{}", reply.head);

    // Out is out.
    let reply = operator.act("/page/logout", &[]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some("/page/login"))
    );
    assert_eq!(operator.get("/page").await.status, 303);
    assert_eq!(viewer.get("/page").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_becomes_slow() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, door) = refusing(&receiver, &[], USERS);
    let agent = site.agent();
    ready(&door, &agent).await;
    let of_our_page = door.of_our_page();
    let login = async |secret| {
        let fields = [("name", "anna"), ("secret", secret)];
        of_our_page.post("/page/login", &fields).await
    };
    for _ in 0..3 {
        let reply = login("not this one").await;
        assert!(
            reply.status == 401 && reply.header("set-cookie").is_none(),
            "{reply:?}"
        );
    }
    // The first wait is a second: one more wrong try after it makes it two. Whatever the machine's
    // speed, the right secret is not looked at while a wait is under way.
    let reply = loop {
        let reply = login("not this one").await;
        if reply.status == 429 {
            break reply;
        }
    };
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert!(!reply.body.contains(OPERATOR), "{reply:?}");
    // Others get in.
    door.login(DESK, VIEWER).await;
    // And so does the right one, later.
    let deadline = tokio::time::Instant::now() + SOON;
    while login(OPERATOR).await.status != 303 {
        assert!(tokio::time::Instant::now() < deadline, "{}", agent.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let log = agent.log();
    assert!(
        log.contains("page.login_refused") && log.contains("page.login"),
        "{log}"
    );
    assert!(
        !log.contains(OPERATOR) && !log.contains("not this one"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_retries_drops_pauses_and_resumes() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, door) = refusing(&receiver, &["BAD", "WORSE", "WORST"], USERS);
    let agent = site.agent();
    ready(&door, &agent).await;
    let operator = door.login("anna", OPERATOR).await;
    let held = operator
        .says(
            "/page/held",
            "shop: 3 items refused by the destination",
            &agent,
        )
        .await;
    assert!(held.body.contains("Mend what its answer says"), "{held:?}");

    receiver.held().rejected.retain(|key| !key.contains("BAD"));
    let id = id_of(&site, "BAD");
    let reply = operator.act("/page/held/retry", &[("id", &id)]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (303, Some("/page/held")),
        "{reply:?}"
    );
    let held = operator.get("/page/held").await;
    assert!(held.body.contains("1 event sent again."), "{held:?}");
    assert!(
        !operator.get("/page/held").await.body.contains("sent again"),
        "once"
    );
    assert!(holds(&receiver, "BAD", "4").await, "{}", agent.log());
    let (_, shown) = site.command(&["trace", "--key", "BAD"]);
    assert!(shown.contains("user:anna"), "{shown}");
    let reply = operator.act("/page/held/retry", &[("id", &id)]).await;
    assert_eq!(reply.status, 303);
    let held = operator.get("/page/held").await;
    assert!(
        held.body.contains("Nothing of it is held any more"),
        "{held:?}"
    );

    // A drop is asked about, and without a reason it is not done.
    let item = id_of(&site, "WORSE");
    let asked = format!("/page/held/drop?id={}", item.replace('/', "%2F"));
    let confirm = operator.get(&asked).await;
    assert!(
        confirm.status == 200 && confirm.body.contains("Why, for the record"),
        "{confirm:?}"
    );
    let reply = operator
        .act("/page/held/drop", &[("id", &item), ("why", "  ")])
        .await;
    assert!(
        reply.status == 422 && reply.body.contains("Nothing was dropped"),
        "{reply:?}"
    );
    assert_eq!(id_of(&site, "WORSE"), item);
    let fields = [("id", item.as_str()), ("why", "the article is gone")];
    let reply = operator.act("/page/held/drop", &fields).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let held = operator.get("/page/held").await;
    assert!(held.body.contains("1 held item given up."), "{held:?}");
    let (_, shown) = site.command(&["trace", "--key", "WORSE"]);
    assert!(shown.contains("the article is gone"), "{shown}");

    // All of a cause.
    receiver.held().rejected.clear();
    let fields = [("by", "shop"), ("cause", "rejected")];
    operator.act("/page/held/retry", &fields).await;
    assert!(holds(&receiver, "WORST", "4").await, "{}", agent.log());
    operator
        .says("/page/held", "Nothing is held.", &agent)
        .await;

    let fields = [("destination", "shop"), ("minutes", "60")];
    operator.act("/page/destinations/pause", &fields).await;
    let shown = operator.get("/page/destinations").await;
    assert!(
        shown.body.contains("shop is paused for 1 hour"),
        "{shown:?}"
    );
    operator.says("/page", "shop is PAUSED until", &agent).await;
    let (_, listed) = site.command(&["destination", "list"]);
    assert!(listed.contains("shop: paused"), "{listed}");
    for wrong in [("minutes", "7"), ("minutes", "-1")] {
        operator
            .act(
                "/page/destinations/pause",
                &[("destination", "shop"), wrong],
            )
            .await;
        let shown = operator.get("/page/destinations").await;
        assert!(shown.body.contains("nothing was done"), "{shown:?}");
    }
    operator
        .act("/page/destinations/resume", &fields[..1])
        .await;
    site.run("UPDATE stock SET qty = 8 WHERE sku = 'BAD'");
    assert!(holds(&receiver, "BAD", "8").await, "{}", agent.log());
    let fields = [("destination", "nowhere"), ("minutes", "60")];
    operator.act("/page/destinations/pause", &fields).await;
    let shown = operator.get("/page/destinations").await;
    assert!(shown.body.contains("no such destination"), "{shown:?}");

    // What a mapping holds is retried by reading its table again, and can be dropped, too.
    site.run("INSERT INTO stock VALUES ('ODD', 'many')");
    let held = "mapping: 1 item not clear to the mapping";
    operator.says("/page/held", held, &agent).await;
    let fields = [("by", "mapping"), ("cause", "mapping")];
    operator.act("/page/held/retry", &fields).await;
    let shown = operator.get("/page/held").await;
    assert!(
        shown.body.contains("stock read again and compared"),
        "{shown:?}"
    );
    operator.says("/page/held", held, &agent).await;
    let fields = [fields[0], fields[1], ("why", "nobody sells it")];
    // More than the confirmation spoke of is not meant.
    let others = [fields[0], fields[1], fields[2], ("count", "2")];
    for fields in [&fields[..], &others] {
        let reply = operator.act("/page/held/drop", fields).await;
        assert_eq!(reply.status, 422, "{reply:?}");
    }
    let fields = [fields[0], fields[1], fields[2], ("count", "1")];
    operator.act("/page/held/drop", &fields).await;
    let shown = operator.get("/page/held").await;
    assert!(shown.body.contains("1 held item given up."), "{shown:?}");

    // How it stands, what is in force, and how the day was.
    let shown = operator.says("/page", "Everything flows", &agent).await;
    assert!(shown.body.contains("Source erp is captured"), "{shown:?}");
    operator
        .says("/page", "at most in the last day", &agent)
        .await;
    let shown = operator.get("/page/mappings").await;
    assert!(
        shown.body.contains("site 1") && shown.body.contains("stock"),
        "{shown:?}"
    );
}

fn id_of(site: &Site, sku: &str) -> String {
    let (_, listed) = site.command(&["held", "list", "--key", sku, "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    listed["held"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_from_elsewhere_is_text_and_nothing_else() {
    const HOSTILE: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&";
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, door) = refusing(&receiver, &[HOSTILE], USERS);
    let agent = site.agent();
    ready(&door, &agent).await;
    let operator = door.login("anna", OPERATOR).await;
    operator.says("/page/held", "alert(1)", &agent).await;
    let id = id_of(&site, HOSTILE).replace('/', "%2F");
    let key = "%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        "/page/held".to_owned(),
        format!("/page/held/item?id={id}"),
        format!("/page/held/drop?id={id}"),
        format!("/page/trace?key={key}"),
        format!("/page/trace?key=%22%3E%3Cimg%20src%3Dx%3E{key}"),
        "/page/held/item?id=%3Cscript%3Ealert(1)%3C%2Fscript%3E".to_owned(),
        "/page/held/drop?by=%3Cscript%3E&cause=%3Cscript%3E".to_owned(),
    ] {
        let reply = operator.get(&path).await;
        assert!([200, 404].contains(&reply.status), "{path}: {reply:?}");
        assert!(!reply.body.contains("<script>"), "{path}: {reply:?}");
        assert!(!reply.body.contains("<img"), "{path}: {reply:?}");
    }
    // Also what nobody entered anywhere.
    let reply = door.get("/page/login?to=%22%3E%3Cscript%3E").await;
    assert!(!reply.body.contains("\"><script>"), "{reply:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_a_proxy_its_word_counts_and_only_there() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let more = "behind_proxy = true\nproxy_user_header = \"X-Forwarded-User\"\n\
                proxy_role_header = \"X-Forwarded-Role\"";
    let (site, port) = site(&receiver, more);
    let agent = site.agent();
    let proxy = Door::new(port).with("Host", "lm.example.com");
    ready(&proxy, &agent).await;
    assert_eq!(proxy.get("/page").await.status, 403, "it named nobody");
    let anna = proxy.with("X-Forwarded-User", "anna");
    let shown = anna.get("/page").await;
    assert!(
        shown.status == 200 && shown.body.contains("anna (viewer)"),
        "{shown:?}"
    );
    assert!(!shown.body.contains("Log out"), "{shown:?}");
    let operator = anna.with("X-Forwarded-Role", "operator");
    let shown = operator
        .says("/page/destinations", "Pause<span", &agent)
        .await;
    assert!(shown.body.contains("anna (operator)"), "{shown:?}");
    let fields = [
        ("form", shown.form_token()),
        ("destination", "shop".to_owned()),
        ("minutes", "0".to_owned()),
    ];
    let fields = fields.each_ref().map(|(name, text)| (*name, text.as_str()));
    let place = "/page/destinations/pause";
    let ours = ("Origin", "https://lm.example.com");
    for (refused, door) in [
        (true, &operator.with("Origin", "https://evil.example")),
        (true, &anna.with(ours.0, ours.1)),
        (false, &operator.with(ours.0, ours.1)),
    ] {
        let status = door.post(place, &fields).await.status;
        assert_eq!(status, if refused { 403 } else { 303 });
    }
    let shown = operator.get("/page/destinations").await;
    assert!(shown.body.contains("Resume<span"), "{shown:?}");
    for wrong in [
        anna.with("X-Forwarded-User", "eve"),
        anna.with("X-Forwarded-Role", "admin"),
        operator.with("X-Forwarded-Role", "viewer"),
    ] {
        assert_eq!(wrong.get("/page").await.status, 403);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cookie_behind_tls_stays_behind_it() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let more = format!("behind_proxy = true\n{USERS}");
    let (site, door) = refusing(&receiver, &[], &more);
    let agent = site.agent();
    ready(&door, &agent).await;
    let fields = [("name", "anna"), ("secret", OPERATOR)];
    let secure = door.with("X-Forwarded-Proto", "https").of_our_page();
    let reply = secure.post("/page/login", &fields).await;
    assert!(
        reply.header("set-cookie").unwrap().ends_with("; Secure"),
        "{reply:?}"
    );
    // Without a header of a proxy in the settings, nobody is believed.
    let spoofed = door.with("X-Forwarded-User", "anna").get("/page").await;
    assert_eq!(spoofed.status, 303);
}

/// Another process that holds the state file is no reason to say that what is done was not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_longer_than_an_answer_may_goes_on_and_is_said_when_it_has_ended() {
    let receiver = Receiver::start(1, Faults::default()).await;
    let (site, door) = refusing(&receiver, &[], USERS);
    let agent = site.agent();
    // What a start writes is written.
    assert!(holds(&receiver, "A", "1").await, "{}", agent.log());
    let operator = door.login("anna", OPERATOR).await;
    let other = rusqlite::Connection::open(site.path().join("state/lighterman.db")).unwrap();
    other.busy_timeout(SOON).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pause = [("destination", "shop"), ("minutes", "0")];
    let reply = operator.act("/page/destinations/pause", &pause).await;
    assert_eq!(reply.status, 303, "{reply:?}");
    let page = operator.get("/page/destinations").await;
    assert!(
        page.body.contains("It is being done, and takes long"),
        "{page:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    // Said once, on whichever page comes next.
    operator
        .says(
            "/page/held",
            "shop is paused until somebody resumes it",
            &agent,
        )
        .await;
    let page = operator.get("/page/destinations").await;
    assert!(!page.body.contains("It is being done"), "{page:?}");
    assert!(page.body.contains("state paused"), "{page:?}");
}
