//! Three questions to the kernel by netlink: a card's own address, its wake modes, and to set them.
//! Holds: each question is one datagram on a socket of its own, answered within two seconds; numbers are in the machine's byte
//! order, as netlink wants.

#[cfg(feature = "fuzz")]
pub mod fuzz;

use std::io::{self, Read, Write};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::wake_modes::WakeModes;

const AF_NETLINK: i32 = 16;
const NETLINK_ROUTE: i32 = 0;
const NETLINK_GENERIC: i32 = 16;

const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
/// The type of an attribute without its two flags.
const NLA_TYPE: u16 = 0x3fff;

const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_PERM_ADDRESS: u16 = 54;
/// `struct ifinfomsg`, which stands before the attributes of a link.
const IFINFOMSG: usize = 16;

const GENL_ID_CTRL: u16 = 16;
/// `struct genlmsghdr`: command, version, two spare bytes.
const GENLMSGHDR: usize = 4;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const ETHTOOL_MSG_WOL_GET: u8 = 9;
const ETHTOOL_MSG_WOL_SET: u8 = 10;
const ETHTOOL_A_WOL_HEADER: u16 = 1;
const ETHTOOL_A_WOL_MODES: u16 = 2;
const ETHTOOL_A_HEADER_DEV_NAME: u16 = 2;
const ETHTOOL_A_HEADER_FLAGS: u16 = 3;
const ETHTOOL_FLAG_COMPACT_BITSETS: u32 = 1;
const ETHTOOL_A_BITSET_SIZE: u16 = 2;
const ETHTOOL_A_BITSET_VALUE: u16 = 4;
const ETHTOOL_A_BITSET_MASK: u16 = 5;
/// Wake modes that the kernel knows.
const WAKE_MODE_COUNT: u32 = 8;

const EOPNOTSUPP: i32 = 95;
const ENOENT: i32 = 2;

/// Whether an error says that card, driver or kernel cannot do it. The kernel answers ENOENT for a family it lacks.
pub(super) fn is_unsupported(fault: &io::Error) -> bool {
    matches!(fault.raw_os_error(), Some(EOPNOTSUPP | ENOENT))
}

/// The address that the card was made with.
pub(super) fn permanent_address(name: &str) -> io::Result<Option<[u8; 6]>> {
    let mut body = vec![0; IFINFOMSG];
    put(&mut body, IFLA_IFNAME, &terminated(name));
    let reply = ask(NETLINK_ROUTE, &message(RTM_GETLINK, NLM_F_REQUEST, &body))?;
    read_address(&reply)
}

fn read_address(reply: &[u8]) -> io::Result<Option<[u8; 6]>> {
    let address = find(attributes_after(reply, IFINFOMSG)?, IFLA_PERM_ADDRESS);
    Ok(address.and_then(|bytes| bytes.try_into().ok()))
}

/// The wake modes of a card.
pub(super) fn wake_modes(name: &str) -> io::Result<WakeModes> {
    let reply = ask(NETLINK_GENERIC, &wake_get(ethtool_family()?, name))?;
    read_wake_modes(&reply)
}

/// Sets those modes of a card that are in `mask` to what is in `value`.
pub(super) fn set_wake_modes(name: &str, value: u32, mask: u32) -> io::Result<()> {
    ask(
        NETLINK_GENERIC,
        &wake_set(ethtool_family()?, name, value, mask),
    )
    .map(drop)
}

fn ethtool_family() -> io::Result<u16> {
    let mut body = vec![CTRL_CMD_GETFAMILY, 1, 0, 0];
    put(&mut body, CTRL_ATTR_FAMILY_NAME, &terminated("ethtool"));
    let reply = ask(
        NETLINK_GENERIC,
        &message(GENL_ID_CTRL, NLM_F_REQUEST, &body),
    )?;
    read_family(&reply)
}

fn read_family(reply: &[u8]) -> io::Result<u16> {
    let id = find(attributes_after(reply, GENLMSGHDR)?, CTRL_ATTR_FAMILY_ID);
    let id = id
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(malformed)?;
    Ok(u16::from_ne_bytes(id))
}

