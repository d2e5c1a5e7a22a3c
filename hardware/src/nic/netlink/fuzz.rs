//! Decoders of this module for the fuzzer.

use super::{payload, read_address, read_family, read_wake_modes};
use crate::nic::wake_modes::WakeModes;

/// An answer of the kernel, read for each question that is asked. Answers how many of them it can be the answer to.
///
/// # Panics
/// Wake modes that a card may have are not the same as letters.
#[must_use]
pub fn reply(answer: &[u8]) -> usize {
    let Ok(reply) = payload(answer) else {
        return 0;
    };
    let address = read_address(&reply).ok().flatten();
    let family = read_family(&reply).ok();
    let modes = read_wake_modes(&reply).ok();
    if let Some(modes) = modes {
        for bits in [modes.supported, modes.enabled] {
            let known = bits & 0xff;
            let letters = WakeModes::letters(bits);
            let reread = WakeModes::from_letters(&letters).ok();
            assert_eq!(reread, Some(known), "{letters}");
        }
    }
    usize::from(address.is_some()) + usize::from(family.is_some()) + usize::from(modes.is_some())
}
