//! Finding the one system that is meant, by links from the service root.
//! In: an id, UUID, name or path, or nothing where there is only one system. Out: the system and its link.
//! Holds: never "the first one"; a system that is not the meant one is never returned, also not from a remembered link.

use serde_json::Value;

use crate::fault::{Effect, Fault, FaultKind};

use super::address::Link;
use super::http::{Ask, Client, Who};
use super::{json, message};

/// The one path that the standard fixes.
const ROOT: &str = "/redfish/v1/";
/// A chassis with more systems behind one BMC does not exist; a loop of pages does.
const MAX_MEMBERS: usize = 256;
const MAX_PAGES: usize = 32;

/// A system as it was just read.
pub(super) struct Found {
    pub(super) link: Link,
    pub(super) system: Value,
}

/// Reads the meant system, from its remembered link if that still leads to it.
pub(super) async fn locate(
    client: &Client,
    wanted: Option<&str>,
    known: Option<Link>,
) -> Result<Found, Fault> {
    if let Some(link) = known
        && let Some(system) = read(client, &link).await?
        && wanted.is_none_or(|wanted| is_meant(wanted, &link, &system))
    {
        return Ok(Found { link, system });
    }
    // Nothing remembered, or ids have moved with a firmware update.
    let members = members(client).await?;
    match wanted {
        Some(wanted) => select(client, wanted, members).await,
        None => only(client, members).await,
    }
}

/// `None` if there is nothing at this link.
async fn read(client: &Client, link: &Link) -> Result<Option<Value>, Fault> {
    let reply = client.exchange(link, Ask::Get, Who::Known).await?;
    match reply.status {
        200 => json::object(&reply.body).map(Some).map_err(|why| {
            let detail = format!(
                "BMC {} answered {} with nonsense: {why}",
                client.address(),
                link.path()
            );
            Fault::new(FaultKind::Protocol, detail)
        }),
        404 | 410 => Ok(None),
        _ => Err(message::fault(client, &reply, Effect::None)),
    }
}

async fn members(client: &Client) -> Result<Vec<Link>, Fault> {
    let root = service_root(client).await?;
    let systems = link_in(&root, "Systems")
        .ok_or_else(|| protocol(client, "has no Systems in its service root"))?;
    let mut page = Some(client.address().link(systems)?);
    let mut members = Vec::new();
    for _ in 0..MAX_PAGES {
        let Some(link) = page.take() else {
            return Ok(members);
        };
        let collection = client.object(&link, Who::Known).await?;
        // `Members: null` exists and means none.
        let entries = collection.get("Members").and_then(Value::as_array);
        for entry in entries.into_iter().flatten() {
            let text = entry.get("@odata.id").and_then(Value::as_str);
            let text = text.ok_or_else(|| protocol(client, "lists a system without a link"))?;
            members.push(client.address().link(text)?);
        }
        if members.len() > MAX_MEMBERS {
            break;
        }
        let next = collection
            .get("Members@odata.nextLink")
            .and_then(Value::as_str);
        page = next.map(|next| client.address().link(next)).transpose()?;
    }
    if page.is_none() && members.len() <= MAX_MEMBERS {
        return Ok(members);
    }
    Err(protocol(client, "lists systems without end"))
}

/// The root is open by the standard; a BMC that closes it gets the credentials at once.
async fn service_root(client: &Client) -> Result<Value, Fault> {
    let link = client.address().link(ROOT)?;
    let reply = client.exchange(&link, Ask::Get, Who::Anonymous).await?;
    if reply.status == 401 {
        return client.object(&link, Who::Known).await;
    }
    if reply.status == 404 {
        let detail = format!(
            "{} has no Redfish service (404 at {ROOT})",
            client.address()
        );
        return Err(Fault::new(FaultKind::Protocol, detail));
    }
    if reply.status != 200 {
        return Err(message::fault(client, &reply, Effect::None));
    }
    json::object(&reply.body)
        .map_err(|why| protocol(client, &format!("has a broken service root: {why}")))
}

