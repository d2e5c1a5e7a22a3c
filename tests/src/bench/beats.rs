//! Heartbeats of machines that run no agent: bytes on connections to a real broker, one for each machine.
//! In: a plain broker, and the machines. Out: what their agents would say, until the value is dropped.
//! Holds: written after the protocol's description, without our code; nothing that the coordinator says is read.

use std::{
    convert::Infallible,
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime,
    sync::oneshot,
    time::{MissedTickBehavior, interval},
};

use super::lab::Machine;
use crate::harness::{Login, Mosquitto};

/// Between two heartbeats of one machine; the default of the agents.
const PERIOD: Duration = Duration::from_secs(10);
/// The longest silence that the broker accepts, in seconds.
const KEEPALIVE_S: u16 = 60;
/// A valid key; nothing is ever signed with it.
const KEY: &str = "ed25519:iojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w";
/// First bytes of MQTT packets.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const RETAIN: u8 = 0x01;

/// How many heartbeats so many machines send each second.
pub(super) fn per_second(machines: usize) -> f64 {
    machines as f64 / PERIOD.as_secs_f64()
}

/// Machines that are heard as long as this value lives.
pub(super) struct Beats {
    _stop: oneshot::Sender<Infallible>,
}

impl Beats {
    /// Lets every machine be heard once, then each again after its period, evenly spread.
    ///
    /// # Errors
    /// When the broker refuses a connection.
    pub(super) async fn start(broker: &Mosquitto, machines: &[Machine]) -> Result<Self> {
        let with_login = |machine: &Machine| Ok((machine.clone(), broker.agent(&machine.name)?));
        let machines: Vec<_> = machines.iter().map(with_login).collect::<Result<_>>()?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, broker.port());
        let (tell, told) = oneshot::channel();
        thread::Builder::new()
            .name("beats".to_owned())
            .spawn(move || run(address, &machines, tell))?;
        told.await.context("the machines have not come up")?
    }
}

/// What the thread does: one of its own, so that whoever is timed on another does not wait for it.
/// Whoever has asked may be gone; the heartbeats end with the value that is sent.
fn run(address: SocketAddrV4, machines: &[(Machine, Login)], tell: oneshot::Sender<Result<Beats>>) {
    let built = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(fault) => return drop(tell.send(Err(fault.into()))),
    };
    runtime.block_on(async {
        let voices = match voices(address, machines).await {
            Ok(voices) => voices,
            Err(fault) => return drop(tell.send(Err(fault))),
        };
        let (stop, stopped) = oneshot::channel();
        drop(tell.send(Ok(Beats { _stop: stop })));
        tokio::select! {
            never = beat(voices) => match never {},
            // Nothing is ever sent: it ends when the sender does.
            _ = stopped => {}
        }
    });
}

async fn voices(address: SocketAddrV4, machines: &[(Machine, Login)]) -> Result<Vec<Voice>> {
    let mut voices = Vec::with_capacity(machines.len());
    for (machine, login) in machines {
        voices.push(Voice::connect(address, machine, login, voices.len()).await?);
    }
    Ok(voices)
}

async fn beat(mut voices: Vec<Voice>) -> Infallible {
    let mut tick = interval(PERIOD / u32::try_from(voices.len()).unwrap_or(u32::MAX).max(1));
    // Timers are no finer than a millisecond; what is late is made up for, so that as many come in all.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        for voice in &mut voices {
            tick.tick().await;
            if let Err(error) = voice.beat().await {
                tracing::error!(%error, "a heartbeat was not sent");
            }
        }
    }
}

/// Lets this process and its children open as many connections as the system allows.
///
/// # Errors
/// When the limit cannot be raised.
pub(super) fn allow_many_connections() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raise the limit of open files")
}

/// The connection of one machine.
struct Voice {
    stream: TcpStream,
    name: String,
    boot_id: String,
    beats: u64,
}

impl Voice {
    async fn connect(
        address: SocketAddrV4,
        machine: &Machine,
        login: &Login,
        number: usize,
    ) -> Result<Self> {
        let name = &machine.name;
        let mut stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connect {name} to the broker"))?;
        stream.write_all(&connect(login)).await?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).await?;
        let [kind, _, _, reason] = answer;
        ensure!(
            (kind, reason) == (CONNACK, 0),
            "the broker refuses {name}: {answer:?}"
        );
        let mut voice = Self {
            stream,
            name: name.clone(),
            boot_id: format!("00000000-0000-4000-8000-{number:012x}"),
            beats: 0,
        };
        voice.say("inv", RETAIN, &inventory(machine)).await?;
        voice.beat().await?;
        Ok(voice)
    }

    async fn beat(&mut self) -> Result<()> {
        self.beats += 1;
        let mut challenge = [0; 16];
        challenge[8..].copy_from_slice(&self.beats.to_be_bytes());
        let heartbeat = json!({
            "v": 1,
            "boot": self.boot_id,
            "inst": "00c0ffee",
            "conn": 1,
            "n": self.beats,
            "chal": URL_SAFE_NO_PAD.encode(challenge),
            "up_s": 1_000 + self.beats * PERIOD.as_secs(),
            "st": "ok",
        });
        self.say("hb", 0, &heartbeat).await
    }

    async fn say(&mut self, level: &str, flags: u8, payload: &Value) -> Result<()> {
        let mut body = Vec::new();
        text(&mut body, &format!("hla/v1/a/{}/{level}", self.name));
        body.push(0); // no properties
        body.extend_from_slice(payload.to_string().as_bytes());
        let sent = self.stream.write_all(&packet(PUBLISH | flags, &body)).await;
        sent.with_context(|| format!("publish {level} of {}", self.name))
    }
}

fn inventory(machine: &Machine) -> Value {
    let card = json!({"name": "eth0", "mac": machine.mac, "wol": "armed", "up": true});
    json!({
        "v": 1,
        "hostname": machine.name,
        "machine": "0123456789abcdef0123456789abcdef",
        "hw": {"vendor": "ACME", "product": "Box 9"},
        "nics": [card],
        "os": "Debian GNU/Linux 12",
        "kernel": "6.1.0",
        "arch": "x86_64",
        "caps": ["power.off", "power.reboot"],
        "key": KEY,
    })
}

/// MQTT 5: a clean start with user name and password; the broker takes the user for the client id.
fn connect(login: &Login) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.extend_from_slice(&[5, 0b1100_0010]);
    body.extend_from_slice(&KEEPALIVE_S.to_be_bytes());
    body.push(0); // no properties
    text(&mut body, &login.user);
    text(&mut body, &login.user);
    text(&mut body, &login.password);
    packet(CONNECT, &body)
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    // Seven bits at a time, lowest first; the eighth says that more follow.
    loop {
        let seven = u8::try_from(left & 0x7f).unwrap_or_default();
        left >>= 7;
        if left == 0 {
            packet.push(seven);
            break;
        }
        packet.push(seven | 0x80);
    }
    packet.extend_from_slice(body);
    packet
}

fn text(into: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    into.extend_from_slice(&length.to_be_bytes());
    into.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_beyond_seven_bits_take_two_bytes() {
        assert_eq!(packet(PUBLISH, &[7])[..2], [PUBLISH, 1]);
        assert_eq!(packet(PUBLISH, &[0; 200])[..3], [PUBLISH, 0xc8, 1]);
    }
}
