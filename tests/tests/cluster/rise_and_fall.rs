//! From nothing to five machines for five different pods and back to nothing, with something that goes wrong in between.
//! Holds: what was asked for is read off the wire, so it is the same measure for the model and for a real autoscaler; no machine is
//! woken or stopped more often than asked for, and none more than once. Where a real autoscaler is named, both play each story, and
//! their calls are compared: the kinds, the order of what changes sizes, and how much that is, but for what the trouble leaves open.

use std::{collections::BTreeSet, ops::RangeInclusive};

use super::*;
use tests::{
    ca_model::{Call, Rpc},
    cluster_stage::{LAB, provider_id},
    hollow::Faults,
};

const MACHINES: &[&str] = &["m1", "m2", "m3", "m4", "m5", "m6"];
/// Woken before the others, see [`awake_to_asleep`].
const FIRST: &str = "m1";
/// Each needs a machine of its own: no two of them fit into 4 CPUs and 8 GiB together, and none beside
/// what runs already.
const PODS: [(&str, &str, &str, &str); 5] = [
    ("small", "2100m", "2Gi", "{}"),
    ("fast", "3", "64Mi", r#"{"kubernetes.io/arch": "amd64"}"#),
    ("whole", "4", "1Gi", r#"{"disk": "ssd"}"#),
    ("fat", "1100m", "7Gi", r#"{"kubernetes.io/os": "linux"}"#),
    (
        "odd",
        "3500m",
        "5Gi",
        r#"{"disk": "ssd", "kubernetes.io/os": "linux"}"#,
    ),
];

/// What becomes of the Nodes of machines that are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Delete,
    Retain,
}

/// What goes wrong while machines boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The first machine gets power and never comes up.
    BrokenMachine,
    AutoscalerKilled,
    CoordinatorKilled,
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_machine_among_five_is_replaced_by_the_sixth() -> Result<()> {
    Rise::new(Policy::Delete, Trouble::BrokenMachine)
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_machine_among_five_retained_ones_is_replaced_by_the_sixth() -> Result<()> {
    Rise::new(Policy::Retain, Trouble::BrokenMachine)
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaler_killed_while_five_boot_gets_what_it_asks_for_and_no_more() -> Result<()> {
    Rise::new(Policy::Delete, Trouble::AutoscalerKilled)
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn autoscaler_killed_while_five_retained_ones_boot_gets_what_it_asks_for_and_no_more()
-> Result<()> {
    Rise::new(Policy::Retain, Trouble::AutoscalerKilled)
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator_killed_while_five_boot_wakes_none_twice() -> Result<()> {
    Rise::new(Policy::Delete, Trouble::CoordinatorKilled)
        .run()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn coordinator_killed_while_five_retained_ones_boot_wakes_none_twice() -> Result<()> {
    Rise::new(Policy::Retain, Trouble::CoordinatorKilled)
        .run()
        .await
}

/// One story.
#[derive(Debug, Clone, Copy)]
struct Rise {
    policy: Policy,
    trouble: Trouble,
}

impl Rise {
    const fn new(policy: Policy, trouble: Trouble) -> Self {
        Self { policy, trouble }
    }

    #[expect(clippy::print_stderr, reason = "people must know which one was tested")]
    async fn run(self) -> Result<()> {
        let model = self.played_by(Who::Model).await?;
        let model = model.context("the model is always there")?;
        eprintln!("{model:?}");
        let Some(real) = self.played_by(Who::Real).await? else {
            eprintln!("no real autoscaler is named: the model alone has played");
            return Ok(());
        };
        eprintln!("{real:?}");
        self.compare(&real, &model)
    }

    /// Machines that may be asked for beside those that the pods need.
    const fn again(self) -> RangeInclusive<usize> {
        match self.trouble {
            Trouble::BrokenMachine => 1..=1,
            // It has forgotten what boots; there is one machine more that it can ask for.
            Trouble::AutoscalerKilled => 0..=1,
            Trouble::CoordinatorKilled => 0..=0,
        }
    }

    async fn played_by(self, who: Who) -> Result<Option<Log>> {
        let mut stage = ClusterStage::start(self.plan(), PLANES.shared().await?).await?;
        let tap = Wiretap::to(stage.channel()?).await?;
        if self.policy == Policy::Retain {
            awake_to_asleep(&stage).await?;
        }
        let Some(autoscaler) = who.starts(&stage, &tap)? else {
            return Ok(None);
        };
        if self.policy == Policy::Retain {
            for name in MACHINES {
                stage.until_phase(name, "Sleeping").await?;
            }
        }
        let before = Sums::of(&stage, &tap);
        self.prepare(&stage);
        for (name, cpu, memory, labels) in PODS {
            let requests = json!({"cpu": cpu, "memory": memory});
            let labels = serde_json::from_str(labels)?;
            stage.create_picky_pod(name, requests, labels).await?;
        }
        let mut autoscaler = self.interfere(&mut stage, (who, autoscaler), &tap).await?;
        let mut hosts = BTreeSet::new();
        for (name, ..) in PODS {
            hosts.insert(stage.until_pod_runs(name).await?);
        }
        ensure!(hosts.len() == PODS.len(), "{hosts:?}");
        for (name, ..) in PODS {
            stage.delete_pod(name).await?;
        }
        self.until_asleep(&stage).await?;
        autoscaler.until_loops(3).await?;
        ensure!(stage.caller()?.look("five").await? == 0);
        self.judge(&stage, &tap, &before)?;
        Ok(Some(Log::of(&tap.calls().all())))
    }

    fn plan(self) -> Plan {
        let mut five = group("five", Woken::Packet, MACHINES);
        five.spec["template"]["labels"] = json!({"disk": "ssd"});
        // Only the one that never comes up is given up soon.
        let impatient = json!({"timeouts": {"boot": "20s"}});
        if self.trouble == Trouble::BrokenMachine {
            five.otherwise.insert(FIRST, impatient);
        }
        let mut plan = Plan::quick(Vec::new());
        if self.policy == Policy::Retain {
            five = retained(five);
            // They are found running, and are the autoscaler's to stop all the same.
            five.spec["requireProof"] = false.into();
            plan.starts = Power::On;
        }
        plan.groups = vec![five];
        plan.labels = BTreeMap::from([("disk".to_owned(), "ssd".to_owned())]);
        if self.trouble == Trouble::CoordinatorKilled {
            // A process that was killed holds the Lease until it runs out.
            plan.election = Election("10s", "8s", "500ms");
        }
        // Longer than anything is waited for: one train of packets is enough for each.
        plan.timing.push("wake_repeat=120s".to_owned());
        plan
    }

    fn prepare(self, stage: &ClusterStage) {
        for name in MACHINES {
            let broken = self.trouble == Trouble::BrokenMachine && *name == FIRST;
            stage.machines[*name].set_faults(Faults {
                never_boots: broken,
                // Time for something to go wrong meanwhile.
                boots_slower_by: Duration::from_secs(3),
                ..Faults::default()
            });
        }
    }

    /// Lets go wrong what is to go wrong, as soon as five machines have power: the last of them boots.
    async fn interfere(
        self,
        stage: &mut ClusterStage,
        (who, autoscaler): (Who, Autoscaler),
        tap: &Wiretap,
    ) -> Result<Autoscaler> {
        wait::until(LIMIT, "five machines to boot", async || {
            let power = MACHINES.iter().map(|name| stage.machines[*name].power());
            let powered = power.filter(|power| *power != Power::Off).count();
            ensure!(powered == PODS.len(), "{powered} have power");
            Ok(())
        })
        .await?;
        match self.trouble {
            Trouble::BrokenMachine => {
                let left_out = stage.until("it is left out", |state| {
                    !state["machines"][FIRST]["quarantinedUntil"].is_null()
                });
                left_out.await?;
            }
            Trouble::AutoscalerKilled => {
                drop(autoscaler);
                let next = who.starts(stage, tap)?;
                let mut next = next.context("it was there before")?;
                next.until_loops(1).await?;
                return Ok(next);
            }
            Trouble::CoordinatorKilled => {
                stage.kill_coordinator();
                stage.start_coordinator().await?;
            }
        }
        Ok(autoscaler)
    }

    async fn until_asleep(self, stage: &ClusterStage) -> Result<()> {
        for name in MACHINES {
            if self.trouble == Trouble::BrokenMachine && *name == FIRST {
                // It hangs: nobody can tell whether it is off.
                continue;
            }
            stage.machines[*name].until(Power::Off, LIMIT).await?;
            match self.policy {
                Policy::Delete => stage.until_no_node(name).await?,
                Policy::Retain => {
                    let suspended =
                        |node: &Node| condition(node, "Suspended").as_deref() == Some("True");
                    stage
                        .until_node(name, "a suspended Node", suspended)
                        .await?;
                }
            }
        }
        Ok(())
    }

    /// Compares what happened to the machines with what was asked for.
    fn judge(self, stage: &ClusterStage, tap: &Wiretap, before: &Sums) -> Result<()> {
        let members = |_: &str| MACHINES.iter().map(|name| (*name).to_owned()).collect();
        let machine_of = |id: &str| {
            let mut names = MACHINES.iter();
            let found = names.find(|name| provider_id(name) == id);
            found.map(|name| (*name).to_owned())
        };
        for ask in tap.calls().asks(machine_of, members) {
            stage.recorder.ask_at(ask);
        }
        let unasked = stage.recorder.unasked_effects(GRACE);
        ensure!(unasked.is_empty(), "unasked: {unasked:?}");
        let now = Sums::of(stage, tap);
        let agreed = now.agreed - before.agreed;
        let undecided = now.undecided - before.undecided;
        let broken = usize::from(self.trouble == Trouble::BrokenMachine);
        let mut sums = (0, 0);
        for name in MACHINES {
            let (wakes, stops) = now.of_machine(before, name);
            ensure!(wakes <= 1 && stops <= 1, "{name}: {wakes} {stops}");
            sums = (sums.0 + wakes, sums.1 + stops);
        }
        let (woken, stopped) = sums;
        ensure!(
            (agreed..=agreed + undecided).contains(&woken) && stopped + broken == woken,
            "{sums:?}, {agreed} agreed to, {undecided} more asked for"
        );
        let more = woken.checked_sub(PODS.len());
        ensure!(
            more.is_some_and(|more| self.again().contains(&more)),
            "{woken} woken"
        );
        Ok(())
    }

    /// Whether two have made the same calls.
    fn compare(self, real: &Log, model: &Log) -> Result<()> {
        ensure!(real.kinds == model.kinds, "{real:?} beside {model:?}");
        ensure!(real.changes == model.changes, "{real:?} beside {model:?}");
        let again = self.again();
        let open = again.end() - again.start();
        for (real, model) in [(real.added, model.added), (real.removed, model.removed)] {
            ensure!(real.abs_diff(model) <= open, "{real} beside {model}");
        }
        Ok(())
    }
}

/// What is compared of a story's calls.
#[derive(Debug, PartialEq, Eq)]
struct Log {
    kinds: BTreeSet<Rpc>,
    /// Kinds of what was agreed to and changes a size, in order, those of one kind in a row taken together.
    changes: Vec<Rpc>,
    /// Machines that the provider has agreed to wake.
    added: usize,
    /// Machines that it has agreed to take back.
    removed: usize,
}

impl Log {
    fn of(calls: &[Call]) -> Self {
        let agreed = |call: &&Call| call.is_ok() && call.rpc.changes_size();
        let changed = || calls.iter().filter(agreed);
        let mut changes: Vec<Rpc> = changed().map(|call| call.rpc).collect();
        changes.dedup();
        Self {
            kinds: calls.iter().map(|call| call.rpc).collect(),
            changes,
            added: changed()
                .map(|c| usize::try_from(c.delta).unwrap_or(0))
                .sum(),
            removed: changed().map(|call| call.nodes.len()).sum(),
        }
    }
}

/// Puts the machine that is to be woken first to sleep before the autoscaler does so with the others: longest off goes first.
async fn awake_to_asleep(stage: &ClusterStage) -> Result<()> {
    let caller = stage.caller()?;
    for name in MACHINES {
        stage.until_phase(name, "Running").await?;
        wait::until(LIMIT, "the autoscaler may have it", async || {
            let group = caller.group_of(name).await?;
            ensure!(group == format!("{LAB}/five"), "{group:?}");
            Ok(())
        })
        .await?;
    }
    stage.recorder.ask(FIRST, Wish::Off);
    caller.delete("five", FIRST).await?;
    stage.until_phase(FIRST, "Sleeping").await
}

/// What has happened so far.
#[derive(Debug)]
struct Sums {
    /// Machines asked for, as the provider has agreed to.
    agreed: usize,
    /// Machines asked for by calls that the provider may have carried out: their answers are not known.
    undecided: usize,
    /// Wakes and stops of each machine.
    moved: BTreeMap<String, (usize, usize)>,
}

impl Sums {
    fn of(stage: &ClusterStage, tap: &Wiretap) -> Self {
        let grown = tap.calls().of(Rpc::NodeGroupIncreaseSize);
        let sum = |fits: fn(&Call) -> bool| -> usize {
            let fitting = grown.iter().filter(|call| fits(call));
            let deltas = fitting.map(|call| usize::try_from(call.delta).unwrap_or(0));
            deltas.sum()
        };
        let recorder = &stage.recorder;
        let moved = MACHINES.iter().map(|name| {
            let sums = (recorder.wakes(name), recorder.stops(name));
            ((*name).to_owned(), sums)
        });
        Self {
            agreed: sum(Call::is_ok),
            undecided: sum(Call::is_undecided),
            moved: moved.collect(),
        }
    }

    fn of_machine(&self, before: &Self, name: &str) -> (usize, usize) {
        let (now, then) = (self.moved[name], before.moved[name]);
        (now.0 - then.0, now.1 - then.1)
    }
}
