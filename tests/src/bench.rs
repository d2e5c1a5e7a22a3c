//! `cargo xtask bench`: how fast and how small the programs are, each figure beside its goal.
//! In: the name of one benchmark, or none for all of them. Out: one JSON object.
//! Holds: the programs themselves, on loopback, with a real mosquitto; nothing here judges a figure, and no test asserts one.

mod beats;
mod cluster;
mod figures;
mod footprint;
mod host;
mod lab;
mod reads;
mod wakes;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bench {
    /// Reads of the cluster-autoscaler, and the coordinator's size and load, at 1,000 Nodes.
    Reads,
    /// From IncreaseSize to the magic packet, and the agent's size.
    Wakes,
    /// Writes to the Kubernetes API.
    Cluster,
}

impl Bench {
    /// Every one, in the order in which they run.
    pub const ALL: [Self; 3] = [Self::Reads, Self::Wakes, Self::Cluster];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Wakes => "wakes",
            Self::Cluster => "cluster",
        }
    }

    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// One line with what is wrong and what would be right.
    pub fn parse(arguments: &[String]) -> Result<Vec<Self>> {
        let known = Self::ALL.map(Self::name).join(" or ");
        match arguments {
            [] => Ok(Self::ALL.to_vec()),
            [name] => match Self::ALL.into_iter().find(|bench| bench.name() == name) {
                Some(bench) => Ok(vec![bench]),
                None => bail!("{name}: there is no such benchmark; name {known}, or none for all"),
            },
            more => bail!("{}: not understood; usage: bench [{known}]", more.join(" ")),
        }
    }
}

/// Measures, one benchmark after the other.
///
/// # Errors
/// When a program is missing, does not come up, or answers a call with an error.
pub async fn run(benches: &[Bench]) -> Result<Value> {
    let mut report = Map::from_iter([("host".to_owned(), host::describe())]);
    for bench in benches {
        let figures = match bench {
            Bench::Reads => reads::measure().await?,
            Bench::Wakes => wakes::measure().await?,
            Bench::Cluster => cluster::measure().await?,
        };
        report.insert(bench.name().to_owned(), figures);
    }
    Ok(report.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Vec<Bench>> {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        Bench::parse(&words)
    }

    #[test]
    fn no_name_means_all() {
        assert_eq!(parsed(&[]).unwrap(), Bench::ALL);
        assert_eq!(parsed(&["wakes"]).unwrap(), [Bench::Wakes]);
    }

    #[test]
    fn unknown_name_is_answered_with_the_known_ones() {
        let fault = parsed(&["writes"]).unwrap_err().to_string();
        assert_eq!(
            fault,
            "writes: there is no such benchmark; name reads or wakes or cluster, or none for all"
        );
        assert!(parsed(&["reads", "wakes"]).is_err());
    }
}
