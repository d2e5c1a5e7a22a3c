//! Whether each segment of a relay has a network card that can carry magic packets.
//! In: `[relay] interfaces`, and the cards of this host. Out: one line for each segment.
//! Not here: sending (`host/waking`), which tries whatever is configured.

use crate::config::Relay;
use crate::finding::{Complaint, Finding};
use hardware::Fault;
use hardware::wake_on_lan::{self, Card, Footing, Link};

/// Looks at the card of each segment.
pub(crate) fn look(relay: &Relay) -> Vec<Finding> {
    judge(relay, wake_on_lan::cards())
}

/// The same for the log of an agent that starts anyway: cards come and go.
pub(crate) fn warn(relay: &Relay) {
    for finding in look(relay) {
        if let Err(Complaint::Wrong(detail) | Complaint::NotNow(detail)) = finding {
            tracing::warn!(detail, "segment without a usable network card");
        }
    }
}

fn judge(relay: &Relay, cards: Result<Vec<Card>, Fault>) -> Vec<Finding> {
    let cards = match cards {
        Ok(cards) => cards,
        Err(fault) => return vec![Err(Complaint::NotNow(fault.to_string()))],
    };
    let finding = |(segment, name): (&String, &Option<String>)| match name {
        Some(name) => named(segment, name, &cards),
        None => any(segment, &cards),
    };
    relay.segments.iter().map(finding).collect()
}

fn named(segment: &str, name: &str, cards: &[Card]) -> Finding {
    let wrong = |right: String| {
        Err(Complaint::Wrong(format!(
            "relay.interfaces.{segment} = {name:?}: must be {right}"
        )))
    };
    let not_now = |what: &str| {
        Err(Complaint::NotNow(format!(
            "relay.interfaces.{segment} = {name:?}: {what}"
        )))
    };
    let Some(card) = cards.iter().find(|card| card.name == name) else {
        let there: Vec<&str> = cards.iter().map(|card| card.name.as_str()).collect();
        let there = there.join(", ");
        return wrong(format!("a network card of this host; there are {there}"));
    };
    match &card.footing {
        Footing::PartOf(whole) => return wrong(format!("{whole:?}, of which it is a part")),
        Footing::Nothing => {
            return wrong("a network card, or a bridge, VLAN or bond over one".to_owned());
        }
        Footing::Device | Footing::Elsewhere => {}
    }
    match card.link {
        Link::Down => not_now("is down; must be up, as by `ip link set up`"),
        Link::NoCarrier => not_now("has no link; must have one: look at cable and switch"),
        Link::Up if card.broadcasts.is_empty() => {
            not_now("has no IPv4 network with a broadcast address; must have one")
        }
        Link::Up => Ok(format!("{segment}: {}", way(card))),
    }
}

fn any(segment: &str, cards: &[Card]) -> Finding {
    let usable: Vec<String> = cards
        .iter()
        .filter(|card| card.is_usable())
        .map(way)
        .collect();
    if !usable.is_empty() {
        return Ok(format!("{segment}: {}", usable.join("; ")));
    }
    if cards.iter().any(|card| card.footing == Footing::Device) {
        let what = "no network card is up and has a link, by which magic packets could leave";
        return Err(Complaint::NotNow(what.to_owned()));
    }
    Err(Complaint::Wrong(format!(
        "relay.interfaces is missing: no network card here is a real one; must name one, as {{ {segment} = \"eth0\" }}"
    )))
}

fn way(card: &Card) -> String {
    let to: Vec<String> = card.broadcasts.iter().map(ToString::to_string).collect();
    let to = to.join(" and ");
    match card.footing {
        Footing::Elsewhere => format!(
            "{} to {to} (virtual: wakes what its other end reaches)",
            card.name
        ),
        Footing::Device | Footing::PartOf(_) | Footing::Nothing => format!("{} to {to}", card.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hardware::FaultKind;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn card(name: &str, link: Link, footing: Footing) -> Card {
        Card {
            name: name.to_owned(),
            link,
            footing,
            broadcasts: vec![Ipv4Addr::new(10, 77, 0, 255)],
        }
    }

    fn relay(name: Option<&str>) -> Relay {
        Relay {
            segments: BTreeMap::from([("home".to_owned(), name.map(str::to_owned))]),
            credentials: "/nowhere".into(),
        }
    }

    fn found(name: Option<&str>, cards: Vec<Card>) -> Finding {
        let mut findings = judge(&relay(name), Ok(cards));
        assert_eq!(findings.len(), 1);
        findings.remove(0)
    }

    #[test]
    fn a_named_card_is_right_or_told_with_field_value_and_remedy() {
        let cards = || {
            vec![
                card("docker0", Link::Up, Footing::Nothing),
                card("eth0", Link::Up, Footing::Device),
                card("eth1", Link::Up, Footing::PartOf("vmbr0".to_owned())),
                card("eth2", Link::Down, Footing::Device),
                card("eth3", Link::NoCarrier, Footing::Device),
                Card {
                    broadcasts: vec![],
                    ..card("eth4", Link::Up, Footing::Device)
                },
                card("net1", Link::Up, Footing::Elsewhere),
            ]
        };
        let wrong = |text: &str| Err(Complaint::Wrong(format!("relay.interfaces.home = {text}")));
        let not_now =
            |text: &str| Err(Complaint::NotNow(format!("relay.interfaces.home = {text}")));
        let virtual_card = "home: net1 to 10.77.0.255 (virtual: wakes what its other end reaches)";
        for (name, expected) in [
            ("eth0", Ok("home: eth0 to 10.77.0.255".to_owned())),
            ("net1", Ok(virtual_card.to_owned())),
            (
                "eth7",
                wrong(
                    "\"eth7\": must be a network card of this host; there are docker0, eth0, eth1, eth2, eth3, eth4, net1",
                ),
            ),
            (
                "docker0",
                wrong("\"docker0\": must be a network card, or a bridge, VLAN or bond over one"),
            ),
            (
                "eth1",
                wrong("\"eth1\": must be \"vmbr0\", of which it is a part"),
            ),
            (
                "eth2",
                not_now("\"eth2\": is down; must be up, as by `ip link set up`"),
            ),
            (
                "eth3",
                not_now("\"eth3\": has no link; must have one: look at cable and switch"),
            ),
            (
                "eth4",
                not_now("\"eth4\": has no IPv4 network with a broadcast address; must have one"),
            ),
        ] {
            assert_eq!(found(Some(name), cards()), expected, "{name}");
        }
    }

    #[test]
    fn without_a_name_one_real_card_with_a_link_is_enough() {
        let [up, down] =
            [Link::Up, Link::NoCarrier].map(|link| card("eth0", link, Footing::Device));
        let container = || card("eth9", Link::Up, Footing::Elsewhere);
        assert_eq!(
            found(None, vec![up, container()]),
            Ok("home: eth0 to 10.77.0.255".to_owned())
        );
        assert!(matches!(
            found(None, vec![down, container()]),
            Err(Complaint::NotNow(_))
        ));
        let missing = found(None, vec![container()]);
        let Err(Complaint::Wrong(missing)) = missing else {
            panic!("{missing:?}")
        };
        assert!(missing.ends_with("as { home = \"eth0\" }"), "{missing}");
    }

    #[test]
    fn cards_that_cannot_be_listed_are_told() {
        let fault = Fault::new(FaultKind::Transient, "no netlink here");
        let findings = judge(&relay(Some("eth0")), Err(fault));
        assert!(matches!(
            &findings[..],
            [Err(Complaint::NotNow(why))] if why.contains("no netlink here")
        ));
    }
}
