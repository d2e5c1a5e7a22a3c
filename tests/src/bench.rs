//! `cargo xtask bench`: how fast and how small the programs are, each figure beside its goal.
//! In: the name of one benchmark with its options, or none for all of them. Out: one JSON object.
//! Holds: the programs themselves, on loopback, with a real mosquitto, but for the handlers that a call is compared with; nothing
//! here judges a figure, and no test asserts one.

mod autoscaler;
mod beats;
mod cluster;
mod figures;
mod footprint;
mod handlers;
mod host;
mod lab;
pub(crate) mod loops;
mod trial;
mod wakes;

pub use trial::Trial;

use anyhow::{Result, bail};
use serde_json::{Map, Value};

/// What can be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bench {
    /// The cluster-autoscaler's loop, and the coordinator's size and load, at several numbers of Nodes.
    Autoscaler(Trial),
    /// From IncreaseSize to the magic packet, and the agent's size.
    Wakes,
    /// Writes to the Kubernetes API.
    Cluster,
}

impl Bench {
    /// Every one, in the order in which they run.
    #[must_use]
    pub fn all() -> [Self; 3] {
        [
            Self::Autoscaler(Trial::default()),
            Self::Wakes,
            Self::Cluster,
        ]
    }

    /// Its name on the command line.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Autoscaler(_) => "autoscaler",
            Self::Wakes => "wakes",
            Self::Cluster => "cluster",
        }
    }

    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// One line with what is wrong and what would be right.
    pub fn parse(arguments: &[String]) -> Result<Vec<Self>> {
        let Some((name, options)) = arguments.split_first() else {
            return Ok(Self::all().to_vec());
        };
        let known = Self::all();
        match (known.iter().find(|bench| bench.name() == name), options) {
            (Some(Self::Autoscaler(_)), options) => {
                Ok(vec![Self::Autoscaler(Trial::parse(options)?)])
            }
            (Some(bench), []) => Ok(vec![bench.clone()]),
            (Some(_), options) => bail!("{}: {name} takes no options", options.join(" ")),
            (None, _) => {
                let known = known.each_ref().map(Self::name).join(" or ");
                bail!("{name}: there is no such benchmark; name {known}, or none for all")
            }
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
            Bench::Autoscaler(trial) => autoscaler::measure(trial).await?,
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
        assert_eq!(parsed(&[]).unwrap(), Bench::all());
        assert_eq!(parsed(&["wakes"]).unwrap(), [Bench::Wakes]);
    }

    #[test]
    fn only_the_autoscalers_benchmark_has_options() {
        let whole = Bench::Autoscaler(Trial::default());
        assert_eq!(parsed(&["autoscaler"]).unwrap(), [whole]);
        assert!(parsed(&["autoscaler", "--loops", "3"]).is_ok());
        let fault = parsed(&["wakes", "--loops", "3"]).unwrap_err().to_string();
        assert_eq!(fault, "--loops 3: wakes takes no options");
    }

    #[test]
    fn unknown_name_is_answered_with_the_known_ones() {
        let fault = parsed(&["writes"]).unwrap_err().to_string();
        assert_eq!(
            fault,
            "writes: there is no such benchmark; name autoscaler or wakes or cluster, or none for all"
        );
    }
}
