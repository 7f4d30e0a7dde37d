//! The shipped packs: what they ask, and the site file that answers.

use std::fmt::Write as _;

use contract::{Node, NodeKind};
use mappings::{packs, parse_yaml};

use super::Stop;
use super::block::{quoted, spoken};
use super::options::Given;
use super::person::{Ask, Person};
use super::sides::{Side, capital, new};
use super::site::findings;

/// Packs that are no ERP's.
const NOT_OFFERED: [&str; 2] = ["starter", "demo-warehouse"];

/// A shipped pack.
pub(super) struct Pack {
    pub(super) name: String,
    pub(super) title: String,
    /// Its page.
    page: String,
    pub(super) settings: Vec<Setting>,
    /// Code, database and currency of the company that it names, where each has a database of its own.
    company: Option<[String; 3]>,
}

/// What a pack asks.
pub(super) struct Setting {
    pub(super) name: String,
    ask: String,
    default: String,
    is_list: bool,
    one_of: Vec<String>,
}

/// The packs for a kind of source.
pub(super) fn shipped(kind: &str) -> Vec<Pack> {
    let of = |source: &str| source == kind || source == "mariadb" && kind == "mysql";
    packs::SHIPPED
        .iter()
        .filter_map(|(file, text)| {
            let root = parse_yaml(file, text).ok()?;
            let pack = Pack::of(file, text, &root)?;
            of(&text_at(&root, "source")?).then_some(pack)
        })
        .filter(|pack| !NOT_OFFERED.contains(&pack.name.as_str()))
        .collect()
}

impl Pack {
    fn of(file: &str, text: &str, root: &Node) -> Option<Self> {
        let name = text_at(root, "pack")?;
        let title = text.lines().find_map(|line| line.strip_prefix("# "));
        let (folder, _) = file.split_once('/')?;
        let settings = entries(root, "settings")
            .iter()
            .map(|(key, node)| {
                let default = at(node, "default");
                Setting {
                    name: key.name.clone(),
                    ask: text_at(node, "ask").unwrap_or_default(),
                    default: default.map(shown).unwrap_or_default(),
                    is_list: default.is_some_and(|node| matches!(node.kind, NodeKind::List(_))),
                    one_of: at(node, "one_of").map(texts).unwrap_or_default(),
                }
            })
            .collect();
        let companies = at(root, "companies");
        let company = companies
            .filter(|node| text_at(node, "split").as_deref() == Some("database"))
            .and_then(|node| match &at(node, "list")?.kind {
                NodeKind::List(items) => items.first(),
                _ => None,
            })
            .map(|one| {
                ["code", "database", "currency"].map(|key| text_at(one, key).unwrap_or_default())
            });
        Some(Self {
            title: title.unwrap_or(&name).trim_end_matches('.').to_owned(),
            page: format!("docs/packs/{folder}.md"),
            name,
            settings,
            company,
        })
    }

    /// Its site file.
    pub(super) fn ask(
        &self,
        person: &mut Person,
        given: &Given,
        source: &Side,
        same: &mut Option<[String; 3]>,
    ) -> Result<String, Stop> {
        person.heading(&format!("Pack {} ({}):", self.name, self.page));
        let answers: Vec<String> = self.settings.iter().map(Setting::usual).collect();
        if same.is_none() && self.company.is_some() {
            *same = self.company(person, given, source, &answers)?;
        }
        let company = same.as_ref().filter(|_| self.company.is_some());
        self.answers(person, given, answers, company)
    }

    /// The company whose database it is.
    fn company(
        &self,
        person: &mut Person,
        given: &Given,
        source: &Side,
        answers: &[String],
    ) -> Result<Option<[String; 3]>, Stop> {
        let mut company = self.company.clone();
        if let (Some([_, database, _]), Some(said)) = (&mut company, source.block.said("database"))
        {
            *database = spoken(said);
        }
        if let Some(company) = &mut company {
            let asks = [
                (
                    "code",
                    "Which company's database is it?",
                    "its code; every event's key begins with it",
                ),
                (
                    "database",
                    "What is the database called?",
                    "as the source's settings name it",
                ),
                (
                    "currency",
                    "What is the company's own currency?",
                    "its ISO code, such as USD",
                ),
            ];
            for (n, (key, question, help)) in asks.into_iter().enumerate() {
                let key = format!("company.{key}");
                let ask = Ask {
                    flag: format!("--pack-set {key}"),
                    ask: question.to_owned(),
                    help: help.to_owned(),
                    given: given.peek(&key),
                    default: company.get(n).cloned(),
                    ..Ask::default()
                };
                let before = self.text(answers, Some(company));
                let checked = company.clone();
                let answer = person.answer(&ask, |answer| {
                    let mut with = checked.clone();
                    if let Some(place) = with.get_mut(n) {
                        answer.clone_into(place);
                    }
                    new(
                        &findings(&before),
                        &findings(&self.text(answers, Some(&with))),
                    )
                })?;
                if let (Some(answer), Some(place)) = (answer, company.get_mut(n)) {
                    *place = answer;
                }
            }
        }
        Ok(company)
    }

