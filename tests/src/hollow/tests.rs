use std::net::Ipv4Addr;

use super::*;
use crate::{
    mock_bmc::{BmcOptions, MockBmc, PowerState},
    recorder::{Effect, OffHow, OnCause},
};

const LIMIT: Duration = Duration::from_secs(20);
const NUC: Mac = Mac([0x52, 0x54, 0, 0, 0, 1]);
const SYSTEM: &str = "r720";

fn quick(name: &str) -> MachineSpec {
    MachineSpec {
        boot: Duration::ZERO,
        shutdown: Duration::ZERO,
        ..MachineSpec::new(name, NUC)
    }
}

fn powers(recorder: &Recorder) -> Vec<Effect> {
    let records = recorder.records().into_iter();
    records
        .map(|record| record.effect)
        .filter(|effect| matches!(effect, Effect::PowerOn { .. } | Effect::PowerOff { .. }))
        .collect()
}

fn on(cause: OnCause) -> Effect {
    Effect::PowerOn {
        machine: "nuc1".into(),
        cause,
    }
}

fn off(how: OffHow) -> Effect {
    Effect::PowerOff {
        machine: "nuc1".into(),
        how,
    }
}

fn host_says(machine: &HollowMachine, verb: &str) {
    let socket = std::os::unix::net::UnixDatagram::unbound().unwrap();
    let switch = files::switch(&machine.work);
    socket.send_to(verb.as_bytes(), switch).unwrap();
}

#[tokio::test]
async fn magic_packet_wakes_its_machine_only() {
    let recorder = Recorder::in_memory();
    let (_socket, address) =
        shared_socket(SocketAddrV4::new(Ipv4Addr::new(127, 255, 255, 255), 0)).unwrap();
    let with_card = |name: &str, mac: Mac| MachineSpec {
        wake: vec![address],
        mac,
        ..quick(name)
    };
    let nuc1 = HollowMachine::start(with_card("nuc1", NUC), &recorder);
    let nuc1 = nuc1.await.unwrap();
    let other = with_card("nuc2", Mac([0x52, 0x54, 0, 0, 0, 2]));
    let nuc2 = HollowMachine::start(other, &recorder).await.unwrap();
    let sender = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sender.set_broadcast(true).unwrap();
    let packet = [vec![0xff; 6], NUC.0.repeat(16)].concat();
    sender.send_to(&packet, address).unwrap();
    sender.send_to(&packet, address).unwrap();
    nuc1.until(Power::On, LIMIT).await.unwrap();
    assert_eq!(nuc2.power(), Power::Off);
    assert_eq!(powers(&recorder), [on(OnCause::MagicPacket)]);
    assert_eq!(recorder.wakes("nuc1"), 1);
}

#[tokio::test]
async fn each_boot_brings_a_new_boot_id() {
    let recorder = Recorder::in_memory();
    let machine = HollowMachine::start(quick("nuc1"), &recorder)
        .await
        .unwrap();
    machine.press_button();
    machine.until(Power::On, LIMIT).await.unwrap();
    let first = machine.boot_id();
    host_says(&machine, "reboot");
    let booted = |records: &[crate::recorder::Record]| {
        records.iter().rev().find_map(|record| {
            let Effect::BootDone { boot_id, .. } = &record.effect else {
                return None;
            };
            (*boot_id != first).then(|| boot_id.clone())
        })
    };
    let second = recorder.until(LIMIT, "the second boot", booted).await;
    assert_eq!(second.unwrap(), machine.boot_id());
    let expected = [
        on(OnCause::Button),
        off(OffHow::Graceful),
        on(OnCause::Reboot),
    ];
    assert_eq!(powers(&recorder), expected);
}

