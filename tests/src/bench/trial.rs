//! How much is measured: at which sizes, and how often.
//! In: the words after `autoscaler` on the command line. Out: the whole, or a shorter trial.

use anyhow::{Context, Result, bail, ensure};

/// Sizes and repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Numbers of Nodes, smallest first.
    pub(super) nodes: Vec<usize>,
    /// Loops of the autoscaler that are timed at each size.
    pub(super) loops: usize,
    /// Loops over which memory must stay flat.
    pub(super) many_loops: usize,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            nodes: vec![1_000, 5_000, 15_000],
            loops: 50,
            many_loops: 10_000,
        }
    }
}

impl Trial {
    /// Reads `--nodes 1000,5000`, `--loops 5` and `--many-loops 100`, in any order.
    ///
    /// # Errors
    /// One line with what is wrong and what would be right.
    pub(super) fn parse(options: &[String]) -> Result<Self> {
        let mut trial = Self::default();
        for option in options.chunks(2) {
            let [name, value] = option else {
                bail!("{}: without a value", option.concat());
            };
            match name.as_str() {
                "--nodes" => trial.nodes = numbers(value)?,
                "--loops" => trial.loops = number(value)?,
                "--many-loops" => trial.many_loops = number(value)?,
                other => bail!("{other}: name --nodes, --loops or --many-loops"),
            }
        }
        Ok(trial)
    }
}

fn numbers(text: &str) -> Result<Vec<usize>> {
    let numbers: Vec<usize> = text.split(',').map(number).collect::<Result<_>>()?;
    ensure!(numbers.is_sorted(), "{text}: name the smallest first");
    Ok(numbers)
}

fn number(text: &str) -> Result<usize> {
    let number: usize = text
        .parse()
        .with_context(|| format!("{text}: not a number"))?;
    ensure!(number > 0, "{text}: must be above zero");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Trial> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Trial::parse(&words)
    }

    #[test]
    fn what_is_not_said_stays_as_in_the_whole() {
        assert_eq!(parsed("").unwrap(), Trial::default());
        let short = Trial {
            nodes: vec![100, 250],
            loops: 3,
            many_loops: 20,
        };
        let line = "--loops 3 --nodes 100,250 --many-loops 20";
        assert_eq!(parsed(line).unwrap(), short);
    }

    #[test]
    fn nonsense_is_answered_with_what_would_be_right() {
        for (line, told) in [
            ("--nodes", "--nodes: without a value"),
            ("--nodes 500,100", "500,100: name the smallest first"),
            ("--loops 0", "0: must be above zero"),
            ("--loops x", "x: not a number"),
            ("--size 5", "--size: name --nodes, --loops or --many-loops"),
        ] {
            assert_eq!(parsed(line).unwrap_err().to_string(), told);
        }
    }
}
