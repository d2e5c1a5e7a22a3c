//! Random histories against a tiny model of what must never happen.

use super::fixture::*;
use crate::{DriverFault, Input, Progress, Step, Stored, Ticket};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;
use proto_mqtt::report::{Code, Policy, ResultState};
use proto_mqtt::{CommandBody, Order, Text, Token, Ulid};

#[derive(Debug, Clone)]
enum Move {
    Send {
        order: u8,
        target: u8,
        token: Token,
        delay_ms: u32,
    },
    /// A captured message comes again.
    Replay(prop::sample::Index),
    /// The coordinator signs an old command again with the newest challenge.
    Resign(prop::sample::Index),
    Confirm(bool),
    Armed,
    Ended(bool),
    Pass(u64),
    Sleep(u64),
    Link(bool),
    Disk(bool),
    Maintenance(bool),
    Restart {
        reboot: bool,
    },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let token = (1u32..3, 0u64..12).prop_map(|(epoch, seq)| Token { epoch, seq });
    let one = prop_oneof![
        6 => (0u8..5, 0u8..3, token, prop_oneof![Just(0), Just(5000)])
            .prop_map(|(order, target, token, delay_ms)| Move::Send { order, target, token, delay_ms }),
        2 => any::<prop::sample::Index>().prop_map(Move::Replay),
        2 => any::<prop::sample::Index>().prop_map(Move::Resign),
        6 => prop::bool::weighted(0.9).prop_map(Move::Confirm),
        4 => Just(Move::Armed),
        4 => prop::bool::weighted(0.8).prop_map(Move::Ended),
        6 => prop_oneof![0u64..3000, 3000u64..40_000, Just(180_000)].prop_map(Move::Pass),
        1 => (0u64..60_000).prop_map(Move::Sleep),
        1 => any::<bool>().prop_map(Move::Link),
        1 => any::<bool>().prop_map(Move::Disk),
        1 => any::<bool>().prop_map(Move::Maintenance),
        1 => any::<bool>().prop_map(|reboot| Move::Restart { reboot }),
    ];
    prop::collection::vec(one, 1..50)
}

/// What the world has seen; it knows nothing of how the agent works.
#[derive(Default)]
struct Model {
    sent: Vec<CommandBody>,
    born_ms: BTreeMap<[u8; 16], u64>,
    tracked: BTreeMap<Ticket, Ulid>,
    confirmed: BTreeSet<Ulid>,
    first_accepted_ms: BTreeMap<Ulid, u64>,
    executed: BTreeSet<Ulid>,
    /// Orders that are remembered in memory only, so a new process may carry them out again.
    executed_here: BTreeSet<Ulid>,
    marks: BTreeMap<alloc::string::String, Token>,
    /// The epoch of the last barrier that was called done.
    floor: u32,
    boots: u32,
}

impl Model {
    fn look(&mut self, rig: &Rig, steps: &[Step]) {
        for step in steps {
            if let Step::Publish {
                report: crate::Report::Result(result),
                ticket,
            } = step
            {
                if result.state == ResultState::Accepted
                    && !self.first_accepted_ms.contains_key(&result.id)
                {
                    self.first_accepted_ms.insert(result.id, rig.now.boot_ms);
                    let epoch = result.token.epoch;
                    assert!(epoch >= self.floor, "{} is below the barrier", result.token);
                }
                let sent = self.sent.iter().find(|body| body.id == result.id);
                if result.state == ResultState::Done
                    && sent.is_some_and(|body| matches!(body.order, Order::Barrier))
                {
                    self.floor = self.floor.max(result.token.epoch);
                }
                if let (Some(ticket), ResultState::Accepted) = (ticket, result.state) {
                    self.tracked.insert(*ticket, result.id);
                }
            }
            if let Step::Carry(job) = step {
                self.judge(rig, job);
            }
        }
        self.born_ms.entry(rig.chal.0).or_insert(rig.now.boot_ms);
    }

    fn judge(&mut self, rig: &Rig, job: &crate::Job) {
        let destructive = job.order.verb().is_destructive();
        let first = if destructive {
            self.executed.insert(job.id)
        } else {
            self.executed_here.insert(job.id)
        };
        assert!(first, "{} was carried out twice", job.id);
        let signed: Vec<&CommandBody> = self.sent.iter().filter(|body| body.id == job.id).collect();
        assert!(!signed.is_empty(), "{} was never signed", job.id);
        let accepted_ms = self.first_accepted_ms[&job.id];
        let fresh = |body: &&CommandBody| {
            let born = self.born_ms.get(&body.chal.0);
            born.is_some_and(|born| accepted_ms.saturating_sub(*born) <= 35_000)
        };
        assert!(
            signed.iter().any(fresh),
            "{} had no fresh challenge",
            job.id
        );
        let token = signed[0].token;
        if destructive {
            assert!(
                self.confirmed.contains(&job.id),
                "{} was never confirmed",
                job.id
            );
            let entry = rig
                .disk
                .entries
                .iter()
                .find(|entry| entry.id == job.id)
                .expect("a journal entry");
            assert_eq!(
                entry.progress,
                Progress::Executing,
                "the journal knew before the act"
            );
            let mark = self
                .marks
                .entry(job.target.as_str().into())
                .or_insert(Token::ZERO);
            assert!(token > *mark, "{token} is not above {mark}");
            *mark = token;
        }
    }
}

