//! Every metric of the coordinator: counters that tasks raise, gauges that are read from the view at scrape time.
//! In: calls of the methods here; the latest [`View`]. Out: OpenMetrics text.
//! Holds: labels are words of closed sets, or names of groups; never free text, never a machine on a histogram.
//! Not here: serving them (`admin`).

use std::sync::Arc;
use std::time::Duration;

use coordinator_core::View;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::sync::watch;

mod gauges;

use gauges::Gauges;

/// The prefix of every name.
const PREFIX: &str = "homelab_autoscaler";

/// Counters and histograms; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    rpcs: Family<RpcLabels, Counter>,
    rpc_seconds: Family<MethodLabel, Histogram, fn() -> Histogram>,
    commands: Family<CommandLabels, Counter>,
    reports: Family<KindLabel, Counter>,
    unreadable: Family<KindLabel, Counter>,
    refused: Family<CodeLabel, Counter>,
    api_writes: Family<KindLabel, Counter>,
    turned_away: Family<ReasonLabel, Counter>,
    certificate_ends: Family<CertificateLabel, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    method: &'static str,
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabel {
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CommandLabels {
    verb: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CertificateLabel {
    certificate: &'static str,
}

/// What became of a command on its way to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// The broker has it.
    Delivered,
    /// The broker knows of nobody who listens.
    NoSubscribers,
    /// The broker refused it.
    Refused,
    /// Not acknowledged: it may have arrived.
    Lost,
    /// Not sent, because there was no connection to the broker.
    NoConnection,
    /// Not sent, because this process does not lead any more.
    NoMandate,
    /// It could not be expressed in the protocol.
    Unsayable,
}

impl Sending {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::NoSubscribers => "no_subscribers",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::NoConnection => "no_connection",
            Self::NoMandate => "no_mandate",
            Self::Unsayable => "unsayable",
        }
    }
}

/// What a write to the Kubernetes API was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiWrite {
    /// A Group's status.
    GroupStatus,
    /// A machine's status.
    MachineStatus,
    /// A machine's finalizer or another part of its metadata.
    MachineMetadata,
    /// A core Node or its status.
    CoreNode,
    /// A pod that was asked to leave.
    Eviction,
    /// An Event.
    Event,
    /// The leader's Lease.
    Lease,
    /// The Secret with the coordinator's key.
    Secret,
}

impl ApiWrite {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GroupStatus => "group_status",
            Self::MachineStatus => "machine_status",
            Self::MachineMetadata => "machine_metadata",
            Self::CoreNode => "core_node",
            Self::Eviction => "eviction",
            Self::Event => "event",
            Self::Lease => "lease",
            Self::Secret => "secret",
        }
    }
}

/// Why somebody was turned away from the gRPC port before any call was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnedAway {
    /// No handshake, or not in time.
    Handshake,
    /// Too many connections.
    Connections,
    /// Too many calls.
    Calls,
}

impl TurnedAway {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Connections => "connections",
            Self::Calls => "calls",
        }
    }
}

/// A certificate of the gRPC service that ends some day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// The server's chain: the first end in it.
    Server,
    /// The authorities of clients: the last end among them.
    ClientCa,
}

impl Certificate {
    /// The word in labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::ClientCa => "client_ca",
        }
    }
}

impl Metrics {
    /// Registers everything, with gauges read from the latest view.
    #[must_use]
    pub fn register(registry: &mut Registry, view: watch::Receiver<Arc<View>>) -> Self {
        let registry = registry.sub_registry_with_prefix(PREFIX);
        let metrics = Self {
            rpcs: Family::default(),
            rpc_seconds: Family::new_with_constructor(rpc_histogram),
            commands: Family::default(),
            reports: Family::default(),
            unreadable: Family::default(),
            refused: Family::default(),
            api_writes: Family::default(),
            turned_away: Family::default(),
            certificate_ends: Family::default(),
        };
        registry.register(
            "grpc_requests",
            "Calls of the cluster-autoscaler by outcome",
            metrics.rpcs.clone(),
        );
        registry.register(
            "grpc_request_duration_seconds",
            "Time until a call of the cluster-autoscaler was answered",
            metrics.rpc_seconds.clone(),
        );
        registry.register(
            "commands",
            "Commands signed for agents, by what became of them",
            metrics.commands.clone(),
        );
        registry.register(
            "reports",
            "Messages of agents that were understood",
            metrics.reports.clone(),
        );
        registry.register(
            "reports_unreadable",
            "Messages of agents that could not be read or had no place",
            metrics.unreadable.clone(),
        );
        registry.register(
            "commands_refused",
            "Commands that an agent refused, failed or gave up, by its code",
            metrics.refused.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the Kubernetes API",
            metrics.api_writes.clone(),
        );
        registry.register(
            "grpc_turned_away",
            "Connections and calls turned away from the gRPC port before they were looked at",
            metrics.turned_away.clone(),
        );
        registry.register(
            "grpc_certificate_expiry_timestamp_seconds",
            "When a certificate of the gRPC service ends, in seconds since 1970",
            metrics.certificate_ends.clone(),
        );
        registry.register_collector(Box::new(Gauges { view }));
        metrics
    }

