//! Wake-on-LAN on real cards: what leaves a relay, by which card, and that it wakes the machine it is for.
//! Holds: needs root for network namespaces; without, each test says so in one line and passes.

use std::{collections::BTreeMap, process::Output, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    harness::{programs, wait},
    hollow::Power,
    lan::{self, Host, Sighting, Sniffer},
    lan_stage::{LanStage, Relay, Sleeper, card},
    recorder::{Mac, Recorder, Wish},
    stage::mac,
};

const LIMIT: Duration = Duration::from_secs(60);
const NUC: &str = "52:54:00:00:00:01";
/// Nobody's address: its packets mark a moment on the wire.
const MARK: Mac = Mac([0x52, 0x54, 0, 0, 0, 0xfe]);

const FOUR: Sleeper = Sleeper {
    name: "nuc1",
    secure_on: &[1, 2, 3, 4],
};
const SIX: Sleeper = Sleeper {
    name: "nuc2",
    secure_on: &[0xa, 0xb, 0xc, 0xd, 0xe, 0xf],
};
const NONE: Sleeper = Sleeper {
    name: "nuc3",
    secure_on: &[],
};
/// Where packets go from `a0` if nothing else is said.
const ALL: [&str; 4] = [
    "10.77.0.255:7",
    "10.77.0.255:9",
    "255.255.255.255:7",
    "255.255.255.255:9",
];

/// A relay with a listener on each of its segments.
struct Wires {
    relay: Relay,
    home: Sniffer,
    rack: Sniffer,
}

impl Wires {
    async fn new() -> Result<Self> {
        let relay = Relay::new().await?;
        let (home, rack) = (Host::new("on-home")?, Host::new("on-rack")?);
        home.plug(card("eth0", "10.77.0.11/24"), &relay.home)
            .await?;
        rack.plug(card("eth0", "10.88.0.11/24"), &relay.rack)
            .await?;
        let home = Sniffer::start(&home, "eth0").await?;
        let rack = Sniffer::start(&rack, "eth0").await?;
        Ok(Self { relay, home, rack })
    }

    /// Runs `homelab-agent wake` on the relay.
    fn wake(&self, arguments: &[&str]) -> Result<Output> {
        let agent = programs::ours("homelab-agent")?;
        let mut command = self.relay.host.command(agent);
        command.arg("wake").args(arguments);
        command.output().context("run homelab-agent")
    }

    /// The same, where it must succeed; what it prints.
    fn wakes(&self, arguments: &[&str]) -> Result<String> {
        let output = self.wake(arguments)?;
        let said = String::from_utf8(output.stdout)?;
        ensure!(output.status.success(), "{}: {said}", output.status);
        Ok(said)
    }

    /// All that was heard on the home segment before now.
    async fn heard_at_home(&self) -> Result<Vec<Sighting>> {
        heard_until_now(&self.relay.host, "a0", || self.home.sightings()).await
    }

    /// Nothing was heard on either segment before now.
    async fn heard_nothing(&self) -> Result<()> {
        for heard in [self.heard_at_home().await?, self.heard_in_the_rack().await?] {
            ensure!(heard.is_empty(), "{heard:?}");
        }
        Ok(())
    }

    /// All that was heard on the rack segment before now.
    async fn heard_in_the_rack(&self) -> Result<Vec<Sighting>> {
        heard_until_now(&self.relay.host, "a1", || self.rack.sightings()).await
    }
}

/// Sends marks by a card until one is heard: what was sent before them has arrived by then, and who hears nothing else is not deaf.
async fn heard_until_now(
    relay: &Host,
    nic: &str,
    heard: impl Fn() -> Result<Vec<Sighting>>,
) -> Result<Vec<Sighting>> {
    let agent = programs::ours("homelab-agent")?;
    let mut command = relay.command(agent);
    let sent = command.args(["wake", &MARK.to_string(), "--interface", nic]);
    let sent = sent.output().context("run homelab-agent")?;
    ensure!(sent.status.success(), "{sent:?}");
    wait::until(LIMIT, "a mark on the wire", async || {
        let heard = heard()?;
        ensure!(heard.iter().any(|seen| seen.mac == MARK), "{heard:?}");
        Ok(())
    })
    .await?;
    let heard = heard()?.into_iter();
    Ok(heard.filter(|seen| seen.mac != MARK).collect())
}