#[tokio::test]
async fn bmc_switches_its_machine_and_shows_its_power() {
    let recorder = Recorder::in_memory();
    let options = BmcOptions {
        systems: vec![SYSTEM.into()],
        ..BmcOptions::default()
    };
    let bmc = MockBmc::start(options, recorder.clone()).await.unwrap();
    let system = SYSTEM.to_owned();
    let spec = MachineSpec {
        bmc: Some(Bmc::Mock {
            bmc: bmc.clone(),
            system,
        }),
        ..quick("nuc1")
    };
    let machine = HollowMachine::start(spec, &recorder).await.unwrap();
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!(
        "{}/redfish/v1/Systems/{SYSTEM}/Actions/ComputerSystem.Reset",
        bmc.url()
    );
    let order = async |reset: &str| {
        let body = serde_json::json!({"ResetType": reset});
        let answer = client.post(&url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    };
    let shows = async |wanted: PowerState| {
        crate::harness::wait::until(LIMIT, "the BMC to follow", async || {
            match bmc.power(SYSTEM)? {
                seen if seen == wanted => Ok(()),
                seen => Err(anyhow!("{seen:?}")),
            }
        })
        .await
        .unwrap();
    };
    order("On").await;
    machine.until(Power::On, LIMIT).await.unwrap();
    shows(PowerState::On).await;
    order("GracefulShutdown").await;
    machine.until(Power::Off, LIMIT).await.unwrap();
    shows(PowerState::Off).await;
    order("On").await;
    machine.until(Power::On, LIMIT).await.unwrap();
    order("ForceOff").await;
    machine.until(Power::Off, LIMIT).await.unwrap();
    let expected = [
        on(OnCause::Bmc),
        off(OffHow::Graceful),
        on(OnCause::Bmc),
        off(OffHow::Hard),
    ];
    assert_eq!(powers(&recorder), expected);
    assert_eq!((recorder.wakes("nuc1"), recorder.stops("nuc1")), (2, 2));
}

#[tokio::test]
async fn faults_keep_a_machine_from_obeying() {
    let recorder = Recorder::in_memory();
    let machine = HollowMachine::start(quick("nuc1"), &recorder)
        .await
        .unwrap();
    let faults = Faults {
        never_boots: true,
        ..Faults::default()
    };
    machine.set_faults(faults);
    machine.press_button();
    machine.until(Power::Booting, LIMIT).await.unwrap();
    machine.crash();
    machine.until(Power::Off, LIMIT).await.unwrap();
    machine.set_faults(Faults {
        ignores_shutdown: true,
        ..Faults::default()
    });
    machine.press_button();
    machine.until(Power::On, LIMIT).await.unwrap();
    host_says(&machine, "poweroff");
    let asked = |records: &[crate::recorder::Record]| {
        let last = records.last()?;
        matches!(last.effect, Effect::ShutdownAsked { .. }).then_some(())
    };
    recorder.until(LIMIT, "the order", asked).await.unwrap();
    assert_eq!(machine.power(), Power::On);
    machine.set_faults(Faults::default());
    host_says(&machine, "poweroff");
    machine.until(Power::Off, LIMIT).await.unwrap();
    assert_eq!(recorder.stops("nuc1"), 1);
    assert_eq!(recorder.wakes("nuc1"), 0);
    assert_eq!(recorder.unasked_effects(Duration::ZERO).len(), 2);
}

/// A stand-in for the agent: names its configuration and ends on SIGTERM.
fn stand_in(work: &WorkDir) -> AgentSpec {
    let script = "#!/bin/sh\ntrap 'echo stopped; exit 0' TERM\necho \"started with $3\"\nwhile :; do sleep 0.05; done\n";
    let program = work.write("agent", script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    AgentSpec {
        program,
        host_program: "/bin/false".into(),
        config: toml::Table::new(),
        environment: Vec::new(),
    }
}

#[tokio::test]
async fn agent_runs_exactly_while_the_machine_is_up() {
    let work = WorkDir::new("stand-in").unwrap();
    let recorder = Recorder::in_memory();
    let spec = MachineSpec {
        agent: Some(stand_in(&work)),
        starts: Power::On,
        ..quick("nuc1")
    };
    let machine = HollowMachine::start(spec, &recorder).await.unwrap();
    let log = machine.agent_log();
    let says = async |text: &str| {
        crate::harness::wait::until(LIMIT, text, async || {
            let seen = std::fs::read_to_string(&log)?;
            seen.contains(text)
                .then_some(())
                .ok_or_else(|| anyhow!("{seen}"))
        })
        .await
        .unwrap();
    };
    says("started with ").await;
    host_says(&machine, "poweroff");
    machine.until(Power::Off, LIMIT).await.unwrap();
    says("stopped").await;
    assert!(lock(&machine.agent).is_none());
}