fn order_of(kind: u8, model: &Model) -> Order {
    match kind {
        0 => Order::PowerOff,
        1 => bmc_off(),
        2 => wake(),
        3 => Order::Barrier,
        _ => Order::Cancel {
            id: model.sent.last().map_or(Ulid::NIL, |body| body.id),
        },
    }
}

fn play(rig: &mut Rig, model: &mut Model, step: Move) -> Vec<Step> {
    match step {
        Move::Send {
            order,
            target,
            token,
            delay_ms,
        } => {
            let mut body = rig.command(order_of(order, model));
            body.id = Ulid::from_bits(1 + model.sent.len() as u128);
            let own = matches!(body.order, Order::PowerOff);
            body.target = id(if own {
                "nas-01"
            } else {
                ["nas-01", "r720", "r730"][usize::from(target)]
            });
            body.token = token;
            body.delay_ms = delay_ms;
            model.sent.push(body.clone());
            rig.send(&body)
        }
        Move::Replay(which) if !model.sent.is_empty() => rig.send(which.get(&model.sent)),
        Move::Resign(which) if !model.sent.is_empty() => {
            let body = CommandBody {
                chal: rig.chal,
                ..which.get(&model.sent).clone()
            };
            model.sent.push(body.clone());
            rig.send(&body)
        }
        Move::Replay(_) | Move::Resign(_) => Vec::new(),
        Move::Confirm(reached) => confirm(rig, model, reached),
        Move::Armed => armed(rig, model),
        Move::Ended(good) => {
            let fault = DriverFault {
                code: Code::ExecFailed,
                msg: Text::default(),
            };
            let result = if good { Ok(None) } else { Err(fault) };
            let running: Vec<Ulid> = model
                .executed
                .union(&model.executed_here)
                .copied()
                .collect();
            running
                .into_iter()
                .flat_map(|id| {
                    rig.feed(Input::Ended {
                        id,
                        result: result.clone(),
                    })
                })
                .collect()
        }
        Move::Pass(ms) => rig.pass(ms),
        Move::Sleep(ms) => rig.sleep(ms),
        Move::Link(true) => rig.feed(Input::Connected { conn: 2 }),
        Move::Link(false) => rig.feed(Input::Disconnected),
        Move::Disk(fails) => {
            rig.disk_fails = fails;
            Vec::new()
        }
        Move::Maintenance(maintenance) => rig.feed(Input::Policy(Policy {
            maintenance,
            inhibited: false,
        })),
        Move::Restart { reboot } => restart(rig, model, reboot),
    }
}

fn armed(rig: &mut Rig, model: &Model) -> Vec<Step> {
    let sent = model.sent.iter().map(|body| body.id);
    sent.flat_map(|id| rig.feed(Input::Armed { id, outcome: None }))
        .collect()
}

fn confirm(rig: &mut Rig, model: &mut Model, reached: bool) -> Vec<Step> {
    let Some(ticket) = rig.last_ticket else {
        return Vec::new();
    };
    if reached && let Some(id) = model.tracked.get(&ticket) {
        model.confirmed.insert(*id);
    }
    rig.feed(Input::Delivered { ticket, reached })
}

fn restart(rig: &mut Rig, model: &mut Model, reboot: bool) -> Vec<Step> {
    model.boots += u32::from(reboot);
    let boot = alloc::format!("boot-{}", 1 + model.boots)
        .parse()
        .expect("a boot id");
    model.tracked.clear();
    model.executed_here.clear();
    let (disk, now, random) = (rig.disk.clone(), rig.now, rig.random);
    *rig = Rig::started_at(
        crate::Config { boot, ..config() },
        Stored::Readable(disk),
        now,
    );
    // The random source never repeats itself, also not in a new process.
    rig.random = random;
    rig.feed(Input::Connected { conn: 1 })
}

proptest! {
    // Each command is signed and verified, which is slow in a build without optimisation.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_execution_is_signed_fresh_rising_confirmed_and_unique(moves in moves()) {
        let mut rig = Rig::new();
        let mut model = Model::default();
        model.look(&rig, &[]);
        for step in moves {
            let steps = play(&mut rig, &mut model, step);
            model.look(&rig, &steps);
        }
    }
}