    /// A set that nobody scrapes, for tests.
    #[must_use]
    pub fn unregistered() -> Self {
        let (_, view) = watch::channel(Arc::new(View::default()));
        Self::register(&mut Registry::default(), view)
    }

    /// A call was answered. `method` and `code` are words of the gRPC service.
    pub fn rpc(&self, method: &'static str, code: &'static str) {
        self.rpcs.get_or_create(&RpcLabels { method, code }).inc();
    }

    /// The answer to a call that was let in took so long.
    pub fn rpc_took(&self, method: &'static str, took: Duration) {
        self.rpc_seconds
            .get_or_create(&MethodLabel { method })
            .observe(took.as_secs_f64());
    }

    /// A command was handed to the broker, or could not be.
    pub fn command(&self, verb: &'static str, outcome: Sending) {
        let outcome = outcome.as_str();
        self.commands
            .get_or_create(&CommandLabels { verb, outcome })
            .inc();
    }

    /// A message of an agent was understood; `kind` is the last level of its topic.
    pub fn report(&self, kind: &'static str) {
        self.reports.get_or_create(&KindLabel { kind }).inc();
    }

    /// A message could not be read; `kind` is the last level of its topic, or `topic`.
    pub fn unreadable(&self, kind: &'static str) {
        self.unreadable.get_or_create(&KindLabel { kind }).inc();
    }

    /// An agent did not carry a command out; `code` is a word of the protocol.
    pub fn refused(&self, code: &'static str) {
        self.refused.get_or_create(&CodeLabel { code }).inc();
    }

    /// Somebody was turned away from the gRPC port.
    pub fn turned_away(&self, reason: TurnedAway) {
        let reason = reason.as_str();
        self.turned_away
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// A certificate of the gRPC service ends then, in seconds since 1970.
    pub fn certificate_ends(&self, certificate: Certificate, end: i64) {
        let certificate = certificate.as_str();
        self.certificate_ends
            .get_or_create(&CertificateLabel { certificate })
            .set(end);
    }

    /// Something was written to the Kubernetes API.
    pub fn api_write(&self, kind: ApiWrite) {
        self.api_writes
            .get_or_create(&KindLabel {
                kind: kind.as_str(),
            })
            .inc();
    }
}

/// From 0.25 ms to 4 s: reads take well below a millisecond, the autoscaler gives up after 5 s.
fn rpc_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use coordinator_core::{AgentId, AgentView};

    #[test]
    fn a_scrape_shows_counters_and_the_latest_view() {
        let (publish, view) = watch::channel(Arc::new(View::default()));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, view);
        metrics.rpc("NodeGroups", "OK");
        metrics.rpc_took("NodeGroups", Duration::from_micros(300));
        metrics.command("wol", Sending::NoSubscribers);
        metrics.unreadable("hb");
        metrics.refused("stale_chal");
        metrics.api_write(ApiWrite::GroupStatus);
        metrics.turned_away(TurnedAway::Calls);
        metrics.certificate_ends(Certificate::Server, 1_893_542_400);
        let mut next = View {
            serving: true,
            ..View::default()
        };
        let agent = AgentView {
            key: None,
            live: true,
            info: None,
            boot_id: None,
        };
        next.agents.insert(AgentId::new("pi"), Arc::new(agent));
        publish.send_replace(Arc::new(next));

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();

        for line in [
            "homelab_autoscaler_grpc_requests_total{method=\"NodeGroups\",code=\"OK\"} 1",
            "homelab_autoscaler_grpc_request_duration_seconds_count{method=\"NodeGroups\"} 1",
            "homelab_autoscaler_commands_total{verb=\"wol\",outcome=\"no_subscribers\"} 1",
            "homelab_autoscaler_reports_unreadable_total{kind=\"hb\"} 1",
            "homelab_autoscaler_commands_refused_total{code=\"stale_chal\"} 1",
            "homelab_autoscaler_api_writes_total{kind=\"group_status\"} 1",
            "homelab_autoscaler_grpc_turned_away_total{reason=\"calls\"} 1",
            "homelab_autoscaler_grpc_certificate_expiry_timestamp_seconds{certificate=\"server\"} 1893542400",
            "homelab_autoscaler_serving 1",
            "homelab_autoscaler_agents_live 1",
            "homelab_autoscaler_machines{phase=\"Running\"} 0",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
