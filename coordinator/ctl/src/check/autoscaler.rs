//! The cluster-autoscaler's flags against this lab.
//!
//! In: its pods or Deployments, core Nodes, machines with their timeouts and past boots. Out: findings.
//! Holds: where no autoscaler is seen, its own defaults are taken, and that is said.

use std::time::Duration;

use coordinator_crds::{Node, duration, group::Mode, node::PowerPolicy};
use k8s_openapi::api::core::v1::Pod;

use super::{ClusterFacts, Finding, flags::Flags, listed};
use crate::lab::Lab;

mod unready;

const WHAT: &str = "autoscaler";
const PROVISION: &str = "max-node-provision-time";
/// What it does without that flag.
const PROVISION_DEFAULT: Duration = Duration::from_secs(900);
/// Of its boot timeout, what a machine's slowest boot may take before people should know.
const BOOT_SHARE: f64 = 0.8;

/// An autoscaler that was found.
pub(super) struct Found {
    /// `namespace/name`.
    pub(super) name: String,
    flags: Flags,
}

impl Found {
    /// The autoscaler that runs in a pod.
    pub(super) fn running(pod: &Pod) -> Option<Self> {
        let phase = pod.status.as_ref()?.phase.as_deref();
        let runs = phase == Some("Running") && pod.metadata.deletion_timestamp.is_none();
        let flags = runs.then(|| Flags::of(pod.spec.as_ref()?))??;
        let name = full_name(&pod.metadata);
        Some(Self { name, flags })
    }
}

/// In a cluster.
pub(super) fn judge(lab: &Lab, cluster: &ClusterFacts) -> Vec<Finding> {
    let pods = running(cluster);
    let (found, mut findings) = match (pods.is_empty(), planned(cluster)) {
        (false, _) => (pods, Vec::new()),
        (true, planned) if !planned.is_empty() => {
            let names = listed(planned.iter().map(|one| one.name.as_str()));
            let idle = Finding::fail(
                WHAT,
                format!("Deployment {names} has no running pod"),
                "`kubectl describe` it and its pods",
            );
            (planned, vec![idle])
        }
        (true, _) => return absent(lab, cluster),
    };
    for one in &found {
        findings.extend(provider(one));
        findings.extend(provision(lab, Some(one)));
        if let Ok(nodes) = &cluster.nodes {
            findings.extend(unready::judge(lab, nodes, one));
        }
    }
    if findings.is_empty() {
        let names = listed(found.iter().map(|one| one.name.as_str()));
        findings.push(Finding::ok(
            WHAT,
            format!("the flags of {names} fit this lab"),
        ));
    }
    findings.extend(slow_boots(lab));
    findings
}

/// Beside a coordinator without Kubernetes nobody can see its flags.
pub(super) fn beside(lab: &Lab) -> Vec<Finding> {
    let mut findings = provision(lab, None);
    findings.extend(slow_boots(lab));
    if findings.is_empty() {
        findings.push(Finding::ok(
            WHAT,
            "its flags cannot be seen from here; its defaults leave every machine the time to boot",
        ));
    }
    findings
}

fn absent(lab: &Lab, cluster: &ClusterFacts) -> Vec<Finding> {
    let mut findings = provision(lab, None);
    findings.extend(slow_boots(lab));
    if cluster.pods.is_err() {
        return findings;
    }
    let caller = cluster
        .page
        .as_ref()
        .ok()
        .and_then(|page| page.autoscaler_user_agent.as_ref());
    findings.push(match caller {
        Some(caller) => Finding::warn(
            WHAT,
            format!("{caller} calls us, but no pod of a cluster-autoscaler is seen, so its flags are not checked"),
            format!("if it runs outside of the cluster, see yourself that --{PROVISION} is above every boot timeout"),
        ),
        None => Finding::warn(
            WHAT,
            "no pod or Deployment of a cluster-autoscaler is seen, and none has called",
            "install it as the guide says, with --cloud-provider=externalgrpc; without one, groups of mode Manual work",
        ),
    });
    findings
}

fn running(cluster: &ClusterFacts) -> Vec<Found> {
    let pods = cluster.pods.as_deref().unwrap_or_default();
    pods.iter().filter_map(Found::running).collect()
}

