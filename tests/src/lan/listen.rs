//! The listener that runs on a sleeping host: tells every magic packet that its card hears.
//! In: the card. Out: one line of JSON for each [`Line`], the first when it listens.
//! Holds: sees whole frames, so nothing that the kernel would drop is missed; the card must be the only one that is up, since the
//! socket hears them all.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use super::frame::{Line, Sighting};
use crate::recorder::clock_ms;

/// Every frame, whatever it carries.
const ETH_P_ALL: u16 = 0x0003;
/// Where the kernel lists network cards.
const CARDS: &str = "/sys/class/net";

/// Listens until `out` is closed.
///
/// # Errors
/// When `nic` is not the only card that is up, or the socket is refused (it needs root) or lost.
pub fn listen(nic: &str, out: &mut impl Write) -> Result<()> {
    let up = cards_up(Path::new(CARDS))?;
    ensure!(
        up == [nic],
        "{nic} must be the only card that is up here; up are {up:?}"
    );
    // The kernel wants this number in network byte order.
    let protocol = Protocol::from(i32::from(ETH_P_ALL.to_be()));
    let mut socket =
        Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).context("listen to whole frames")?;
    let nic = nic.to_owned();
    tell(out, &Line::Listening { nic: nic.clone() })?;
    let mut frame = vec![0; 65_536];
    loop {
        let length = socket.read(&mut frame).context("hear a frame")?;
        if let Some(seen) = Sighting::find(&frame[..length], &nic, clock_ms()) {
            tell(out, &Line::MagicPacket(seen))?;
        }
    }
}

fn tell(out: &mut impl Write, line: &Line) -> Result<()> {
    let text = serde_json::to_string(line).context("write a line as JSON")?;
    writeln!(out, "{text}").context("tell what was heard")?;
    out.flush().context("tell what was heard")
}

/// The cards that are up, but for loopback.
fn cards_up(cards: &Path) -> Result<Vec<String>> {
    const UP: u32 = 0x1;
    const LOOPBACK: u32 = 0x8;
    let mut up = Vec::new();
    for entry in fs::read_dir(cards).context("list the network cards")? {
        let name = entry.context("list the network cards")?.file_name();
        let name = name.to_string_lossy().into_owned();
        // Beside the cards there are files such as `bonding_masters`.
        let Ok(flags) = fs::read_to_string(cards.join(&name).join("flags")) else {
            continue;
        };
        let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
        let flags = flags.with_context(|| format!("read the flags of {name}"))?;
        if flags & UP != 0 && flags & LOOPBACK == 0 {
            up.push(name);
        }
    }
    up.sort();
    Ok(up)
}
