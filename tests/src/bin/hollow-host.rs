//! What stands for a hollow machine's hardware where a program must: its power switch, its card, a door to its host.
//! In: `signal <switch> <verb>`, `listen <nic>` or `forward <socket> <address>`. Out: the verb, sent to the switch; one line of JSON for
//! each magic packet that the card hears; connections, carried on.
//! Holds: ends with 0 if the switch took the verb, with 64 on wrong arguments, with 69 if what is named is not there.

use std::{
    env,
    error::Error,
    io::{self, Write},
    net::SocketAddr,
    os::unix::net::UnixDatagram,
    path::Path,
    process::ExitCode,
};

use ::tests::lan::{door, listen};

/// Wrong arguments, as `sysexits.h` numbers it.
const USAGE: u8 = 64;
/// Nobody there, as `sysexits.h` numbers it.
const UNAVAILABLE: u8 = 69;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    ExitCode::from(run(&arguments))
}

fn run(arguments: &[String]) -> u8 {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["signal", switch, verb @ ("poweroff" | "reboot")] => signal(switch, verb),
        ["listen", nic] => match listen::listen(nic, &mut io::stdout()) {
            Ok(()) => 0,
            Err(error) => complain(error.as_ref()),
        },
        ["forward", socket, address] => forward(socket, address),
        _ => USAGE,
    }
}

fn signal(switch: &str, verb: &str) -> u8 {
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(verb.as_bytes(), switch));
    if sent.is_ok() { 0 } else { UNAVAILABLE }
}

fn forward(socket: &str, address: &str) -> u8 {
    let Ok(address) = address.parse::<SocketAddr>() else {
        return USAGE;
    };
    match door::forward(Path::new(socket), address) {
        Ok(()) => 0,
        Err(error) => complain(&error),
    }
}

fn complain(error: &(dyn Error + 'static)) -> u8 {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    // Without anybody who reads it, the exit code still tells.
    let _closed = writeln!(io::stderr(), "{line}");
    UNAVAILABLE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(arguments: &[&str]) -> u8 {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        run(&arguments)
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
            &["listen"],
            &["forward", "x", "nowhere"],
        ] {
            assert_eq!(code(wrong), USAGE, "{wrong:?}");
        }
    }
}