fn wake_get(family: u16, name: &str) -> Vec<u8> {
    let mut body = vec![ETHTOOL_MSG_WOL_GET, 1, 0, 0];
    put_header(&mut body, name);
    message(family, NLM_F_REQUEST, &body)
}

fn wake_set(family: u16, name: &str, value: u32, mask: u32) -> Vec<u8> {
    let mut body = vec![ETHTOOL_MSG_WOL_SET, 1, 0, 0];
    put_header(&mut body, name);
    let mut modes = Vec::new();
    put(
        &mut modes,
        ETHTOOL_A_BITSET_SIZE,
        &WAKE_MODE_COUNT.to_ne_bytes(),
    );
    put(&mut modes, ETHTOOL_A_BITSET_VALUE, &value.to_ne_bytes());
    put(&mut modes, ETHTOOL_A_BITSET_MASK, &mask.to_ne_bytes());
    put(&mut body, ETHTOOL_A_WOL_MODES | NLA_F_NESTED, &modes);
    message(family, NLM_F_REQUEST | NLM_F_ACK, &body)
}

fn put_header(body: &mut Vec<u8>, name: &str) {
    let mut header = Vec::new();
    put(&mut header, ETHTOOL_A_HEADER_DEV_NAME, &terminated(name));
    let flags = ETHTOOL_FLAG_COMPACT_BITSETS.to_ne_bytes();
    put(&mut header, ETHTOOL_A_HEADER_FLAGS, &flags);
    put(body, ETHTOOL_A_WOL_HEADER | NLA_F_NESTED, &header);
}

/// Value = the modes that are set, mask = those that the card knows.
fn read_wake_modes(reply: &[u8]) -> io::Result<WakeModes> {
    let modes =
        find(attributes_after(reply, GENLMSGHDR)?, ETHTOOL_A_WOL_MODES).ok_or_else(malformed)?;
    let word = |kind| -> io::Result<u32> {
        let bytes = find(modes, kind).and_then(|bytes| bytes.first_chunk::<4>());
        Ok(u32::from_ne_bytes(*bytes.ok_or_else(malformed)?))
    };
    Ok(WakeModes {
        supported: word(ETHTOOL_A_BITSET_MASK)?,
        enabled: word(ETHTOOL_A_BITSET_VALUE)?,
    })
}

/// Sends one message and returns the payload of the answer, empty for a plain acknowledgement.
fn ask(protocol: i32, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut socket = Socket::new(
        Domain::from(AF_NETLINK),
        Type::RAW,
        Some(Protocol::from(protocol)),
    )?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    // Without an address a netlink socket sends to the kernel.
    socket.write_all(message)?;
    let mut buffer = vec![0; 1 << 16];
    let length = socket.read(&mut buffer)?;
    payload(buffer.get(..length).unwrap_or_default())
}

/// The payload of the first message of an answer, or the error it carries.
fn payload(answer: &[u8]) -> io::Result<Vec<u8>> {
    let (length, kind) = (word_at(answer, 0)?, half_at(answer, 4)?);
    let body = answer.get(16..length as usize).ok_or_else(malformed)?;
    if kind != NLMSG_ERROR {
        return Ok(body.to_vec());
    }
    match i32::from_ne_bytes(word_at(body, 0)?.to_ne_bytes()) {
        0 => Ok(Vec::new()),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

/// One netlink message; the sequence number is of no use on a socket that asks once.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(1_u32.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// Appends an attribute, padded to four bytes.
fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn attributes_after(body: &[u8], header: usize) -> io::Result<&[u8]> {
    body.get(header..).ok_or_else(malformed)
}

/// The value of the first attribute of this kind.
fn find(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    while let (Ok(length), Ok(found)) = (half_at(attributes, 0), half_at(attributes, 2)) {
        let value = attributes.get(4..usize::from(length))?;
        if found & NLA_TYPE == kind {
            return Some(value);
        }
        attributes = attributes.get(usize::from(length).next_multiple_of(4)..)?;
    }
    None
}

fn word_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    let word = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(u32::from_ne_bytes(*word))
}

fn half_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    let half = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(u16::from_ne_bytes(*half))
}

