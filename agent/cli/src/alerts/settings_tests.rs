use contract::{Problems, Secret, SecretPlace};

use super::*;
use crate::alerts::rule::{Of, Side};

struct Any;

impl Secrets for Any {
    fn read(&self, place: &SecretPlace) -> Result<Secret, String> {
        match place {
            SecretPlace::Environment(url) => Ok(Secret::new(url)),
            _ => Err("no".to_owned()),
        }
    }
}

fn check(text: &str) -> (AlertSettings, Vec<String>) {
    let problems = Problems::new("lighterman.toml");
    let root = crate::toml_node::parse(text, &problems).unwrap();
    let settings = read(&mut Section::new(&root, "", &problems), &Any);
    let found = problems.take().iter().map(ToString::to_string).collect();
    (settings, found)
}

fn rule(settings: &AlertSettings, name: &str) -> Rule {
    let found = settings.rules.iter().find(|rule| rule.name == name);
    found.unwrap().clone()
}

#[test]
fn rules_are_read_and_built_in_ones_changed_by_name() {
    let (settings, found) = check(
        "[[alert]]\nname = \"orders-late\"\nmetric = \"lighterman_update_latency_seconds\"\n\
         labels = { event_type = \"order.v1\", destination = [\"shop\", \"other\"] }\nof = \"p99\"\nabove = 2.5\n\
         clear = 1\nfor_seconds = 60\nlevel = \"page\"\nsay = \"{event_type} takes {value} to {destination}\"\n\
         [[alert]]\nname = \"delivery-old\"\nabove = 60\n[[alert]]\nname = \"held\"\non = false\n",
    );
    assert_eq!(found, Vec::<String>::new());
    let own = rule(&settings, "orders-late");
    assert_eq!(
        (own.of, own.side, own.bound, own.clear),
        (Of::Quantile(0.99), Side::Above, Some(2.5), Some(1.0))
    );
    let labels = |event_type: &str| {
        vec![
            ("destination".to_owned(), "shop".to_owned()),
            ("event_type".to_owned(), event_type.to_owned()),
        ]
    };
    assert!(own.takes(&labels("order.v1")) && !own.takes(&labels("product.v1")));
    assert_eq!(
        own.sentence(&labels("order.v1"), 3.0),
        "order.v1 takes 3 s to shop"
    );
    let old = rule(&settings, "delivery-old");
    assert!(old.built_in && old.urgency == Urgency::Page);
    assert_eq!((old.bound, old.clear), (Some(60.0), None));
    assert!(!rule(&settings, "held").on);
    assert!(rule(&settings, "source-stopped").on);
}

#[test]
fn what_is_wrong_with_a_rule_is_said() {
    let metric = "metric = \"lighterman_source_up\"\n";
    for (text, wanted) in [
        (
            "name = \"x\"\nabove = 1",
            "required key `metric` is missing",
        ),
        (
            "name = \"hold\"\nabove = 1",
            "did you mean the built-in `held`",
        ),
        (
            "name = \"x\"\nmetric = \"lighterman_source_upp\"\nabove = 1",
            "did you mean `lighterman_source_up`",
        ),
        (&format!("name = \"x\"\n{metric}"), "has no bound"),
        (
            &format!("name = \"x\"\n{metric}above = 1\nbelow = 1"),
            "has one bound",
        ),
        (
            &format!("name = \"x\"\n{metric}above = \"1\""),
            "expected a number",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nof = \"rate\""),
            "is a gauge, which has no `rate`",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nclear = 2"),
            "clear is on the wrong side",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nsay = \"{{sku}}\""),
            "there is no `{sku}` to be said",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nlabels = {{ sku = \"A\" }}"),
            "has no label `sku`",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nlabels = {{ source = 1 }}"),
            "text or a list of texts",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nlevel = \"loud\""),
            "is not one of warn, page",
        ),
        (
            &format!("name = \"x\"\n{metric}above = 1\nlabel = 1"),
            "unknown key `label`",
        ),
    ] {
        let (_, found) = check(&format!("[[alert]]\n{text}\n"));
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        assert!(found[0].contains(wanted), "{text}: {found:?}");
    }
}

#[test]
fn channels_are_read_and_an_address_is_never_said() {
    let smtp = "[alerts.smtp]\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\nto = [\"b@example.com\"]\n";
    let hook = "[[alerts.webhook]]\nshape = \"slack\"\nurl = { env = \"https://hooks.example.com/T0/Mark\" }\n";
    let (settings, found) = check(&format!(
        "{smtp}{hook}{hook}name = \"ops\"\nlevel = \"page\"\n"
    ));
    assert_eq!(found, Vec::<String>::new());
    let names: Vec<&str> = settings
        .channels
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["smtp", "webhook-1", "ops"]);
    assert_eq!(settings.channels[2].least, Urgency::Page);
    for (text, wanted) in [
        (
            smtp.replace("host", "hos"),
            "required key `host` is missing",
        ),
        (
            format!("{smtp}tls = \"none\"\nuser = \"x\"\npassword = {{ env = \"y\" }}\n"),
            "would send the password unencrypted",
        ),
        (format!("{smtp}user = \"x\"\n"), "belong together"),
        (
            smtp.replace("b@example.com", "b at example"),
            "is no address",
        ),
        (
            smtp.replace("[\"b@example.com\"]", "[]"),
            "expected 1 to 20 addresses",
        ),
        (
            hook.replace("https", "ftp"),
            "is not an http or https address",
        ),
        (hook.replace("https", "http"), "unencrypted"),
        (hook.replace("slack", "slak"), "did you mean `slack`?"),
        (
            hook.replace("hooks.example.com", "user@hooks.example.com"),
            "is not an address that can be used",
        ),
        (
            format!("{hook}name = \"deadman\"\n"),
            "another channel has the name",
        ),
        (
            format!("{hook}name = \"x\"\n{hook}name = \"x\"\n"),
            "another channel has the name `x`",
        ),
        (
            "[alerts.deadman]\nevery_seconds = 60\n".to_owned(),
            "required key `url` is missing",
        ),
    ] {
        let (_, found) = check(&text);
        assert!(!found.is_empty() && found.len() <= 2, "{text}: {found:?}");
        assert!(
            found.iter().any(|one| one.contains(wanted)),
            "{text}: {found:?}"
        );
        assert!(
            found.iter().all(|one| !one.contains("Mark")),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn without_a_block_nothing_is_watched() {
    let (settings, found) = check("");
    assert!(found.is_empty() && !settings.asked);
    let (settings, _) = check("[alerts]\nremind_minutes = 0\n");
    assert!(settings.asked && settings.remind.is_none());
}
