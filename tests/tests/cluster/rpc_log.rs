//! The calls of the model and of a real cluster-autoscaler in the same story, written down on the wire and compared.
//!
//! The story: nothing to do; a pod that needs a machine; the pod runs; the pod is gone and so is the machine; nothing to do again.
//! Each of the two plays it against a coordinator of its own, in an emptied cluster.
//!
//! Compared are:
//! - how often each RPC is sent in one loop while nothing changes (the middle of several loops), with the tolerance of [`PINNED`];
//! - in which order a loop makes its calls then, exactly, runs of one kind taken together;
//! - the same of the loop that grows the group, with [`GROWING`];
//! - which size changes are asked for in the whole story, exactly, and what is asked once and kept for ever.
//!
//! The order leaves two out. `NodeGroupForNode` is asked at nearly every step, and its place depends on the order in which a
//! cluster lists its Nodes. `NodeGroupNodes` comes from a refresher beside the loops, every two minutes, in the middle of any of
//! them. Where no real autoscaler is named, the model alone is held against the pinned values, and that is said.

use std::ops::RangeInclusive;

use super::*;
use tests::ca_model::{Call, Rpc};

/// Loops that are looked at while nothing changes.
const LOOPS: u64 = 5;

/// A time in which nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// One Node that belongs to nobody.
    Idle,
    /// One more that is used.
    Running,
    /// As at first, but the list of instances is older than the machine's end.
    Over,
}

type Counts = &'static [(Rpc, RangeInclusive<usize>)];

/// How often a loop sends each RPC, at least and at most; those that are not named it does not send. The width is the tolerance, and
/// what is behind each number stands in `ca_model/tests/order.rs`.
const PINNED: [(Phase, Counts); 3] = [
    (
        Phase::Idle,
        &[
            (Rpc::Refresh, 1..=1),
            (Rpc::NodeGroups, 1..=1),
            (Rpc::NodeGroupTemplateNodeInfo, 1..=1),
            (Rpc::NodeGroupTargetSize, 2..=2),
            (Rpc::NodeGroupForNode, 6..=6),
        ],
    ),
    (
        Phase::Running,
        &[
            (Rpc::Refresh, 1..=1),
            (Rpc::NodeGroups, 1..=1),
            // None once the machine's Node has been ready for a minute.
            (Rpc::NodeGroupTemplateNodeInfo, 0..=1),
            (Rpc::NodeGroupTargetSize, 3..=3),
            // Of the Node that belongs to nobody once more, to add up resources; of the machine's once.
            (Rpc::NodeGroupForNode, 8..=8),
            (Rpc::NodeGroupGetOptions, 4..=4),
        ],
    ),
    (
        Phase::Over,
        &[
            (Rpc::Refresh, 1..=1),
            (Rpc::NodeGroups, 1..=1),
            (Rpc::NodeGroupTemplateNodeInfo, 0..=1),
            (Rpc::NodeGroupTargetSize, 2..=2),
            // The machine is still on the old list, and asked about twice, until that is two minutes old.
            (Rpc::NodeGroupForNode, 6..=8),
        ],
    ),
];

/// The calls of the loop that grows the group, in order, up to the next Refresh.
const GROWING: [Rpc; 12] = [
    Rpc::Refresh,
    Rpc::NodeGroups,
    Rpc::NodeGroupTemplateNodeInfo,
    Rpc::NodeGroupTargetSize,
    Rpc::NodeGroupGetOptions,
    Rpc::NodeGroupTargetSize,
    Rpc::NodeGroupGetOptions,
    Rpc::NodeGroupTargetSize,
    Rpc::GetAvailableGpuTypes,
    Rpc::NodeGroupIncreaseSize,
    Rpc::NodeGroupGetOptions,
    Rpc::NodeGroupTargetSize,
];

/// What is kept of a story.
#[derive(Debug)]
struct Story {
    who: Who,
    quiet: BTreeMap<Phase, Quiet>,
    growing: Vec<Rpc>,
    /// Kind, delta, number of Nodes.
    changes: Vec<(Rpc, i32, usize)>,
    once: BTreeMap<Rpc, usize>,
}

/// Loops in which nothing changes.
#[derive(Debug, PartialEq, Eq)]
struct Quiet {
    counts: BTreeMap<Rpc, usize>,
    order: Vec<Rpc>,
}

#[tokio::test(flavor = "multi_thread")]
async fn model_and_real_autoscaler_make_the_same_calls() -> Result<()> {
    let model = played_by(Who::Model).await?;
    let model = model.expect("the model is always there");
    eprintln!("{model:#?}");
    model.fits_the_pinned()?;
    let Some(real) = played_by(Who::Real).await? else {
        eprintln!("no real autoscaler is named: the model was held against pinned values only");
        return Ok(());
    };
    eprintln!("{real:#?}");
    real.fits_the_pinned()?;
    real.fits(&model)
}

