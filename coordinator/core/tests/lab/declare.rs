//! Declarations for tests: short to write, with the product's defaults.

use coordinator_core::{
    AgentId, AgentInfo, Ask, Concerns, Declared, Fact, ForceOff, GroupId, GroupSpec, Joins,
    LocalVolumePolicy, MachineId, MachineSpec, Mode, NodeObjectPolicy, NodeRef, PodRef, PodSeen,
    PodStanding, PowerPolicy, Redfish, Request, StopMethod, Timeouts, WakeMethod, WakeOnLan,
};

use crate::world::Sim;

pub(crate) fn group_id() -> GroupId {
    GroupId::new("default/workers")
}

pub(crate) fn group_spec() -> GroupSpec {
    GroupSpec {
        id: group_id(),
        mode: Mode::Autoscaler,
        min_size: 0,
        max_size: None,
        node_object_policy: NodeObjectPolicy::Delete,
        local_volume_policy: LocalVolumePolicy::Protect,
        declared: Declared::default(),
        scale_down: None,
        energy: None,
        require_proof: true,
        paused: false,
        concerns: Concerns::new(),
    }
}

pub(crate) fn group() -> Fact {
    Fact::GroupApplied(group_spec())
}

pub(crate) fn machine_spec(name: &str) -> MachineSpec {
    MachineSpec {
        id: MachineId::new(name),
        namespace: "default".into(),
        group: group_id(),
        node_name: name.into(),
        agent: AgentId::new(name),
        power: PowerPolicy::Auto,
        joins: Joins::Agent,
        wake: vec![WakeMethod::WakeOnLan],
        stop: vec![StopMethod::Agent, StopMethod::Redfish],
        force_off: ForceOff::Never,
        provider_id: None,
        wake_on_lan: Some(WakeOnLan {
            mac: format!(
                "52:54:00:00:00:{:02x}",
                name.bytes().fold(0u8, u8::wrapping_add)
            ),
            segment: "default".into(),
            ports: vec![9, 7],
            broadcast: None,
            secure_on: None,
        }),
        redfish: None,
        timeouts: Timeouts {
            boot_ms: 600_000,
            drain_ms: 600_000,
            stop_ms: 300_000,
            off_hold_ms: 60_000,
        },
        fault: None,
        concerns: Concerns::new(),
    }
}

/// A machine that is woken by magic packet and joins by its agent.
pub(crate) fn machine(name: &str) -> Fact {
    Fact::MachineApplied(machine_spec(name))
}

/// The same with a kubelet.
pub(crate) fn kubelet(name: &str) -> Fact {
    Fact::MachineApplied(MachineSpec {
        joins: Joins::Kubelet,
        ..machine_spec(name)
    })
}

/// A machine with a BMC.
pub(crate) fn bmc(name: &str) -> MachineSpec {
    MachineSpec {
        wake: vec![WakeMethod::Redfish],
        wake_on_lan: None,
        redfish: Some(Box::new(Redfish {
            address: "https://10.0.0.1".into(),
            credentials: "r".into(),
            system: None,
            fingerprint: None,
            ca: None,
        })),
        ..machine_spec(name)
    }
}

/// A pod in namespace `default` that does not belong to its Node.
pub(crate) fn pod(name: &str, standing: PodStanding) -> PodSeen {
    PodSeen {
        pod: PodRef {
            namespace: "default".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        },
        standing,
    }
}

/// A group and `n` machines `m1`, `m2`…
pub(crate) fn lab(n: usize) -> Vec<Fact> {
    std::iter::once(group())
        .chain((1..=n).map(|i| machine(&format!("m{i}"))))
        .collect()
}

/// What an agent says of itself that is no relay, before it has a key.
pub(crate) fn agent_info(name: &str) -> AgentInfo {
    AgentInfo {
        agent: AgentId::new(name),
        key: None,
        segments: vec![],
        credentials: None,
        wake_armed: None,
        arch: None,
        macs: vec![],
        high_water: vec![],
    }
}

/// A relay on the machines' segment.
pub(crate) fn relay_info(name: &str) -> AgentInfo {
    AgentInfo {
        segments: vec!["default".into()],
        ..agent_info(name)
    }
}

pub(crate) fn increase(delta: i32, looked: u64) -> Request {
    Request::Increase {
        group: group_id(),
        delta,
        looked,
    }
}

/// What a person asks of a machine.
pub(crate) fn person(machine: &str, id: &str, ask: Ask) -> Request {
    Request::Ask {
        machine: MachineId::new(machine),
        id: id.into(),
        ask,
        by: "user ann".into(),
    }
}

pub(crate) fn decrease(delta: i32) -> Request {
    Request::Decrease {
        group: group_id(),
        delta,
    }
}

pub(crate) fn delete(names: &[&str]) -> Request {
    let nodes = names.iter().map(|name| NodeRef {
        provider_id: format!("homelab://default/{name}"),
        name: (*name).into(),
    });
    Request::Delete {
        group: group_id(),
        nodes: nodes.collect(),
    }
}

/// The machine behind a declaration, off.
pub(crate) fn sim(fact: &Fact) -> Option<(String, Sim)> {
    let Fact::MachineApplied(spec) = fact else {
        return None;
    };
    Some((spec.id.as_str().to_owned(), Sim::off(spec.joins)))
}
