//! Letters: what a channel is told, as text for people and in the shapes that chats take.

use std::fmt::Write as _;

use contract::clock;
use contract::look::span;
use jiff::Timestamp;
use serde_json::{Value as Json, json};
use state::AlertStatus;

use super::book::News;

/// Alerts of one kind that a letter names; the others are counted.
const NAMED_MAX: usize = 30;
/// A subject is no longer.
const SUBJECT_CHARS_MAX: usize = 150;
/// Slack takes no more in a section, and a chat is for short texts.
const TEXT_CHARS_MAX: usize = 2_900;

/// A letter.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// Which agent writes.
    agent: String,
    at: Timestamp,
    news: News,
    /// It only shows that letters come.
    test: bool,
}

impl Letter {
    pub(super) fn of(agent: &str, news: News, at: Timestamp) -> Self {
        Self {
            agent: agent.to_owned(),
            at,
            news,
            test: false,
        }
    }

    pub(super) fn test(agent: &str, at: Timestamp) -> Self {
        let mut letter = Self::of(agent, News::default(), at);
        letter.test = true;
        letter
    }

    pub(super) fn subject(&self) -> String {
        let News {
            began,
            ended,
            still,
        } = &self.news;
        let head = match (began.as_slice(), ended.as_slice(), still.as_slice()) {
            _ if self.test => "this is a test".to_owned(),
            ([one], [], _) => one.sentence.clone(),
            ([], [one], _) => format!("over: {}", one.sentence),
            ([], [], [one]) => format!("still: {}", one.sentence),
            ([], [], all) => format!("{} alerts still fire", all.len()),
            (began, [], _) => format!("{} alerts began", began.len()),
            ([], ended, _) => format!("{} alerts are over", ended.len()),
            (began, ended, _) => format!("{} alerts began, {} are over", began.len(), ended.len()),
        };
        let urgent = began.iter().chain(still).any(|alert| alert.level == "page");
        let urgent = if urgent { "[page] " } else { "" };
        let subject = format!("{urgent}Lighterman {}: {head}", self.agent);
        // A line break would begin another header.
        let line = subject.replace(['\r', '\n'], " ");
        line.chars().take(SUBJECT_CHARS_MAX).collect()
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        if self.test {
            text.push_str(
                "This is a test: somebody asked for it with `lighterman alert test`. Letters about alerts come this \
                 way. Nothing is wrong.\n",
            );
        }
        let News {
            began,
            ended,
            still,
        } = &self.news;
        self.part(&mut text, "BEGAN", began);
        self.part(&mut text, "STILL SO", still);
        self.part(&mut text, "OVER", ended);
        if !self.test {
            text.push_str("\nAll that fires: lighterman alert list\n");
        }
        text
    }

    fn part(&self, text: &mut String, title: &str, alerts: &[AlertStatus]) {
        if alerts.is_empty() {
            return;
        }
        let _ = writeln!(text, "{}{title}", if text.is_empty() { "" } else { "\n" });
        for alert in alerts.iter().take(NAMED_MAX) {
            let upto = alert.ended_at.unwrap_or(self.at);
            let lasted = span(clock::until(alert.began_at, upto));
            let times = match alert.ended_at {
                None => format!("since {:.0} ({lasted})", alert.began_at),
                Some(ended_at) => format!("from {:.0} to {ended_at:.0} ({lasted})", alert.began_at),
            };
            let _ = writeln!(
                text,
                "- {} {}, {}, {times}",
                alert.sentence, alert.alert, alert.level
            );
            if alert.ended_at.is_none() {
                let _ = writeln!(text, "  look: {}", alert.look);
            }
        }
        if alerts.len() > NAMED_MAX {
            let _ = writeln!(text, "- and {} more", alerts.len() - NAMED_MAX);
        }
    }

    /// For programs.
    pub(super) fn json(&self) -> Json {
        let News {
            began,
            ended,
            still,
        } = &self.news;
        let one = |alert: &AlertStatus| {
            json!({
                "alert": alert.alert,
                "series": alert.series,
                "level": alert.level,
                "sentence": alert.sentence,
                "look": alert.look,
                "value": alert.value,
                "began_at": alert.began_at,
                "ended_at": alert.ended_at,
            })
        };
        let all = |alerts: &[AlertStatus]| alerts.iter().map(one).collect::<Vec<_>>();
        json!({
            "agent": self.agent,
            "at": self.at,
            "test": self.test,
            "subject": self.subject(),
            "began": all(began),
            "still": all(still),
            "ended": all(ended),
        })
    }

