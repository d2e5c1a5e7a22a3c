//! A page of the user guide as a program reads it: its fenced blocks.
//! In: Markdown. Out: blocks by language; the commands that people are told to type.
//! Not here: what the commands do; whoever reads the page carries them out.

use std::path::Path;

use anyhow::{Context, Result, ensure};

/// A page.
#[derive(Debug)]
pub struct Guide {
    blocks: Vec<Block>,
}

#[derive(Debug, Default)]
struct Block {
    language: String,
    text: String,
}

impl Guide {
    /// Reads a page of `docs/src`.
    ///
    /// # Errors
    /// There is no such page, or one of its blocks has no end.
    pub fn read(page: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
        let text = std::fs::read_to_string(folder.join(page));
        Self::parse(&text.with_context(|| format!("read docs/src/{page}"))?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut blocks = Vec::new();
        let mut open: Option<Block> = None;
        for line in text.lines() {
            match (open.take(), line.strip_prefix("```")) {
                (None, None) => {}
                (None, Some(language)) => {
                    open = Some(Block {
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(block), Some(_)) => blocks.push(block),
                (Some(mut block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
            }
        }
        ensure!(open.is_none(), "a block has no end: {open:?}");
        Ok(Self { blocks })
    }

    /// The one block of a language in which a line begins so.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn block(&self, language: &str, begins: &str) -> Result<&str> {
        let fits = |block: &&Block| {
            let mut lines = block.text.lines();
            block.language == language && lines.any(|line| line.starts_with(begins))
        };
        let found: Vec<_> = self.blocks.iter().filter(fits).collect();
        ensure!(found.len() == 1, "{language} with {begins:?}: {found:?}");
        Ok(&found[0].text)
    }

    /// What people are told to type, in its order, without prompts and remarks.
    #[must_use]
    pub fn commands(&self) -> Vec<&str> {
        let consoles = self.blocks.iter();
        let consoles = consoles.filter(|block| block.language == "console");
        let typed = consoles.flat_map(|block| block.text.lines());
        let typed = typed.filter_map(|line| line.strip_prefix("$ "));
        let bare = typed.map(|line| line.split("  #").next().unwrap_or(line).trim());
        bare.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "text\n```console\n$ one -a   # why\nits answer\n$ two\n```\nmore\n```yaml\na: 1\nb: 2\n```\n```yaml\nc: 3\n```\n";

    #[test]
    fn commands_come_without_prompt_answer_and_remark() {
        let guide = Guide::parse(PAGE).unwrap();
        assert_eq!(guide.commands(), ["one -a", "two"]);
    }

    #[test]
    fn a_block_is_found_by_a_line_of_it_if_it_is_the_only_one() {
        let guide = Guide::parse(PAGE).unwrap();
        assert_eq!(guide.block("yaml", "b:").unwrap(), "a: 1\nb: 2\n");
        assert!(guide.block("yaml", "").is_err(), "there are two");
        assert!(guide.block("yaml", "d:").is_err(), "there is none");
        assert!(Guide::parse("```yaml\na: 1\n").is_err());
    }
}