async fn only(client: &Client, members: Vec<Link>) -> Result<Found, Fault> {
    match <[Link; 1]>::try_from(members) {
        Ok([link]) => {
            let system = read(client, &link)
                .await?
                .ok_or_else(|| protocol(client, "lists a system that is not there"))?;
            Ok(Found { link, system })
        }
        Err(members) if members.is_empty() => Err(protocol(client, "has no system")),
        Err(members) => {
            let ids: Vec<_> = members.iter().map(Link::last_segment).collect();
            let detail = format!(
                "BMC {} has {} systems; set `system` to one of {}",
                client.address(),
                ids.len(),
                ids.join(", ")
            );
            Err(Fault::new(FaultKind::InvalidConfig, detail))
        }
    }
}

async fn select(client: &Client, wanted: &str, members: Vec<Link>) -> Result<Found, Fault> {
    let mut found = Vec::new();
    let mut ids = Vec::new();
    for link in members {
        ids.push(link.last_segment().to_owned());
        if let Some(system) = read(client, &link).await?
            && is_meant(wanted, &link, &system)
        {
            found.push(Found { link, system });
        }
    }
    if ids.is_empty() {
        // As right after a restart of the BMC: nothing shows yet that the name is wrong.
        return Err(protocol(client, "has no system"));
    }
    let (shown, there) = (message::tidy(wanted), ids.join(", "));
    match <[Found; 1]>::try_from(found) {
        Ok([found]) => Ok(found),
        Err(found) if found.is_empty() => {
            let kind = if uuid(wanted).is_some() {
                FaultKind::IdentityMismatch
            } else {
                FaultKind::InvalidConfig
            };
            let detail = format!(
                "BMC {} has no system `{shown}`; there are {there}",
                client.address()
            );
            Err(Fault::new(kind, detail))
        }
        Err(found) => {
            let detail = format!(
                "BMC {} has {} systems that answer to `{shown}`; name one of {there}",
                client.address(),
                found.len()
            );
            Err(Fault::new(FaultKind::InvalidConfig, detail))
        }
    }
}

fn is_meant(wanted: &str, link: &Link, system: &Value) -> bool {
    let text = |name| system.get(name).and_then(Value::as_str);
    if let (Some(wanted), Some(own)) = (uuid(wanted), text("UUID").and_then(uuid)) {
        return wanted == own || wanted == swapped(own);
    }
    link.is_path(wanted)
        || link.last_segment() == wanted
        || text("Id") == Some(wanted)
        || text("Name") == Some(wanted)
}

fn link_in<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name)?.get("@odata.id")?.as_str()
}

fn protocol(client: &Client, what: &str) -> Fault {
    Fault::new(
        FaultKind::Protocol,
        format_args!("BMC {} {what}", client.address()),
    )
}

/// The sixteen bytes of a UUID in its usual form.
fn uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = text
        .bytes()
        .enumerate()
        .all(|(at, byte)| (byte == b'-') == matches!(at, 8 | 13 | 18 | 23));
    let digits: Vec<u8> = text
        .chars()
        .filter(|character| *character != '-')
        .map(|character| {
            character
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        })
        .collect::<Option<_>>()?;
    if text.len() != 36 || !dashes || digits.len() != 32 {
        return None;
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = pair[0] << 4 | pair[1];
    }
    Some(bytes)
}

/// BIOS and BMC may disagree about the byte order of the first three fields.
fn swapped(mut bytes: [u8; 16]) -> [u8; 16] {
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_form_of_a_uuid_is_one() {
        let bytes = uuid("00112233-4455-6677-8899-aabbccddeeff").expect("a UUID");
        assert_eq!(uuid("00112233-4455-6677-8899-AABBCCDDEEFF"), Some(bytes));
        assert_eq!(
            Some(swapped(bytes)),
            uuid("33221100-5544-7766-8899-aabbccddeeff")
        );
        for text in [
            "",
            "00112233445566778899aabbccddeeff",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223-34455-6677-8899-aabbccddeeff",
            "é0112233-4455-6677-8899-aabbccddeef",
        ] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }
}
