//! The lab of every history: one group, six machines of four kinds, two relays.

use coordinator_core::{
    AgentId, Concerns, Declared, ForceOff, GroupId, GroupSpec, Joins, LocalVolumePolicy, MachineId,
    MachineSpec, Mode, NodeObjectPolicy, Policy, PowerPolicy, Redfish, StopMethod, Timeouts,
    WakeMethod, WakeOnLan,
};

use super::dice::Dice;

/// The machines: `w` wakes by packet, `k` also has a kubelet, `r` has a BMC, `x` has both.
pub(super) const MACHINES: [&str; 6] = ["w1", "w2", "k1", "k2", "r1", "x1"];
/// The relays: always powered, not declared.
pub(super) const RELAYS: [&str; 2] = ["nas", "pi"];
/// How long a machine may take from its first wake until it runs.
pub(super) const BOOT_MS: u64 = 90_000;
/// How long everything must be silent before off is inferred.
pub(super) const HOLD_MS: u64 = 60_000;
/// Messages take less than this longer than their way.
pub(super) const LAG_MS: u64 = 6_000;

pub(super) fn group_id() -> GroupId {
    GroupId::new("default/workers")
}

pub(super) fn has_kubelet(name: &str) -> bool {
    name.starts_with(['k', 'x'])
}

pub(super) fn has_bmc(name: &str) -> bool {
    name.starts_with(['r', 'x'])
}

/// The product's own limits, with the long waits cut so that a history stays short.
pub(super) fn policy() -> Policy {
    Policy {
        grace_ms: 20_000,
        quarantine_ms: 60_000,
        quarantine_max_ms: 90_000,
        power_cut_hold_ms: 60_000,
        power_cut_stagger_ms: 5_000,
        ..Policy::default()
    }
}

pub(super) fn group(dice: &mut Dice) -> GroupSpec {
    GroupSpec {
        id: group_id(),
        mode: Mode::Autoscaler,
        min_size: 0,
        max_size: None,
        node_object_policy: if dice.percent(50) {
            NodeObjectPolicy::Delete
        } else {
            NodeObjectPolicy::Retain
        },
        declared: Declared::default(),
        scale_down: None,
        energy: None,
        local_volume_policy: LocalVolumePolicy::Protect,
        require_proof: dice.percent(70),
        paused: false,
        concerns: Concerns::new(),
    }
}

pub(super) fn machine(name: &str) -> MachineSpec {
    let bmc = has_bmc(name);
    MachineSpec {
        id: MachineId::new(name),
        namespace: "default".into(),
        group: group_id(),
        node_name: name.into(),
        agent: AgentId::new(name),
        power: PowerPolicy::Auto,
        joins: if has_kubelet(name) {
            Joins::Kubelet
        } else {
            Joins::Agent
        },
        wake: vec![if bmc {
            WakeMethod::Redfish
        } else {
            WakeMethod::WakeOnLan
        }],
        stop: vec![StopMethod::Agent, StopMethod::Redfish],
        force_off: if name == "x1" {
            ForceOff::AfterTimeout
        } else {
            ForceOff::Never
        },
        provider_id: None,
        wake_on_lan: (!bmc).then(|| WakeOnLan {
            mac: mac(name),
            segment: "default".into(),
            ports: vec![9],
            broadcast: None,
            secure_on: None,
        }),
        redfish: bmc.then(|| {
            Box::new(Redfish {
                address: format!("https://{name}.bmc"),
                credentials: "lab".into(),
                system: None,
                fingerprint: None,
                ca: None,
            })
        }),
        timeouts: Timeouts {
            boot_ms: BOOT_MS,
            drain_ms: 90_000,
            stop_ms: 60_000,
            off_hold_ms: HOLD_MS,
        },
        fault: None,
        concerns: Concerns::new(),
    }
}

fn mac(name: &str) -> String {
    let last = name.bytes().fold(0u8, u8::wrapping_add);
    format!("52:54:00:00:00:{last:02x}")
}
