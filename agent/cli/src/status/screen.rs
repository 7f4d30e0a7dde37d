//! Lines on a terminal, which has a width, a height and colours, or into a pipe, which has none.

use contract::Level;

use crate::plain;

/// Fewer columns are as good as unknown.
const WIDTH_MIN: usize = 20;

/// A line, and how it may be shortened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    level: Option<Level>,
    text: String,
    /// One of a list: cut at the edge, not continued below.
    cell: bool,
}

impl Line {
    /// A sentence.
    pub(super) fn said(level: Level, text: &str) -> Self {
        Self {
            level: Some(level),
            ..Self::plain(text)
        }
    }

    /// Any line.
    pub(super) fn plain(text: &str) -> Self {
        Self {
            level: None,
            text: shown(text),
            cell: false,
        }
    }

    /// A line of a list.
    pub(super) fn cell(text: &str) -> Self {
        Self {
            cell: true,
            ..Self::plain(text)
        }
    }
}

/// What a row or an API holds must not steer the terminal.
fn shown(text: &str) -> String {
    let safe = |c: char| if plain::steers(c) { ' ' } else { c };
    text.chars().map(safe).collect()
}

/// Lines that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    title: Option<Line>,
    pub(super) lines: Vec<Line>,
    /// So many lines there would be, where not all were looked up.
    pub(super) all: u64,
    /// What shows the others, when only some fit.
    pub(super) more: &'static str,
}

impl Block {
    /// What is never cut.
    pub(super) fn untitled() -> Self {
        Self {
            title: None,
            lines: Vec::new(),
            all: 0,
            more: "lighterman status",
        }
    }

    /// A block under a heading.
    pub(super) fn titled(title: &str) -> Self {
        Self {
            title: Some(Line::plain(title)),
            ..Self::untitled()
        }
    }

    /// Adds a line.
    pub(super) fn plain(&mut self, text: &str) {
        self.lines.push(Line::plain(text));
    }
}

/// Where the lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    width: Option<usize>,
    height: Option<usize>,
    colour: bool,
}

impl Look {
    /// Everything, on lines as long as they are.
    pub(super) fn pipe() -> Self {
        Self {
            width: None,
            height: None,
            colour: false,
        }
    }

    /// As the terminal is now.
    pub(super) fn terminal(colour: bool) -> Self {
        let (width, height) = size();
        Self {
            width: Some(width),
            height: Some(height),
            colour,
        }
    }

    /// How many lines it has.
    pub(super) fn rows(self) -> usize {
        self.height.unwrap_or(usize::MAX)
    }
}

/// Columns and rows.
fn size() -> (usize, usize) {
    let of = |name: &str| std::env::var(name).ok()?.parse::<usize>().ok();
    let otherwise = || (of("COLUMNS").unwrap_or(80), of("LINES").unwrap_or(24));
    let (width, height) = asked().unwrap_or_else(otherwise);
    (width.max(WIDTH_MIN), height.max(2))
}

#[cfg(unix)]
fn asked() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then(|| (usize::from(size.ws_col), usize::from(size.ws_row)))
}

#[cfg(not(unix))]
fn asked() -> Option<(usize, usize)> {
    None
}

/// All lines, as they are written. On a terminal the longest lists are cut until all of it fits; what comes first
/// is never cut.
pub(super) fn lines(blocks: &[Block], look: Look) -> Vec<String> {
    let lines = |block: &Block| {
        let lines = block.lines.iter();
        lines.map(|line| written(line, look)).collect::<Vec<_>>()
    };
    let mut parts: Vec<Part<'_>> = blocks
        .iter()
        .map(|block| Part {
            block,
            title: block.title.as_ref().map(|title| written(title, look)),
            shown: block.lines.len(),
            lines: lines(block),
        })
        .collect();
    if let Some(height) = look.height {
        // The prompt wants a line, too.
        while parts.iter().map(Part::rows).sum::<usize>() >= height {
            let lists = parts.iter_mut().skip(1).filter(|part| part.shown > 1);
            let Some(longest) = lists.max_by_key(|part| part.shown) else {
                break;
            };
            longest.shown -= 1;
        }
    }
    let mut all = Vec::new();
    for part in parts {
        if let Some(title) = &part.title {
            all.push(String::new());
            all.extend(title.iter().cloned());
        }
        let rest = part.rest();
        all.extend(part.lines.into_iter().take(part.shown).flatten());
        if let Some(rest) = rest {
            all.extend(written(&rest, look));
        }
    }
    all
}

/// A block, and how much of it is shown.
struct Part<'b> {
    block: &'b Block,
    title: Option<Vec<String>>,
    lines: Vec<Vec<String>>,
    shown: usize,
}

