//! The flags of a program, as the specification of its pod has them.
//!
//! In: commands and arguments of containers. Out: values by flag.
//! Holds: a flag that takes its value from the environment has none here, and says so.

use std::{collections::BTreeMap, time::Duration};

use coordinator_crds::duration;
use k8s_openapi::api::core::v1::{Container, PodSpec};

/// The cluster-autoscaler's program.
const PROGRAM: &str = "cluster-autoscaler";
/// Endings of its image for one architecture.
const ARCHITECTURES: [&str; 5] = ["amd64", "arm64", "arm", "ppc64le", "s390x"];

/// The flags of a cluster-autoscaler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    values: BTreeMap<String, String>,
}

/// What a flag says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<T> {
    /// This.
    Value(T),
    /// Nothing: the program's own default holds.
    Nothing,
    /// Something that cannot be read here.
    Unreadable(String),
}

impl<T> Said<T> {
    pub(super) fn or_default(self, default: T) -> Result<T, String> {
        match self {
            Self::Value(value) => Ok(value),
            Self::Nothing => Ok(default),
            Self::Unreadable(text) => Err(text),
        }
    }
}

impl Flags {
    /// The flags of the cluster-autoscaler in a pod, if there is one in it.
    pub(super) fn of(pod: &PodSpec) -> Option<Self> {
        pod.containers
            .iter()
            .find(|one| is_autoscaler(one))
            .map(Self::of_container)
    }

    fn of_container(container: &Container) -> Self {
        let command = container.command.iter().flatten();
        let arguments = container.args.iter().flatten();
        // A shell's command line is one word of many.
        let mut words = command
            .chain(arguments)
            .flat_map(|word| word.split_whitespace())
            .peekable();
        let mut values = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let next = words.next_if(|next| !next.starts_with('-'));
                    (flag, next.unwrap_or("true").to_owned())
                }
            };
            let value = value.trim_matches(['"', '\'']).to_owned();
            values.insert(name.replace('_', "-"), value);
        }
        Self { values }
    }

    pub(super) fn text(&self, name: &str) -> Said<String> {
        self.read(name, |text| Some(text.to_owned()))
    }

    pub(super) fn number(&self, name: &str) -> Said<f64> {
        self.read(name, |text| {
            text.parse().ok().filter(|n: &f64| n.is_finite())
        })
    }

    pub(super) fn duration(&self, name: &str) -> Said<Duration> {
        self.read(name, |text| duration::parse(text).ok())
    }

    fn read<T>(&self, name: &str, parse: impl FnOnce(&str) -> Option<T>) -> Said<T> {
        let Some(text) = self.values.get(name) else {
            return Said::Nothing;
        };
        let told = if text.contains("$(") {
            None
        } else {
            parse(text)
        };
        told.map_or_else(|| Said::Unreadable(format!("--{name}={text}")), Said::Value)
    }
}

fn is_autoscaler(container: &Container) -> bool {
    let program = container.command.iter().flatten().any(|word| {
        word.split_whitespace()
            .any(|word| word.rsplit('/').next() == Some(PROGRAM))
    });
    program || container.image.as_deref().is_some_and(is_its_image)
}

/// `registry/autoscaling/cluster-autoscaler-arm64:v1.36.1@sha256:…`, say.
fn is_its_image(image: &str) -> bool {
    let image = image.split('@').next().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default();
    let rest = name.strip_prefix(PROGRAM);
    rest.is_some_and(|rest| {
        rest.is_empty()
            || rest
                .strip_prefix('-')
                .is_some_and(|arch| ARCHITECTURES.contains(&arch))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn flags(container: Value) -> Option<Flags> {
        let mut container = container;
        container["name"] = json!("c");
        Flags::of(&serde_json::from_value(json!({"containers": [container]})).unwrap())
    }

    #[test]
    fn the_autoscaler_is_known_by_its_program_or_its_image() {
        for (container, is_it) in [
            (
                json!({"image": "registry.k8s.io/autoscaling/cluster-autoscaler:v1.36.1"}),
                true,
            ),
            (
                json!({"image": "localhost:5000/cluster-autoscaler-arm64@sha256:abc"}),
                true,
            ),
            (
                json!({"image": "mine:1", "command": ["./cluster-autoscaler"]}),
                true,
            ),
            (
                json!({"image": "mine:1", "command": ["/bin/sh", "-c", "exec /cluster-autoscaler --v=4"]}),
                true,
            ),
            (
                json!({"image": "quay.io/x/cluster-autoscaler-operator:1"}),
                false,
            ),
            (
                json!({"image": "cluster-autoscaler/web:1", "args": ["--v=4"]}),
                false,
            ),
            (json!({}), false),
        ] {
            assert_eq!(flags(container.clone()).is_some(), is_it, "{container}");
        }
    }

    #[test]
    fn flags_are_read_in_every_form_that_the_program_takes() {
        let flags = flags(json!({
            "image": "cluster-autoscaler",
            "command": ["./cluster-autoscaler", "--cloud-provider", "externalgrpc", "-v=4"],
            "args": ["--max_node_provision_time=20m0s", "--ok-total-unready-count=3", "--ok-total-unready-count=9",
                "--scale-down-enabled", "--max-total-unready-percentage=$(MOST)", "--expander=\"price\"", "--new-pod-scale-up-delay=1.5h"],
        }))
        .unwrap();
        assert_eq!(
            flags.text("cloud-provider"),
            Said::Value("externalgrpc".to_owned())
        );
        assert_eq!(
            flags.duration("max-node-provision-time"),
            Said::Value(Duration::from_secs(1200))
        );
        assert_eq!(
            flags.number("ok-total-unready-count"),
            Said::Value(9.0),
            "the last one holds"
        );
        assert_eq!(
            flags.text("scale-down-enabled"),
            Said::Value("true".to_owned())
        );
        assert_eq!(flags.text("expander"), Said::Value("price".to_owned()));
        assert_eq!(flags.text("cloud-config"), Said::Nothing);
        for (said, text) in [
            (
                flags
                    .number("max-total-unready-percentage")
                    .or_default(45.0)
                    .err(),
                "--max-total-unready-percentage=$(MOST)",
            ),
            (
                flags
                    .duration("new-pod-scale-up-delay")
                    .or_default(Duration::ZERO)
                    .map(|_| 0.0)
                    .err(),
                "--new-pod-scale-up-delay=1.5h",
            ),
        ] {
            assert_eq!(said.as_deref(), Some(text));
        }
    }
}
