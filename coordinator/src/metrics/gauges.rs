//! Gauges that are read from the latest view at scrape time.
//! Holds: names here have no prefix; the registry adds it.

use std::fmt;
use std::sync::Arc;

use coordinator_core::{DrainState, GroupView, PhaseName, View};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

/// Everything that the view knows as a number.
pub(super) struct Gauges {
    pub(super) view: watch::Receiver<Arc<View>>,
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gauges")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let view = Arc::clone(&self.view.borrow());
        let one = |up: bool| i64::from(up);
        let live = view.agents.values().filter(|agent| agent.live).count();
        for (name, help, value) in [
            (
                "serving",
                "1 while calls of the cluster-autoscaler are answered",
                one(view.serving),
            ),
            (
                "broker_up",
                "1 while the MQTT broker is connected",
                one(view.broker_up),
            ),
            (
                "cluster_up",
                "1 while the cluster's API is connected",
                one(view.cluster_up),
            ),
            (
                "agents",
                "Agents that were heard of",
                count(view.agents.len()),
            ),
            (
                "agents_live",
                "Agents whose heartbeat was heard lately",
                count(live),
            ),
        ] {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        phases(&mut encoder, &view)?;
        drains(&mut encoder, &view)?;
        groups(&mut encoder, &view)
    }
}

fn phases(encoder: &mut DescriptorEncoder<'_>, view: &View) -> Result<(), fmt::Error> {
    let mut family =
        encoder.encode_descriptor("machines", "Machines by phase", None, MetricType::Gauge)?;
    for phase in PhaseName::ALL {
        let machines = view
            .machines
            .values()
            .filter(|machine| machine.phase == phase)
            .count();
        let labels = [("phase", phase.as_str())];
        ConstGauge::new(count(machines)).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn drains(encoder: &mut DescriptorEncoder<'_>, view: &View) -> Result<(), fmt::Error> {
    let (name, help) = (
        "machines_draining",
        "Machines that our own stops wait for, until their pods have left",
    );
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for state in DrainState::ALL {
        let machines = view.machines.values();
        let machines = machines.filter(|machine| machine.drain == Some(state));
        let labels = [("state", state.as_str())];
        ConstGauge::new(count(machines.count())).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

fn groups(encoder: &mut DescriptorEncoder<'_>, view: &View) -> Result<(), fmt::Error> {
    type Read = fn(&GroupView) -> i64;
    let gauges: [(&str, &str, Read); 5] = [
        (
            "group_target_machines",
            "Machines that are wanted",
            |group| group.target.into(),
        ),
        (
            "group_ready_machines",
            "Wanted machines that run",
            |group| group.ready.into(),
        ),
        ("group_min_machines", "Lower bound of the group", |group| {
            group.min_size.into()
        }),
        (
            "group_max_machines",
            "Upper bound told to the cluster-autoscaler",
            |group| group.max_size.into(),
        ),
        (
            "group_frozen",
            "1 while nothing is decided because many machines fell silent at once",
            |group| group.frozen.into(),
        ),
    ];
    for (name, help, read) in gauges {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (id, group) in &view.groups {
            let labels = [("group", id.as_str())];
            ConstGauge::new(read(group)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