async fn played_by(who: Who) -> Result<Option<Story>> {
    let plan = Plan::quick(vec![group("packet", Woken::Packet, &["k1", "k2"])]);
    let stage = ClusterStage::start(plan, PLANES.shared().await?).await?;
    let tap = Wiretap::to(stage.channel()?).await?;
    let Some(mut autoscaler) = who.starts(&stage, &tap)? else {
        return Ok(None);
    };
    let mut quiet = BTreeMap::new();
    autoscaler.until_loops(2).await?;
    quiet.insert(Phase::Idle, quietly(&mut autoscaler, &tap).await?);
    stage.expect_one_of("packet");
    stage.create_pod("web", "3").await?;
    ensure!(stage.until_pod_runs("web").await? == "k1");
    stage.until_phase("k1", "Running").await?;
    // The pause after a growth is over by then.
    autoscaler.until_loops(LOOPS).await?;
    quiet.insert(Phase::Running, quietly(&mut autoscaler, &tap).await?);
    stage.recorder.ask("k1", Wish::Off);
    stage.delete_pod("web").await?;
    stage.machines["k1"].until(Power::Off, LIMIT).await?;
    stage.until_no_node("k1").await?;
    stage.until_phase("k1", "Sleeping").await?;
    autoscaler.until_loops(2).await?;
    quiet.insert(Phase::Over, quietly(&mut autoscaler, &tap).await?);
    effects_are(&stage, "k1", 1, 1)?;
    Ok(Some(Story::of(who, quiet, &tap.calls().all())))
}

/// The middle of some loops that begin now.
async fn quietly(autoscaler: &mut Autoscaler, tap: &Wiretap) -> Result<Quiet> {
    let before = tap.calls().all().len();
    // One more, as the first begins before and the last ends later.
    autoscaler.until_loops(LOOPS + 2).await?;
    let calls = tap.calls().all().split_off(before);
    let loops = loops(&calls);
    ensure!(loops.len() >= 3, "{} loops", loops.len());
    let mut counts = BTreeMap::new();
    for rpc in loops.iter().flatten() {
        counts.entry(*rpc).or_insert(0);
    }
    for (rpc, count) in &mut counts {
        let sent = loops
            .iter()
            .map(|calls| calls.iter().filter(|one| *one == rpc));
        let mut sent: Vec<usize> = sent.map(Iterator::count).collect();
        sent.sort_unstable();
        *count = sent[sent.len() / 2];
    }
    counts.retain(|_, count| *count > 0);
    Ok(Quiet {
        counts,
        order: in_runs(&loops[loops.len() / 2]),
    })
}

/// The calls between one Refresh and the next; what comes before the first and after the last is left out.
fn loops(calls: &[Call]) -> Vec<Vec<Rpc>> {
    let mut loops: Vec<Vec<Rpc>> = Vec::new();
    for call in calls {
        if call.rpc == Rpc::Refresh {
            loops.push(Vec::new());
        }
        if let Some(last) = loops.last_mut() {
            last.push(call.rpc);
        }
    }
    loops.pop();
    loops
}

/// The kinds in order, those of one kind in a row taken together, without the two whose place is open.
fn in_runs(calls: &[Rpc]) -> Vec<Rpc> {
    let mut runs = calls.to_vec();
    runs.retain(|rpc| !matches!(rpc, Rpc::NodeGroupForNode | Rpc::NodeGroupNodes));
    runs.dedup();
    runs
}

impl Story {
    fn of(who: Who, quiet: BTreeMap<Phase, Quiet>, calls: &[Call]) -> Self {
        let grows = |calls: &&Vec<Rpc>| calls.contains(&Rpc::NodeGroupIncreaseSize);
        let growing = loops(calls);
        let growing = growing.iter().find(grows).map(|calls| in_runs(calls));
        let changes = calls.iter().filter(|call| call.rpc.changes_size());
        let once = [Rpc::GpuLabel, Rpc::GetAvailableGpuTypes].map(|rpc| {
            let sent = calls.iter().filter(|call| call.rpc == rpc);
            (rpc, sent.count())
        });
        Self {
            who,
            quiet,
            growing: growing.unwrap_or_default(),
            changes: changes
                .map(|call| (call.rpc, call.delta, call.nodes.len()))
                .collect(),
            once: once.into(),
        }
    }

    fn fits_the_pinned(&self) -> Result<()> {
        let who = self.who;
        for (phase, pinned) in PINNED {
            let mut seen = self.quiet[&phase].counts.clone();
            for (rpc, range) in pinned {
                let count = seen.remove(rpc).unwrap_or_default();
                let fits = range.contains(&count);
                ensure!(fits, "{who:?}, {phase:?}: {count} of {rpc:?} in one loop");
            }
            ensure!(seen.is_empty(), "{who:?}, {phase:?}: {seen:?} in one loop");
        }
        ensure!(self.growing == GROWING, "{who:?}: {:?}", self.growing);
        let changes = [
            (Rpc::NodeGroupIncreaseSize, 1, 0),
            (Rpc::NodeGroupDeleteNodes, 0, 1),
        ];
        ensure!(self.changes == changes, "{who:?}: {:?}", self.changes);
        let once = self.once.values().all(|count| *count == 1);
        ensure!(once, "{who:?}: {:?}", self.once);
        Ok(())
    }

    fn fits(&self, other: &Self) -> Result<()> {
        for (phase, quiet) in &self.quiet {
            let beside = &other.quiet[phase];
            // The template may have become known in one of them and not in the other.
            let order = |quiet: &Quiet| {
                let mut order = quiet.order.clone();
                order.retain(|rpc| *rpc != Rpc::NodeGroupTemplateNodeInfo);
                order
            };
            let (seen, beside) = (order(quiet), order(beside));
            ensure!(seen == beside, "{phase:?}: {seen:?} beside {beside:?}");
        }
        ensure!(self.growing == other.growing);
        ensure!(self.changes == other.changes);
        Ok(())
    }
}