    /// What it is about, whatever the figures in it are by now.
    pub(super) fn about(&self) -> String {
        let News {
            began,
            ended,
            still,
        } = &self.news;
        let mut about = String::new();
        for (kind, alerts) in [("+", began), ("-", ended), ("=", still)] {
            for one in alerts {
                let (alert, series, at) = (&one.alert, &one.series, one.began_at);
                let _ = writeln!(about, "{kind}{alert}{series}{at}");
            }
        }
        about
    }

    /// Cut to what a chat takes; `width` is how many characters one becomes there.
    fn short(&self, width: impl Fn(char) -> usize) -> String {
        let text = self.text();
        let mut left = TEXT_CHARS_MAX;
        let mut short = String::new();
        for one in text.chars() {
            let Some(rest) = left.checked_sub(width(one)) else {
                short.push_str("\n.. and more: lighterman alert list");
                break;
            };
            left = rest;
            short.push(one);
        }
        short
    }

    /// For Slack's incoming webhooks: a text for notices, blocks to read.
    pub(super) fn slack(&self) -> Json {
        let escaped = |text: &str| {
            text.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
        };
        let width = |one| match one {
            '&' => 5,
            '<' | '>' => 4,
            _ => 1,
        };
        let section = |kind: &str, text: String| json!({ "type": kind, "text": text });
        json!({
            "text": escaped(&self.subject()),
            "blocks": [
                { "type": "header", "text": section("plain_text", self.subject()) },
                { "type": "section", "text": section("mrkdwn", escaped(&self.short(width))) },
            ],
        })
    }

    /// For a workflow of Teams that begins when a webhook request is received: an Adaptive Card.
    pub(super) fn teams(&self) -> Json {
        let mut blocks = vec![json!({
            "type": "TextBlock", "size": "medium", "weight": "bolder", "wrap": true, "text": self.subject(),
        })];
        // A card's lines are joined where they are not blocks of their own.
        for line in self
            .short(|_| 1)
            .lines()
            .filter(|line| !line.trim().is_empty())
        {
            blocks.push(json!({
                "type": "TextBlock", "wrap": true, "spacing": "small",
                "text": line.trim_start_matches("- ").trim(),
            }));
        }
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": blocks,
                },
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn alert(number: usize) -> AlertStatus {
        AlertStatus {
            alert: "source-stopped".to_owned(),
            series: format!("{{source=\"{number}\"}}"),
            level: "page".to_owned(),
            sentence: format!("Source <{number}> is not captured."),
            look: "lighterman status".to_owned(),
            value: 0.0,
            began_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            told: BTreeMap::new(),
            ended_told: Vec::new(),
        }
    }

    fn letter(began: usize, ended: usize) -> Letter {
        let over = |number| AlertStatus {
            ended_at: Timestamp::from_second(300).ok(),
            ..alert(number)
        };
        let news = News {
            began: (0..began).map(alert).collect(),
            ended: (0..ended).map(over).collect(),
            still: Vec::new(),
        };
        Letter::of("acme", news, Timestamp::from_second(120).unwrap())
    }

    #[test]
    fn a_letter_says_what_since_when_and_how_to_look() {
        let one = letter(1, 1);
        assert_eq!(
            one.subject(),
            "[page] Lighterman acme: 1 alerts began, 1 are over"
        );
        assert_eq!(
            letter(0, 1).subject(),
            "Lighterman acme: over: Source <0> is not captured."
        );
        assert_eq!(
            one.text(),
            "BEGAN\n- Source <0> is not captured. source-stopped, page, since 1970-01-01T00:00:00Z (2 min)\n  look: \
             lighterman status\n\nOVER\n- Source <0> is not captured. source-stopped, page, from \
             1970-01-01T00:00:00Z to 1970-01-01T00:05:00Z (5 min)\n\nAll that fires: lighterman alert list\n"
        );
    }

    #[test]
    fn a_storm_fits_into_each_shape() {
        let storm = letter(1_000, 1_000);
        assert!(storm.text().contains("- and 970 more"), "{}", storm.text());
        let section = storm.slack()["blocks"][1]["text"]["text"].clone();
        let text = section.as_str().unwrap();
        assert!(!text.contains('<') && text.contains("&lt;0&gt;"));
        assert!(storm.slack().to_string().len() < 40_000);
        assert!(storm.teams().to_string().len() < 28_000);
    }
}