    /// The answers to what it asks.
    fn answers(
        &self,
        person: &mut Person,
        given: &Given,
        mut answers: Vec<String>,
        company: Option<&[String; 3]>,
    ) -> Result<String, Stop> {
        let told = self.settings.iter().any(|one| given.has(&one.name));
        let more = Ask {
            flag: "--pack-set ..".to_owned(),
            ask: format!(
                "Go through the {} questions of the pack?",
                self.settings.len()
            ),
            help: "no = its defaults hold; they stand explained in the site file".to_owned(),
            default: Some("yes".to_owned()),
            ..Ask::default()
        };
        let all = !self.settings.is_empty() && (!person.there || person.is_sure(&more)?);
        for (n, setting) in self.settings.iter().enumerate() {
            let asked = all || told && given.has(&setting.name);
            if !asked {
                continue;
            }
            let ask = Ask {
                flag: format!("--pack-set {}", setting.name),
                ask: capital(&setting.ask),
                help: setting.help(),
                given: given.peek(&setting.name),
                default: Some(setting.default.clone()),
                ..Ask::default()
            };
            let before = self.text(&answers, company);
            let checked = answers.clone();
            let answer = person.answer(&ask, |answer| {
                let mut with = checked.clone();
                if let Some(place) = with.get_mut(n) {
                    *place = setting.yaml(answer);
                }
                new(&findings(&before), &findings(&self.text(&with, company)))
            })?;
            if let (Some(answer), Some(place)) = (answer, answers.get_mut(n)) {
                *place = setting.yaml(&answer);
            }
        }
        Ok(self.text(&answers, company))
    }

    fn text(&self, answers: &[String], company: Option<&[String; 3]>) -> String {
        let mut text = format!(
            "# What this site answers to the pack {}; {} explains it.\nmapping: 1\nextends: {}\n",
            self.name, self.page, self.name
        );
        if !self.settings.is_empty() {
            text.push_str("settings:\n");
        }
        for (setting, answer) in self.settings.iter().zip(answers) {
            let _ = writeln!(text, "  # {}\n  {}: {answer}", setting.ask, setting.name);
        }
        if let Some([code, database, currency]) = company {
            let _ = writeln!(
                text,
                "companies:\n  split: database               # one database for each company\n  list:\n    \
                 - {{code: {}, database: {}, currency: {}}}",
                quoted(code),
                quoted(database),
                quoted(currency)
            );
        }
        text
    }
}

/// What is asked of a company.
pub(super) const COMPANY: [&str; 3] = ["company.code", "company.database", "company.currency"];

impl Setting {
    fn usual(&self) -> String {
        self.yaml(&self.default)
    }

    fn yaml(&self, answer: &str) -> String {
        if !self.is_list {
            return quoted(answer);
        }
        let parts = answer
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        let parts: Vec<String> = parts.map(quoted).collect();
        format!("[{}]", parts.join(", "))
    }

    fn help(&self) -> String {
        match (self.one_of.is_empty(), self.is_list) {
            (false, _) => format!("one of {}", self.one_of.join(", ")),
            (true, true) => "several with commas".to_owned(),
            (true, false) => String::new(),
        }
    }
}

fn entries<'n>(root: &'n Node, name: &str) -> &'n [(contract::Key, Node)] {
    match at(root, name).map(|node| &node.kind) {
        Some(NodeKind::Map(entries)) => entries,
        _ => &[],
    }
}

fn at<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let NodeKind::Map(entries) = &node.kind else {
        return None;
    };
    entries
        .iter()
        .find(|(key, _)| key.name == name)
        .map(|(_, node)| node)
}

fn text_at(node: &Node, name: &str) -> Option<String> {
    at(node, name).map(shown)
}

/// A value as a person answers it.
fn shown(node: &Node) -> String {
    match &node.kind {
        NodeKind::Text(text) | NodeKind::Number(text) => text.clone(),
        NodeKind::Bool(value) => value.to_string(),
        NodeKind::List(_) => texts(node).join(", "),
        NodeKind::Null | NodeKind::Map(_) => String::new(),
    }
}

fn texts(node: &Node) -> Vec<String> {
    match &node.kind {
        NodeKind::List(items) => items.iter().map(shown).collect(),
        _ => Vec::new(),
    }
}
