//! `homelabctl check`: the usual mistakes, one line each.
//!
//! In: facts, collected by `source`. Out: findings, as `grade  what  found → what to do`.
//! Holds: pure; what could not be read is a finding too, so silence never looks like health.
//! Not here: what is wrong with one machine (`explain`).

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node as CoreNode, Pod},
};

use crate::{cluster::Page, lab::Lab};

mod autoscaler;
mod clocks;
mod flags;
#[cfg(feature = "fuzz")]
pub mod fuzz;
mod leftovers;
mod machines;
mod places;
mod relays;

/// Everything that is judged.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The lab.
    pub(crate) lab: Lab,
    /// What is around it.
    pub(crate) around: Surroundings,
}

/// What is around a lab.
#[derive(Debug)]
pub(crate) enum Surroundings {
    /// The host that a coordinator without Kubernetes runs on.
    Host(HostFacts),
    /// A cluster.
    Cluster(Box<ClusterFacts>),
}

/// What is known of a coordinator's own host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostFacts {
    /// Its kernel's boot id.
    pub(crate) boot_id: Option<String>,
    /// Its name, which the coordinator takes for its own machine's.
    pub(crate) name: String,
    /// Address of the agents' broker.
    pub(crate) broker: String,
}

/// What is known of a cluster; an error is the API server's word why not.
#[derive(Debug)]
pub(crate) struct ClusterFacts {
    /// The coordinator's page.
    pub(crate) page: Result<Page, String>,
    /// Every core Node.
    pub(crate) nodes: Result<Vec<CoreNode>, String>,
    /// Every pod.
    pub(crate) pods: Result<Vec<Pod>, String>,
    /// Every Deployment.
    pub(crate) deployments: Result<Vec<Deployment>, String>,
    /// Where the coordinator is installed.
    pub(crate) system_namespace: String,
    /// The only namespace that the lab was read from, if not all were.
    pub(crate) namespace: Option<String>,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// It works, and will surprise somebody.
    Warn,
    /// It does not work.
    Fail,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// How bad.
    pub(crate) grade: Grade,
    /// What was looked at, one word.
    pub(crate) what: &'static str,
    /// What was found.
    pub(crate) found: String,
    /// What to do; empty where there is nothing.
    pub(crate) cure: String,
}

impl Finding {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ok,
            what,
            found: found.into(),
            cure: String::new(),
        }
    }

    fn warn(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            grade: Grade::Warn,
            what,
            found: found.into(),
            cure: cure.into(),
        }
    }

    fn fail(what: &'static str, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            grade: Grade::Fail,
            ..Self::warn(what, found, cure)
        }
    }

    /// Its line.
    fn line(&self) -> String {
        let grade = match self.grade {
            Grade::Ok => "ok",
            Grade::Warn => "warn",
            Grade::Fail => "fail",
        };
        let text = if self.cure.is_empty() {
            self.found.clone()
        } else {
            format!("{} → {}", self.found, self.cure)
        };
        // Names and messages come from elsewhere: each finding stays one line and moves no cursor.
        let text = text.replace(|letter: char| letter.is_control(), " ");
        format!("{grade:<4}  {:<11}  {text}\n", self.what)
    }
}

/// Everything that was found, in the order in which it is best mended.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let lab = &facts.lab;
    let mut found = Vec::new();
    match &facts.around {
        Surroundings::Host(host) => {
            found.extend(coordinator(lab));
            found.extend(places::on_host(lab, host));
            found.extend(relays::judge(lab, &places::sleepers(lab, &[])));
            found.extend(clocks::judge(lab, None));
            found.extend(machines::judge(lab));
            found.extend(autoscaler::beside(lab));
        }
        Surroundings::Cluster(cluster) => {
            let nodes = cluster.nodes.as_deref().unwrap_or_default();
            let pods = cluster.pods.as_deref().unwrap_or_default();
            found.extend(unread(cluster));
            if let Ok(page) = &cluster.page {
                found.extend(coordinator(lab));
                let sleepers = places::sleepers(lab, nodes);
                let sleepers = places::with_relay_pods(sleepers, lab, cluster);
                found.extend(relays::judge(lab, &sleepers));
                found.extend(clocks::judge(lab, page.clock_ahead_ms));
            }
            if cluster.pods.is_ok() {
                found.extend(places::in_cluster(
                    lab,
                    nodes,
                    pods,
                    &cluster.system_namespace,
                ));
            }
            found.extend(machines::judge(lab));
            found.extend(autoscaler::judge(lab, cluster));
            match &cluster.namespace {
                None if cluster.nodes.is_ok() => found.extend(leftovers::judge(lab, nodes)),
                None => {}
                Some(_) => found.push(leftovers::not_looked_for()),
            }
        }
    }
    found
}

/// All lines.
pub(crate) fn render(findings: &[Finding]) -> String {
    findings.iter().map(Finding::line).collect()
}

/// How many of them must be mended.
pub(crate) fn failed(findings: &[Finding]) -> usize {
    let failed = findings.iter().filter(|found| found.grade == Grade::Fail);
    failed.count()
}

fn coordinator(lab: &Lab) -> Vec<Finding> {
    const WHAT: &str = "coordinator";
    if !lab.waiting_for.is_empty() {
        let found = format!(
            "it decides nothing, because it waits for {}",
            lab.waiting_for
        );
        return vec![Finding::fail(WHAT, found, "look at its log")];
    }
    if lab.broker_up == Some(false) {
        let found = "it decides, but is not connected to the agents' broker";
        let cure = "see whether the broker runs, and whether address, password and certificate are right: its log says which";
        return vec![Finding::fail(WHAT, found, cure)];
    }
    vec![Finding::ok(WHAT, "it decides, and its broker is connected")]
}

/// What could not be looked at.
fn unread(cluster: &ClusterFacts) -> Vec<Finding> {
    const RIGHTS: &str = "give your user the rights that the guide lists under homelabctl, or run it as a cluster admin";
    let mut found = Vec::new();
    if let Err(why) = &cluster.page {
        found.push(Finding::warn(
            "coordinator",
            format!("its page cannot be read, so broker, relays and clocks are not checked: {why}"),
            format!(
                "see whether it runs in namespace {}, and {RIGHTS}",
                cluster.system_namespace
            ),
        ));
    }
    let refused = [
        (cluster.nodes.as_ref().err(), "leftovers and unready Nodes"),
        (
            cluster.pods.as_ref().err(),
            "the autoscaler, and where coordinator and broker run,",
        ),
        (
            cluster.deployments.as_ref().err(),
            "an autoscaler without a running pod",
        ),
    ];
    for (why, what) in refused {
        if let Some(why) = why {
            let told = format!("{what} cannot be checked: {why}");
            found.push(Finding::warn("rights", told, RIGHTS));
        }
    }
    found
}

/// Names in a sentence; a large lab does not fill the line.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MOST: usize = 8;
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_at_checked(MOST) {
        Some((shown, more)) if !more.is_empty() => {
            format!("{} and {} more", shown.join(", "), more.len())
        }
        Some(_) | None => names.join(", "),
    }
}

#[cfg(test)]
mod tests;