fn terminated(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn malformed() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's netlink answer is malformed",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as they are on a little-endian machine; netlink is in the machine's own order.
    #[cfg(target_endian = "little")]
    #[test]
    fn requests_have_these_bytes() {
        let header: &[u8] = &[
            20, 0, 1, 0x80, 9, 0, 2, 0, b'e', b't', b'h', b'0', 0, 0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0,
        ];
        let get = wake_get(0x15, "eth0");
        // The nested header is 4 + 12 + 8 bytes long.
        let mut nested = header.to_vec();
        nested[0] = 24;
        let mut expected = vec![
            44, 0, 0, 0, 0x15, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 1, 0, 0,
        ];
        expected.extend(&nested);
        assert_eq!(get, expected);

        let set = wake_set(0x15, "eth0", 0x20, 0x20);
        let mut expected = vec![
            72, 0, 0, 0, 0x15, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, 10, 1, 0, 0,
        ];
        expected.extend(&nested);
        expected.extend([28, 0, 2, 0x80]);
        expected.extend([8, 0, 2, 0, 8, 0, 0, 0]);
        expected.extend([8, 0, 4, 0, 0x20, 0, 0, 0]);
        expected.extend([8, 0, 5, 0, 0x20, 0, 0, 0]);
        assert_eq!(set, expected);
    }

    #[test]
    fn modes_are_read_from_an_answer_of_the_kernel() {
        let mut bits = Vec::new();
        put(&mut bits, ETHTOOL_A_BITSET_SIZE, &8_u32.to_ne_bytes());
        put(&mut bits, ETHTOOL_A_BITSET_VALUE, &0x20_u32.to_ne_bytes());
        put(&mut bits, ETHTOOL_A_BITSET_MASK, &0x2f_u32.to_ne_bytes());
        let mut body = vec![ETHTOOL_MSG_WOL_GET, 1, 0, 0];
        put_header(&mut body, "eth0");
        put(&mut body, ETHTOOL_A_WOL_MODES | NLA_F_NESTED, &bits);
        let body = payload(&message(0x15, 0, &body)).expect("well formed");
        let modes = read_wake_modes(&body).expect("modes");
        assert_eq!((modes.supported, modes.enabled), (0x2f, 0x20));
    }

    #[test]
    fn errors_and_acknowledgements_are_told_apart_and_nothing_panics() {
        let answer = |errno: i32| message(NLMSG_ERROR, 0, &errno.to_ne_bytes());
        assert!(payload(&answer(0)).expect("acknowledged").is_empty());
        let fault = payload(&answer(-95)).expect_err("refused");
        assert!(is_unsupported(&fault));
        let whole = message(0x15, 0, &[9, 1, 0, 0, 24, 0, 2, 0x80, 3, 0]);
        for length in 0..whole.len() {
            let cut = &whole[..length];
            assert!(
                payload(cut)
                    .and_then(|body| read_wake_modes(&body))
                    .is_err()
            );
        }
        // An attribute of length zero must not be looked at for ever.
        assert_eq!(find(&[0, 0, 0, 0, 0, 0, 0, 0], 1), None);
    }

    /// The kernel's own loopback card is everywhere: it is found, and it cannot wake anybody.
    #[test]
    fn the_kernel_understands_the_questions() {
        let modes = wake_modes("lo").expect_err("loopback has no wake modes");
        assert!(is_unsupported(&modes), "{modes}");
        let set = set_wake_modes("lo", 0x20, 0x20).expect_err("loopback has no wake modes");
        let refused = set.kind() == io::ErrorKind::PermissionDenied;
        assert!(is_unsupported(&set) || refused, "{set}");
        let missing = wake_modes("no-such-card").expect_err("no such card");
        assert_eq!(missing.raw_os_error(), Some(19));
        assert!(permanent_address("lo").is_ok());
    }
}