fn planned(cluster: &ClusterFacts) -> Vec<Found> {
    let deployments = cluster.deployments.as_deref().unwrap_or_default().iter();
    let found = deployments.filter_map(|deployment| {
        let flags = Flags::of(deployment.spec.template.spec.as_ref()?)?;
        let name = full_name(&deployment.metadata);
        Some(Found { name, flags })
    });
    found.collect()
}

fn full_name(metadata: &kube::core::ObjectMeta) -> String {
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    format!(
        "{namespace}/{}",
        metadata.name.as_deref().unwrap_or_default()
    )
}

fn provider(one: &Found) -> Vec<Finding> {
    let mut findings = Vec::new();
    let name = &one.name;
    match one
        .flags
        .text("cloud-provider")
        .or_default("gce".to_owned())
    {
        Ok(provider) if provider == "externalgrpc" => {}
        Ok(provider) => findings.push(Finding::fail(
            WHAT,
            format!("{name} runs with --cloud-provider={provider}, so it never asks us"),
            "start it with --cloud-provider=externalgrpc",
        )),
        Err(unreadable) => findings.push(unclear(name, &unreadable)),
    }
    let config = one.flags.text("cloud-config").or_default(String::new());
    if config.is_ok_and(|file| file.is_empty()) {
        findings.push(Finding::fail(
            WHAT,
            format!("{name} has no --cloud-config, so it does not know where we are"),
            "give it the file that `homelabctl autoscaler config` prints",
        ));
    }
    findings
}

fn unclear(name: &str, flag: &str) -> Finding {
    Finding::warn(
        WHAT,
        format!("{name} has {flag}, which cannot be read from its pod"),
        "see yourself that it fits",
    )
}

/// Machines that may boot for longer than they are waited for.
fn provision(lab: &Lab, one: Option<&Found>) -> Vec<Finding> {
    let said = one.map_or(Ok(PROVISION_DEFAULT), |one| {
        one.flags.duration(PROVISION).or_default(PROVISION_DEFAULT)
    });
    let (limit, mut findings) = match (said, one) {
        (Ok(limit), _) => (limit, Vec::new()),
        (Err(flag), one) => {
            let name = one.map_or("", |one| one.name.as_str());
            (PROVISION_DEFAULT, vec![unclear(name, &flag)])
        }
    };
    for machine in lab
        .nodes
        .iter()
        .filter(|machine| is_autoscaled(lab, machine))
    {
        let own = lab
            .group_of(machine)
            .and_then(|group| group.spec.scale_down.as_ref()?.provision_time());
        let (limit, whose) = match (own, one) {
            (Some(own), _) => (own, "maxNodeProvisionDuration of its Group".to_owned()),
            (None, Some(one)) => (limit, format!("--{PROVISION} of {}", one.name)),
            (None, None) => (limit, format!("the default of --{PROVISION}")),
        };
        let boot = machine.spec.timeouts.boot;
        if boot >= limit {
            let name = machine.metadata.name.as_deref().unwrap_or_default();
            findings.push(Finding::fail(
                WHAT,
                format!(
                    "{name} may take {} to boot, but {whose} is {}: it would be given up while it boots",
                    duration::text(boot),
                    duration::text(limit)
                ),
                format!("raise that above {0}, or write a shorter timeouts.boot for {name}", duration::text(boot)),
            ));
        }
    }
    findings
}

/// Machines that were nearly too slow.
fn slow_boots(lab: &Lab) -> Vec<Finding> {
    let slow = lab.nodes.iter().filter_map(|machine| {
        let wake = machine.status.as_ref()?.wake.as_ref()?;
        let slowest = *wake.boot_seconds.iter().max()?;
        let allowed = machine.spec.timeouts.boot;
        let name = machine.metadata.name.as_deref()?;
        (f64::from(slowest) >= allowed.as_secs_f64() * BOOT_SHARE).then(|| {
            Finding::warn(
                "boots",
                format!(
                    "{name} took {slowest} s to boot, of {} allowed",
                    duration::text(allowed)
                ),
                format!(
                    "write a longer timeouts.boot for {name}, below the autoscaler's {PROVISION}"
                ),
            )
        })
    });
    slow.collect()
}

fn is_autoscaled(lab: &Lab, machine: &Node) -> bool {
    machine.spec.power == PowerPolicy::Auto
        && lab
            .group_of(machine)
            .is_some_and(|group| group.spec.mode == Mode::Autoscaler)
}
