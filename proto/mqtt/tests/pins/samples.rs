//! One sample of each payload.

use proto_mqtt::command::Expect;
use proto_mqtt::key::Signer;
use proto_mqtt::order::{BmcOrder, OffMode, WakeOrder};
use proto_mqtt::report::{
    AgentState, BmcOutcome, Code, CoordinatorState, CoordinatorStatus, Disk, Hardware, Health,
    Heartbeat, HeartbeatState, HostNic, HostOutcome, Inventory, Nic, Outcome, Policy, ResultBody,
    ResultState, Segment, Sent, Status, StatusReason, TargetSight, WakeFlag, WakeOutcome,
};
use proto_mqtt::version::V1;
use proto_mqtt::{
    Actor, AgentId, BootId, Challenge, CommandBody, Instance, Mac, Order, Power, Text, Token, Ulid,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

pub(crate) fn id(last: u8) -> Ulid {
    format!("01JD000000000000000000000{last}")
        .parse()
        .expect("an id")
}

fn agent() -> AgentId {
    "nas-01".parse().expect("a name")
}

fn boot() -> BootId {
    "0f3b8a52-33c1-4bb1-8b5e-6c6d7b8f9a10"
        .parse()
        .expect("a boot id")
}

fn chal() -> Challenge {
    "AAECAwQFBgcICQoLDA0ODw".parse().expect("a challenge")
}

const MAC: Mac = Mac([0x1c, 0x69, 0x7a, 0x0b, 0x11, 0x02]);
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));
const TOKEN: Token = Token { epoch: 3, seq: 42 };

pub(crate) fn power_off() -> CommandBody {
    CommandBody {
        boot: Some(boot()),
        expect: Some(Expect { power: Power::On }),
        crit: vec![Text::from("expect")],
        delay_ms: 5000,
        ..command(Order::PowerOff)
    }
}

pub(crate) fn command(order: Order) -> CommandBody {
    CommandBody {
        id: id(0),
        order,
        aud: agent(),
        target: agent(),
        token: TOKEN,
        chal: chal(),
        ttl_ms: 30_000,
        delay_ms: 0,
        boot: None,
        expect: None,
        actor: Actor::User(Text::from("anna")),
        reason: Text::from("scale down"),
        op: id(9),
        crit: Vec::new(),
        iat: Some(Text::from("2026-11-21T17:00:00Z")),
    }
}

pub(crate) fn wake() -> Order {
    Order::Wake(WakeOrder {
        mac: MAC,
        segment: Text::from("default"),
        ports: vec![9, 7],
        broadcast: Some(Ipv4Addr::new(192, 168, 1, 255)),
        secureon: Some(Text::from("00:11:22:33:44:55")),
        repeat: 3,
        spacing_ms: 100,
    })
}

pub(crate) fn least_wake() -> Order {
    Order::Wake(WakeOrder {
        mac: MAC,
        segment: Text::from("default"),
        ports: vec![9],
        broadcast: None,
        secureon: None,
        repeat: 1,
        spacing_ms: 0,
    })
}

pub(crate) fn bmc() -> BmcOrder {
    BmcOrder {
        address: Text::from("https://10.0.9.20"),
        system: Some(Text::from("System.Embedded.1")),
        credentials: Text::from("r720"),
        fingerprint: Some(Text::from("sha256:9f2c")),
        ca: None,
    }
}

pub(crate) fn least_bmc() -> BmcOrder {
    BmcOrder {
        address: Text::from("https://10.0.9.20"),
        system: None,
        credentials: Text::from("r720"),
        fingerprint: None,
        ca: Some(Text::from("lab")),
    }
}

pub(crate) fn force_off() -> Order {
    Order::RedfishOff {
        bmc: bmc(),
        mode: OffMode::Force,
    }
}

pub(crate) fn status() -> Status {
    Status {
        v: V1,
        state: AgentState::Stopping,
        reason: StatusReason::Op,
        boot: boot(),
        inst: Instance(0x00c0_ffee),
        conn: 2,
        agent: Text::from("0.1.0"),
        proto: vec![1],
        trust_version: 1,
        hwm: TOKEN,
        op: Some(id(9)),
        policy: Policy {
            maintenance: false,
            inhibited: true,
        },
        marks: BTreeMap::new(),
    }
}

pub(crate) fn relay_status() -> Status {
    let name = |name: &str| name.parse::<AgentId>().expect("a name");
    Status {
        marks: [
            (name("nuc1"), Token { epoch: 3, seq: 40 }),
            (name("r720.lab"), TOKEN),
        ]
        .into(),
        ..status()
    }
}

