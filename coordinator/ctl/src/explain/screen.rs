//! Text for one screen: sections with a label, wrapped, cut where they do not fit.
//!
//! In: a headline and sections. Out: at most [`HEIGHT`] lines of at most [`WIDTH`] characters.
//! Holds: whatever stands in a text, none of it can move the cursor; what was cut ends with `…`.

/// Most characters in a line.
pub(super) const WIDTH: usize = 100;
/// Most lines.
pub(super) const HEIGHT: usize = 24;
/// The column of labels.
const LABEL: usize = 9;
/// Most lines of the headline.
const HEADLINE: usize = 2;

/// How many lines a section may have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Room {
    /// Never more than these.
    Most(usize),
    /// What the others leave; so many are kept free for it if it needs them.
    Rest {
        /// Lines that no other section of this kind takes from it.
        least: usize,
    },
}

/// A part of the screen.
#[derive(Debug)]
pub(super) struct Section {
    label: &'static str,
    lines: Vec<String>,
    room: Room,
}

impl Section {
    /// A section of these paragraphs; none, and it is left out.
    pub(super) fn new(label: &'static str, room: Room, paragraphs: &[String]) -> Self {
        let lines = paragraphs.iter().flat_map(|text| wrap(text, WIDTH - LABEL));
        let lines: Vec<String> = lines.collect();
        let lines = match room {
            Room::Most(most) => cut(lines, most, WIDTH - LABEL),
            Room::Rest { .. } => lines,
        };
        Self { label, lines, room }
    }

    fn least(&self) -> usize {
        match self.room {
            Room::Most(_) => 0,
            Room::Rest { least } => least.min(self.lines.len()),
        }
    }
}

/// The whole screen, with a line break at its end.
pub(super) fn fit(headline: &str, sections: Vec<Section>) -> String {
    let mut shown = cut(wrap(headline, WIDTH), HEADLINE, WIDTH);
    let rigid: usize = sections
        .iter()
        .filter(|section| matches!(section.room, Room::Most(_)))
        .map(|section| section.lines.len())
        .sum();
    let mut left = HEIGHT.saturating_sub(shown.len() + rigid);
    let mut kept: usize = sections.iter().map(Section::least).sum();
    for section in sections {
        kept -= section.least();
        let lines = match section.room {
            Room::Most(_) => section.lines,
            Room::Rest { .. } => {
                let lines = cut(section.lines, left.saturating_sub(kept), WIDTH - LABEL);
                left = left.saturating_sub(lines.len());
                lines
            }
        };
        let label = std::iter::once(section.label).chain(std::iter::repeat(""));
        let lines = label.zip(lines);
        shown.extend(lines.map(|(label, line)| format!("{label:<LABEL$}{line}")));
    }
    shown.into_iter().map(|line| line + "\n").collect()
}

/// The text in lines, broken at blanks where that is possible.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let visible: String = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in visible.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        while !word.is_empty() {
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                line.extend(std::iter::repeat_n(' ', gap));
                line.extend(word.drain(..));
            } else if used > 0 {
                lines.push(std::mem::take(&mut line));
            } else {
                lines.push(word.drain(..width).collect());
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// The first lines; the last of them shows that there were more.
fn cut(mut lines: Vec<String>, most: usize, width: usize) -> Vec<String> {
    if lines.len() <= most {
        return lines;
    }
    lines.truncate(most);
    if let Some(last) = lines.last_mut() {
        let kept: String = last.chars().take(width - 2).collect();
        *last = format!("{} …", kept.trim_end());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_broken_and_nothing_moves_the_cursor() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("a\u{1b}[2Jb\r\nc", 80), ["a [2Jb c"]);
        assert!(wrap(" \n ", 5).is_empty());
    }

    #[test]
    fn sections_that_grow_share_what_the_others_leave() {
        let words = |n: usize| vec!["word ".repeat(n * 18)];
        let screen = fit(
            "head",
            vec![
                Section::new("A", Room::Most(2), &words(5)),
                Section::new("B", Room::Rest { least: 1 }, &words(50)),
                Section::new("C", Room::Rest { least: 3 }, &words(50)),
                Section::new("D", Room::Most(3), &["next".to_owned()]),
                Section::new("E", Room::Most(3), &[]),
            ],
        );
        let lines: Vec<&str> = screen.lines().collect();
        assert_eq!(lines.len(), HEIGHT, "{screen}");
        let at = |label: &str| lines.iter().position(|line| line.starts_with(label));
        assert_eq!(
            (at("A"), at("B"), at("C"), at("D"), at("E")),
            (Some(1), Some(3), Some(20), Some(23), None),
            "{screen}"
        );
        assert!(
            lines[2].ends_with('…') && lines[22].ends_with('…'),
            "{screen}"
        );
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }
}
