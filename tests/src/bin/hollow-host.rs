//! The program that a hollow machine's agent runs to take the machine down: `hollow-host signal <switch> <verb>`.
//! In: the machine's switch (a datagram socket in its folder) and a verb, `poweroff` or `reboot`. Out: the verb, sent to the switch.
//! Holds: ends with 0 if the switch took the verb, with 64 on wrong arguments, with 69 if there is no such machine.

use std::{env, os::unix::net::UnixDatagram, process::ExitCode};

/// Wrong arguments, as `sysexits.h` numbers it.
const USAGE: u8 = 64;
/// Nobody there, as `sysexits.h` numbers it.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    ExitCode::from(signal(&arguments))
}

fn signal(arguments: &[String]) -> u8 {
    let [command, switch, verb] = arguments else {
        return USAGE;
    };
    if command != "signal" || !matches!(verb.as_str(), "poweroff" | "reboot") {
        return USAGE;
    }
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(verb.as_bytes(), switch));
    if sent.is_ok() { 0 } else { UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(arguments: &[&str]) -> u8 {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        signal(&arguments)
    }

    #[test]
    fn verb_reaches_the_switch() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("power");
        let path = path.to_str().unwrap();
        assert_eq!(code(&["signal", path, "poweroff"]), UNAVAILABLE);
        let switch = UnixDatagram::bind(path).unwrap();
        assert_eq!(code(&["signal", path, "poweroff"]), 0);
        let mut buffer = [0; 64];
        let length = switch.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"poweroff");
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [
            &[][..],
            &["signal", "x"],
            &["x", "y", "poweroff"],
            &["signal", "x", "fly"],
        ] {
            assert_eq!(code(wrong), USAGE, "{wrong:?}");
        }
    }
}