pub(crate) fn heartbeat() -> Heartbeat {
    Heartbeat {
        v: V1,
        boot: boot(),
        inst: Instance(0x00c0_ffee),
        conn: 2,
        n: 17,
        chal: chal(),
        up_s: 86_400,
        st: HeartbeatState::Busy,
        op: Some(id(9)),
    }
}

pub(crate) fn health() -> Health {
    Health {
        v: V1,
        at_up_s: 86_400,
        at_wall_s: None,
        load1: 0.25,
        mem_used_pct: 41.5,
        temps: [("package".to_owned(), 52.0)].into(),
        disks: vec![Disk {
            name: Text::from("/"),
            used_pct: 70.5,
            smart: Some(Text::from("passed")),
        }],
        power_w: Some(34.5),
        energy_wh: Some(1200.25),
        users: 1,
        inhibitors: 2,
        targets: vec![TargetSight {
            machine: "r720".parse().expect("a name"),
            power: Power::Off,
            at_up_s: 86_390,
        }],
    }
}

pub(crate) fn health_with_clock() -> Health {
    Health {
        at_wall_s: Some(1_795_269_730),
        ..health()
    }
}

pub(crate) fn inventory() -> Inventory {
    Inventory {
        v: V1,
        hostname: Text::from("nas-01"),
        machine: Text::from("0123456789abcdef0123456789abcdef"),
        hw: Hardware {
            vendor: Text::from("ACME"),
            product: Text::from("Box 9"),
            serial_hash: Text::from("5e1f"),
            uuid_hash: Text::default(),
        },
        nics: vec![
            Nic {
                name: Text::from("enp3s0"),
                mac: MAC,
                wol: WakeFlag::Armed,
                up: true,
            },
            Nic {
                name: Text::from("wlan0"),
                mac: MAC,
                wol: WakeFlag::Unknown,
                up: false,
            },
        ],
        os: Text::from("Debian GNU/Linux 12"),
        kernel: Text::from("6.1.0"),
        arch: Text::from("x86_64"),
        caps: vec![Text::from("power.off"), Text::from("wol")],
        segments: vec![Segment {
            name: Text::from("default"),
            iface: Text::from("enp3s0"),
        }],
        l2: Some(Text::from("77aa")),
        credentials: None,
        key: Signer::from_seed("r1", &[1; 32]).public_key(),
    }
}

pub(crate) fn relay_inventory() -> Inventory {
    Inventory {
        credentials: Some(vec![Text::from("lab_2"), Text::from("r720")]),
        ..inventory()
    }
}

pub(crate) fn accepted() -> ResultBody {
    ResultBody {
        v: V1,
        id: id(0),
        token: TOKEN,
        state: ResultState::Accepted,
        code: None,
        msg: Text::default(),
        boot: boot(),
        inst: Instance(0x00c0_ffee),
        at_up_s: 86_401,
        out: None,
    }
}

pub(crate) fn refused() -> ResultBody {
    ResultBody {
        state: ResultState::Refused,
        code: Some(Code::StaleChal),
        msg: Text::from("the challenge is not one of this process"),
        ..accepted()
    }
}

pub(crate) fn woken() -> ResultBody {
    ResultBody {
        state: ResultState::Done,
        out: Some(Outcome::Wol(WakeOutcome {
            sent: vec![Sent {
                iface: Text::from("eth0"),
                to: vec![ADDRESS],
            }],
            ports: vec![9, 7],
            packets: 12,
        })),
        ..accepted()
    }
}

pub(crate) fn bmc_read() -> ResultBody {
    ResultBody {
        state: ResultState::Done,
        out: Some(Outcome::Redfish(BmcOutcome {
            power: Power::Off,
            word: Text::from("Off"),
            changed: false,
        })),
        ..accepted()
    }
}

pub(crate) fn host_stopping() -> ResultBody {
    ResultBody {
        state: ResultState::Running,
        out: Some(Outcome::Host(HostOutcome {
            nics: vec![HostNic {
                mac: MAC,
                wol: WakeFlag::Armed,
            }],
        })),
        ..accepted()
    }
}

pub(crate) fn coordinator_status() -> CoordinatorStatus {
    CoordinatorStatus {
        v: V1,
        state: CoordinatorState::Online,
        leader: Text::from("homelab-coordinator-6c9f"),
        since: Text::from("2026-11-21T17:00:00Z"),
    }
}
