//! Names made of events: subjects, topics, streams, routing keys.

use contract::{Outgoing, Section, cloudevent};

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Type,
    Op,
    Key,
}

/// A name with places for what an event says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a setting. `allowed` are the places that it may have: `type`, `op`, `key`. `wrong`
    /// says what is wrong with a name, by which the fixed parts are tried.
    pub fn read(
        section: &mut Section<'_>,
        setting: &'static str,
        default: &'static str,
        allowed: &[&str],
        wrong: fn(&str) -> Option<&'static str>,
    ) -> Self {
        let text = section.text_or(setting, default);
        let parsed = Self::parse(text, allowed).and_then(|template| {
            let mut tried = String::new();
            for part in &template.0 {
                match part {
                    Part::Text(text) => tried.push_str(text),
                    Part::Type | Part::Op | Part::Key => tried.push('x'),
                }
            }
            match wrong(&tried) {
                Some(found) => Err(found.to_owned()),
                None => Ok(template),
            }
        });
        match parsed {
            Ok(template) => template,
            Err(found) => {
                if let Some(node) = section.get(setting) {
                    section.wrong(
                        setting,
                        node,
                        found,
                        Some(format!("such as {setting} = \"{default}\"")),
                    );
                }
                Self(Vec::new())
            }
        }
    }

    fn parse(text: &str, allowed: &[&str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| "has a `{` without its `}`".to_owned())?;
            let part = match name {
                "type" => Part::Type,
                "op" => Part::Op,
                "key" => Part::Key,
                _ => Part::Text(String::new()),
            };
            if !allowed.contains(&name) {
                let places: Vec<_> = allowed.iter().map(|name| format!("{{{name}}}")).collect();
                return Err(format!("`{{{name}}}` is not one of {}", places.join(", ")));
            }
            parts.push(Part::Text(before.to_owned()));
            parts.push(part);
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    /// The name for an event. Of a key, all but ASCII letters, digits, `-`, `_` and `~` is
    /// percent-encoded: it is one word in every protocol.
    pub fn name(&self, event: &Outgoing) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Type => name.push_str(event.event_type.name()),
                Part::Op => name.push_str(event.op.name()),
                Part::Key => name.push_str(&cloudevent::percent(&event.key, b"-_~")),
            }
        }
        name
    }

    /// The name for some event of this type.
    pub fn sample(&self, event_type: contract::EventType) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Type => name.push_str(event_type.name()),
                Part::Op => name.push_str(contract::EventOp::Upsert.name()),
                Part::Key => name.push('x'),
            }
        }
        name
    }

    /// The names for events of all types, each once.
    pub fn samples(&self) -> Vec<String> {
        let mut names: Vec<_> = contract::EventType::ALL.map(|it| self.sample(it)).into();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_unknown_ones_refused() {
        let allowed = ["type", "key"];
        let of = |text| Template::parse(text, &allowed);
        assert!(of("a.{type}.{key}").is_ok());
        assert!(of("plain").is_ok());
        assert_eq!(
            of("a.{op}").unwrap_err(),
            "`{op}` is not one of {type}, {key}"
        );
        assert!(of("a.{type").is_err());
    }
}
