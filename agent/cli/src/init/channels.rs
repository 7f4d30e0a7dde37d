//! The shipped destination files, and what stands in the settings where nobody has answered them.

use mappings::channel::{self, Declared, Given, SettingKind};

use super::block::quoted;
use super::sides::variable;

/// The shipped destination files: name and title.
pub(super) fn shipped() -> Vec<(String, String)> {
    let names = channel::SHIPPED
        .iter()
        .filter_map(|(file, text)| Some((file.strip_suffix(".yaml")?, *text)));
    names
        .map(|(name, text)| {
            let title = text.lines().find_map(|line| line.strip_prefix("title: "));
            let title = title.unwrap_or(name).trim_matches('"').to_owned();
            (name.to_owned(), title)
        })
        .collect()
}

pub(super) fn toml(default: &Given) -> String {
    match default {
        Given::Text(text) => quoted(text),
        Given::Number(number) => number.to_string(),
        Given::Flag(flag) => flag.to_string(),
        Given::Map(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(ours, theirs)| format!("{} = {}", quoted(ours), quoted(theirs)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        Given::List(list) => {
            let list: Vec<String> = list.iter().map(|text| quoted(text)).collect();
            format!("[{}]", list.join(", "))
        }
    }
}

/// What stands where nobody has answered yet: such that the file can be read.
pub(super) fn stand_in(channel: &str, one: &Declared) -> String {
    match one.kind {
        SettingKind::Secret => format!("{{ env = {} }}", quoted(&variable(channel, &one.name))),
        SettingKind::Url => quoted(example_url(&one.ask).unwrap_or("https://shop.example.com")),
        SettingKind::Number => "1".to_owned(),
        SettingKind::Flag => "false".to_owned(),
        SettingKind::Map => "{ MAIN = \"1\" }".to_owned(),
        SettingKind::List => "[\"*\"]".to_owned(),
        SettingKind::Text => quoted(&one.name),
    }
}

/// The address that a question names.
fn example_url(ask: &str) -> Option<&str> {
    let at = ask.find("https://")?;
    let rest = ask.get(at..)?;
    let end = rest.find([' ', '?', ',', ')']).unwrap_or(rest.len());
    rest.get(..end)
}
