//! Who comes in, and how often.

use harness::receiver::{Faults, Receiver};

use super::{PERSON, READS, as_token, call, get, secret, site, told};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_door_lets_in_a_right_token_as_often_as_it_may_and_nobody_else() {
    let receiver = Receiver::start(2, Faults::default()).await;
    let (site, port) = site(
        &receiver,
        &[
            ("reports", &format!("{READS}\nrequests_per_minute = 6000")),
            (
                "rare",
                "scopes = [\"status:read\"]\nrequests_per_minute = 2",
            ),
        ],
    );
    let agent = site.agent();
    told(port, "reports", &agent).await;

    let path = "/api/v1/inventory";
    let said = call(port, "GET", path, &[], "").await;
    assert_eq!(said.status, 401, "{}", said.text);
    assert_eq!(
        said.headers["www-authenticate"],
        "Bearer realm=\"lighterman\""
    );
    assert_eq!(said.body["type"], "urn:lighterman:problem:token");
    assert!(
        said.body["fix"]
            .as_str()
            .unwrap()
            .contains("[[local.token]]")
    );
    let whole = secret("reports");
    for wrong in [
        "Bearer x".to_owned(),
        format!("Bearer {}", &whole[..whole.len() - 1]),
        format!("Bearer {whole}x"),
        format!("Basic {whole}"),
        whole.clone(),
        "Bearer ".to_owned(),
    ] {
        let said = call(port, "GET", path, &[("Authorization", &wrong)], "").await;
        assert_eq!(said.status, 401, "{wrong}: {}", said.text);
        assert!(
            said.headers["www-authenticate"].contains("invalid_token"),
            "{}",
            said.text
        );
        assert!(
            !said.text.contains(PERSON) && !said.text.contains(&whole),
            "{}",
            said.text
        );
    }
    // In the header, and nowhere else.
    let said = call(
        port,
        "GET",
        &format!("{path}?access_token={whole}"),
        &[],
        "",
    )
    .await;
    assert_eq!(said.status, 401, "{}", said.text);
    let bearer = format!("bearer {whole}");
    let said = call(port, "GET", path, &[("Authorization", &bearer)], "").await;
    assert_eq!(said.status, 200, "{}", said.text);

    // A scope that it does not have, and a type.
    for (method, path, scope) in [
        ("GET", "/api/v1/status", "status:read"),
        ("GET", "/api/v1/held", "held:read"),
        ("GET", "/api/v1/held/shop%2F1", "held:read"),
        ("GET", "/api/v1/trace?key=A", "trace:read"),
        ("POST", "/api/v1/held/drop", "held:write"),
        ("POST", "/api/v1/replay", "replay:write"),
        (
            "POST",
            "/api/v1/destinations/shop/pause",
            "destination:write",
        ),
        (
            "GET",
            "/api/v1/requests/1",
            "held:write replay:write destination:write",
        ),
    ] {
        let said = as_token(port, "reports", method, path, "").await;
        assert_eq!(said.status, 403, "{path}: {}", said.text);
        let challenge = format!("error=\"insufficient_scope\", scope=\"{scope}\"");
        assert!(
            said.headers["www-authenticate"].contains(&challenge),
            "{}",
            said.text
        );
        let fix = said.body["fix"].as_str().unwrap();
        assert!(scope.split(' ').all(|scope| fix.contains(scope)), "{fix}");
    }
    let said = get(port, "reports", "/api/v1/customers").await;
    assert!(
        said.status == 403 && said.text.contains("customer.v1"),
        "{}",
        said.text
    );

    // As often as it may.
    let mut said = get(port, "rare", "/api/v1/status").await;
    assert_eq!(said.status, 200, "{}", said.text);
    for _ in 0..2 {
        said = get(port, "rare", "/api/v1/status").await;
    }
    assert_eq!(said.status, 429, "{}", said.text);
    let wait: u64 = said.headers["retry-after"].parse().unwrap();
    assert!((1..=61).contains(&wait), "{wait}");
    assert_eq!(
        get(port, "reports", path).await.status,
        200,
        "others come in"
    );
    // Guesses are answered less and less; who has a right token comes in all the same.
    let mut last = 401;
    for _ in 0..80 {
        last = call(port, "GET", path, &[("Authorization", "Bearer guess")], "")
            .await
            .status;
    }
    assert_eq!(last, 429);
    assert_eq!(get(port, "reports", path).await.status, 200);

    // Nobody's secret stands in the log, and a guess is said there.
    let log = agent.log();
    assert!(
        log.contains("api.token_refused") && !log.contains(&whole),
        "{log}"
    );
}
