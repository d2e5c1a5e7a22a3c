//! The way from an agent to its broker, which breaks when a certain thing is said on it.
//! Holds: what breaks the connection does not reach the broker; the next connection is left alone.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

type Trap = Arc<Mutex<Option<String>>>;

/// See the file's description.
pub(crate) struct Door {
    port: u16,
    trap: Trap,
}

impl Door {
    /// A way to the broker at this port.
    pub(crate) fn open(broker: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("its address").port();
        let trap = Trap::default();
        let armed = Arc::clone(&trap);
        // Ends with the process of the tests.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(broker) = TcpStream::connect(("127.0.0.1", broker)) else {
                    continue;
                };
                let (from, to) = (copy_of(&broker), copy_of(&client));
                thread::spawn(move || pass(from, to, &Trap::default()));
                let armed = Arc::clone(&armed);
                thread::spawn(move || pass(client, broker, &armed));
            }
        });
        Self { port, trap }
    }

    pub(crate) fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Breaks the connection, once, when the agent says this.
    pub(crate) fn break_at(&self, said: String) {
        *held(&self.trap) = Some(said);
    }

    pub(crate) fn has_broken(&self) -> bool {
        held(&self.trap).is_none()
    }
}

fn held(trap: &Trap) -> MutexGuard<'_, Option<String>> {
    trap.lock().unwrap_or_else(PoisonError::into_inner)
}

fn copy_of(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("another handle of a socket")
}

/// Until either end is closed, or the trap springs.
fn pass(mut from: TcpStream, mut to: TcpStream, trap: &Trap) {
    let mut buffer = [0; 16_384];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        let said = String::from_utf8_lossy(&buffer[..length]);
        let mut armed = held(trap);
        if armed.as_ref().is_some_and(|word| said.contains(word)) {
            *armed = None;
            break;
        }
        drop(armed);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        // The other direction may have closed it already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