/// How many went to each destination, in order.
fn destinations(heard: &[Sighting]) -> Vec<(String, usize)> {
    let mut counts = BTreeMap::new();
    for seen in heard {
        let to = seen.udp.map_or_else(String::new, |udp| udp.to.to_string());
        *counts.entry(to).or_default() += 1;
    }
    counts.into_iter().collect()
}

fn each(count: usize, destinations: &[&str]) -> Vec<(String, usize)> {
    let destinations = destinations.iter();
    destinations.map(|&to| (to.to_owned(), count)).collect()
}

/// Every packet is what it must be, byte by byte, and goes to every card of the segment.
fn exact(heard: &[Sighting], mac: Mac, secure_on: &[u8]) -> Result<()> {
    for seen in heard {
        ensure!(
            seen.mac == mac && seen.frame_to == Mac([0xff; 6]),
            "{seen:?}"
        );
        ensure!(
            seen.payload == Sighting::exact_payload(mac, secure_on),
            "{seen:?}"
        );
        let bytes = (seen.payload_bytes, seen.secure_on_bytes);
        ensure!(
            bytes == (102 + secure_on.len(), secure_on.len()),
            "{seen:?}"
        );
        ensure!(
            seen.udp
                .is_some_and(|udp| udp.from.ip().octets() == [10, 77, 0, 2]),
            "{seen:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_leave_by_the_named_card_though_the_default_route_goes_elsewhere() -> Result<()> {
    if !lan::may_run("packets_leave_by_the_named_card_though_the_default_route_goes_elsewhere") {
        return Ok(());
    }
    let wires = Wires::new().await?;
    wires.relay.host.default_route("10.88.0.11")?;
    let said = wires.wakes(&[NUC, "--interface", "a0"])?;
    ensure!(
        said == format!(
            "3 magic packets for {NUC} left a0 to 10.77.0.255 and 255.255.255.255, ports 9,7\n"
        ),
        "{said}"
    );
    let heard = wires.heard_at_home().await?;
    ensure!(destinations(&heard) == each(3, &ALL), "{heard:?}");
    exact(&heard, NUC.parse()?, &[])?;
    let elsewhere = wires.heard_in_the_rack().await?;
    ensure!(elsewhere.is_empty(), "{elsewhere:?}");
    // Left to its routes, the kernel sends a limited broadcast to the wrong segment.
    wires.wakes(&[NUC, "--broadcast", "255.255.255.255"])?;
    let astray = wires.heard_in_the_rack().await?;
    let limited = ["255.255.255.255:7", "255.255.255.255:9"];
    ensure!(destinations(&astray) == each(3, &limited), "{astray:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_leave_without_a_default_route_by_both_kinds_of_broadcast() -> Result<()> {
    if !lan::may_run("packets_leave_without_a_default_route_by_both_kinds_of_broadcast") {
        return Ok(());
    }
    let wires = Wires::new().await?;
    let routes = wires.relay.host.ip(&["route", "show", "default"])?;
    ensure!(routes.is_empty(), "{routes}");
    wires.wakes(&[NUC, "--interface", "a1"])?;
    let in_the_rack = wires.heard_in_the_rack().await?;
    let expected = ALL.map(|to| to.replace("10.77.", "10.88."));
    let expected = each(3, &expected.each_ref().map(String::as_str));
    ensure!(destinations(&in_the_rack) == expected, "{in_the_rack:?}");
    let at_home = wires.heard_at_home().await?;
    ensure!(at_home.is_empty(), "{at_home:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_card_is_named_and_nothing_leaves() -> Result<()> {
    if !lan::may_run("missing_card_is_named_and_nothing_leaves") {
        return Ok(());
    }
    let wires = Wires::new().await?;
    let output = wires.wake(&[NUC, "--interface", "eth7"])?;
    let complaint = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    ensure!(output.stdout.is_empty(), "{:?}", output.stdout);
    ensure!(complaint.lines().count() == 1, "{complaint}");
    let expected = "there is no network card `eth7`; there are a0, a1, lo";
    ensure!(complaint.contains(expected), "{complaint}");
    wires.heard_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn given_broadcast_is_the_only_destination() -> Result<()> {
    if !lan::may_run("given_broadcast_is_the_only_destination") {
        return Ok(());
    }
    let wires = Wires::new().await?;
    wires.wakes(&[NUC, "--interface", "a0", "--broadcast", "10.77.0.255"])?;
    let heard = wires.heard_at_home().await?;
    ensure!(destinations(&heard) == each(3, &ALL[..2]), "{heard:?}");
    exact(&heard, NUC.parse()?, &[])?;
    // Without a card the kernel's routes choose it: a directed broadcast goes where its network is.
    wires.wakes(&[NUC, "--broadcast", "10.77.0.255"])?;
    let heard = wires.heard_at_home().await?;
    ensure!(destinations(&heard) == each(6, &ALL[..2]), "{heard:?}");
    let elsewhere = wires.heard_in_the_rack().await?;
    ensure!(elsewhere.is_empty(), "{elsewhere:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn card_without_a_link_is_told_and_nothing_leaves() -> Result<()> {
    if !lan::may_run("card_without_a_link_is_told_and_nothing_leaves") {
        return Ok(());
    }
    let wires = Wires::new().await?;
    wires.relay.home_cable.pull()?;
    let output = wires.wake(&[NUC, "--interface", "a0"])?;
    let complaint = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    let expected = format!(
        "no magic packet for {NUC} left: a0 (no carrier) to 10.77.0.255 and 255.255.255.255"
    );
    ensure!(complaint.contains(&expected), "{complaint}");
    wires.relay.home_cable.replug().await?;
    wires.heard_nothing().await
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_that_want_a_password_wake_by_a_relay_on_their_segment_and_sleep_again()
-> Result<()> {
    if !lan::may_run(
        "machines_that_want_a_password_wake_by_a_relay_on_their_segment_and_sleep_again",
    ) {
        return Ok(());
    }
    let stage = LanStage::start(&[FOUR, SIX, NONE], Recorder::in_memory()).await?;
    let caller = stage.caller()?;
    let recorder = &stage.recorder;
    recorder.ask_any(&["nuc1", "nuc2", "nuc3"], 2, Wish::On);
    caller.increase("home", 2).await?;
    // Equal in all else, machines are chosen by their names.
    for sleeper in [FOUR, SIX] {
        let name = sleeper.name;
        stage.machines[name].until(Power::On, LIMIT).await?;
        let runs = |state: &Value| state["agents"][name]["live"] == true;
        stage.until("the machine is known to run", runs).await?;
        heard_by_who_sleeps_on(&stage, sleeper).await?;
    }
    let relay = &stage.relay.host;
    let heard = heard_until_now(relay, "a0", || stage.machines["nuc3"].heard()).await?;
    let for_others = heard.iter().all(|seen| seen.mac != mac("nuc3"));
    ensure!(for_others, "{heard:?}");
    let elsewhere = heard_until_now(relay, "a1", || stage.witness.sightings()).await?;
    ensure!(elsewhere.is_empty(), "{elsewhere:?}");

    recorder.ask("nuc1", Wish::Off);
    caller.delete("home", "nuc1").await?;
    stage.machines["nuc1"].until(Power::Off, LIMIT).await?;
    ensure!(caller.look("home").await? == 1);
    let counts = ["nuc1", "nuc2", "nuc3"].map(|name| (recorder.wakes(name), recorder.stops(name)));
    ensure!(counts == [(1, 1), (1, 0), (0, 0)], "{counts:?}");
    let unasked = recorder.unasked_effects(Duration::ZERO);
    ensure!(unasked.is_empty(), "{unasked:?}");
    Ok(())
}

/// A switch brings a broadcast to everybody, so the machine that sleeps on has heard the whole train for the other.
async fn heard_by_who_sleeps_on(stage: &LanStage, woken: Sleeper) -> Result<()> {
    let own = mac(woken.name);
    let train = wait::until(LIMIT, "a whole train", async || {
        let mut train = stage.machines["nuc3"].heard()?;
        train.retain(|seen| seen.mac == own);
        let counts = destinations(&train);
        let to: Vec<&str> = counts.iter().map(|(to, _)| to.as_str()).collect();
        let whole = to == ALL && counts.iter().all(|(_, count)| *count >= 3);
        ensure!(whole, "{counts:?}");
        Ok(train)
    })
    .await?;
    exact(&train, own, woken.secure_on)
}