impl Part<'_> {
    /// That there is more than is shown, and where.
    fn rest(&self) -> Option<Line> {
        let all = self.block.all.max(self.block.lines.len() as u64);
        let more = all.saturating_sub(self.shown as u64);
        let text = format!("  and {more} more: {}", self.block.more);
        (more > 0).then(|| Line::cell(&text))
    }

    fn rows(&self) -> usize {
        let title = self.title.as_ref().map_or(0, |title| 1 + title.len());
        let lines: usize = self.lines.iter().take(self.shown).map(Vec::len).sum();
        title + lines + usize::from(self.rest().is_some())
    }
}

/// A line as it is written.
fn written(line: &Line, look: Look) -> Vec<String> {
    let parts = match look.width {
        None => vec![line.text.clone()],
        Some(width) if line.cell => vec![cut(&line.text, width)],
        Some(width) => wrap(&line.text, width),
    };
    let colour = match line.level {
        Some(Level::Fail) if look.colour => "\x1b[31m",
        Some(Level::Warn) if look.colour => "\x1b[33m",
        Some(Level::Pass) if look.colour => "\x1b[32m",
        _ => return parts,
    };
    let parts = parts.into_iter();
    parts.map(|part| format!("{colour}{part}\x1b[0m")).collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    kept + ".."
}

/// Words that do not fit go below, a little to the right. What fits is left as it is.
fn wrap(text: &str, width: usize) -> Vec<String> {
    if text.chars().count() <= width {
        return vec![text.to_owned()];
    }
    let indent = text.chars().take_while(|c| *c == ' ').count();
    let below = " ".repeat((indent + 2).min(width / 2));
    let mut lines = Vec::new();
    let mut line = " ".repeat(indent.min(width / 2));
    let mut empty = true;
    let room = |line: &str, empty: bool| {
        let used = line.chars().count() + usize::from(!empty);
        width.saturating_sub(used)
    };
    for word in text.split_whitespace() {
        let mut word = word;
        if !empty && word.chars().count() > room(&line, empty) {
            lines.push(std::mem::replace(&mut line, below.clone()));
            empty = true;
        }
        // A word that is longer than a line is broken.
        while word.chars().count() > room(&line, empty) {
            let at = word.char_indices().nth(room(&line, empty).max(1));
            let (head, tail) = word.split_at(at.map_or(word.len(), |(at, _)| at));
            line.push_str(head);
            lines.push(std::mem::replace(&mut line, below.clone()));
            word = tail;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(width: usize, height: usize) -> Look {
        Look {
            width: Some(width),
            height: Some(height),
            colour: false,
        }
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_and_no_word_is_lost() {
        let text =
            "  last trouble: a sentence with averyveryverylongwordindeed in it, and more of it";
        for width in WIDTH_MIN..90 {
            let lines = wrap(text, width);
            let fits = |line: &String| line.chars().count() <= width;
            assert!(lines.iter().all(fits), "{width}: {lines:?}");
            let words: String = lines.concat().split_whitespace().collect();
            let wanted: String = text.split_whitespace().collect();
            assert_eq!(words, wanted, "{width}");
            assert!(cut(text, width).chars().count() <= width);
        }
    }

    #[test]
    fn the_longest_list_is_cut_until_all_of_it_fits() {
        let mut head = Block::untitled();
        head.plain("The agent runs.");
        let mut held = Block::titled("held:");
        held.more = "lighterman held list";
        held.all = 40;
        for n in 0..20 {
            held.lines.push(Line::cell(&format!("  item {n}")));
        }
        let mut source = Block::titled("source erp:");
        source.plain("  position 1");
        let blocks = [head, held, source];
        assert_eq!(lines(&blocks, Look::pipe()).len(), 1 + 2 + 20 + 1 + 2 + 1);
        let fitted = lines(&blocks, terminal(80, 15));
        assert_eq!(fitted.len(), 14, "{fitted:#?}");
        let more = "  and 33 more: lighterman held list".to_owned();
        assert!(fitted.contains(&more), "{fitted:#?}");
        let position = "  position 1".to_owned();
        assert!(fitted.contains(&position), "{fitted:#?}");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted_and_rows_do_not_steer_the_terminal() {
        let line = Line::said(Level::Fail, "a \x1b[2J b");
        assert_eq!(written(&line, Look::pipe()), ["a  [2J b"]);
        let colour = Look {
            colour: true,
            ..Look::pipe()
        };
        assert_eq!(written(&line, colour), ["\x1b[31ma  [2J b\x1b[0m"]);
    }
}
