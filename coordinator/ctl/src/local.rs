//! A coordinator without Kubernetes, through its local socket: one JSON object in each line.
//!
//! Not here: what the coordinator does with it (`coordinator`, `inputs::standalone`).

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use coordinator_crds::{Node, node_status::Ask};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    agent_config::Access,
    check::{Facts, HostFacts, Surroundings},
    fault::CtlFault,
    lab::{Lab, Told},
};

/// The boot id of this host's kernel, which is the coordinator's too: a local socket has both ends on one host.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Longer than the coordinator itself waits for its core.
const PATIENCE: Duration = Duration::from_secs(15);

/// The socket.
#[derive(Debug)]
pub(crate) struct Local {
    path: PathBuf,
}

/// What every answer begins with.
#[derive(Deserialize)]
struct Envelope {
    ok: bool,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Local {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    pub(crate) fn lab(&self) -> Result<Lab, CtlFault> {
        self.read(&json!({ "verb": "status" }))
    }

    pub(crate) fn ask(&self, node: &str, ask: &Ask) -> Result<(), CtlFault> {
        self.exchange(&json!({ "verb": "ask", "node": node, "ask": ask }))
            .map(drop)
    }

    pub(crate) fn access(&self) -> Result<Access, CtlFault> {
        #[derive(Deserialize)]
        struct Answer {
            access: Access,
        }
        let answer: Answer = self.read(&json!({ "verb": "agentConfig" }))?;
        Ok(answer.access)
    }

    pub(crate) fn facts(&self) -> Result<Facts, CtlFault> {
        let boot_id = fs::read_to_string(BOOT_ID).ok();
        Ok(Facts {
            lab: self.lab()?,
            around: Surroundings::Host(HostFacts {
                boot_id: boot_id.map(|text| text.trim().to_owned()),
                name: rustix::system::uname()
                    .nodename()
                    .to_string_lossy()
                    .into_owned(),
                broker: self.access()?.broker,
            }),
        })
    }

    fn read<T: DeserializeOwned>(&self, request: &Value) -> Result<T, CtlFault> {
        let answer = self.exchange(request)?;
        serde_json::from_value(answer)
            .map_err(|fault| self.silent(&format!("its answer is not understood ({fault})")))
    }

    fn exchange(&self, request: &Value) -> Result<Value, CtlFault> {
        let answer: Value = serde_json::from_str(
            &self
                .talk(request)
                .map_err(|fault| self.silent(&fault.to_string()))?,
        )
        .map_err(|fault| self.silent(&format!("its answer is no JSON ({fault})")))?;
        let envelope = Envelope::deserialize(&answer)
            .map_err(|fault| self.silent(&format!("its answer is not understood ({fault})")))?;
        if envelope.ok {
            return Ok(answer);
        }
        Err(CtlFault::Refused(format!(
            "{}: {}",
            envelope.reason, envelope.message
        )))
    }

    fn talk(&self, request: &Value) -> std::io::Result<String> {
        let mut stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line)?;
        if line.is_empty() {
            return Err(std::io::Error::other("it hung up without an answer"));
        }
        Ok(line)
    }

    fn silent(&self, why: &str) -> CtlFault {
        CtlFault::Socket {
            socket: self.path.clone(),
            why: why.to_owned(),
        }
    }
}

/// What was told of a machine, among what the coordinator keeps of all.
pub(crate) fn told(lab: &Lab, node: &Node) -> Vec<Told> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let events = lab
        .events
        .iter()
        .filter_map(|event| Told::deserialize(event).ok());
    events
        .filter(|told| told.kind == "Node" && told.name == name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    /// A coordinator that answers one request with `answer` and hands the request out.
    fn scripted(
        answer: &'static str,
    ) -> (tempfile::TempDir, Local, std::thread::JoinHandle<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap())
                .read_line(&mut line)
                .unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            line
        });
        (dir, Local::new(&path), served)
    }

    #[test]
    fn the_status_of_the_first_release_is_read() {
        // Written by the first release. Never edit: an older coordinator must stay readable.
        let (_dir, local, served) = scripted(concat!(
            r#"{"v":1,"ok":true,"nowMs":5,"serving":false,"waitingFor":"stored state","brokerUp":true,"groups":[],"#,
            r#""nodes":[{"apiVersion":"homelab-autoscaler.dev/v1alpha1","kind":"Node","metadata":{"name":"nuc1"},"#,
            r#""spec":{"group":"workers"}}],"agents":[{"name":"pi","live":true,"segments":["default"],"#,
            r#""macs":["1c:69:7a:0b:11:02"],"publicKey":null}],"events":[]}"#,
            "\n"
        ));
        let lab = local.lab().unwrap();
        assert_eq!(served.join().unwrap(), "{\"verb\":\"status\"}\n");
        assert_eq!(lab.waiting_for, "stored state");
        assert_eq!(lab.nodes[0].metadata.name.as_deref(), Some("nuc1"));
        assert_eq!(lab.agents[0].macs, ["1c:69:7a:0b:11:02"]);
    }

    #[test]
    fn of_the_kept_events_those_of_the_machine_are_taken() {
        let (_dir, local, served) = scripted(concat!(
            r#"{"v":1,"ok":true,"events":[{"at_ms":1,"kind":"Group","name":"nuc1","severity":"Normal","reason":"A","message":"m","count":1},"#,
            r#"{"at_ms":2,"kind":"Node","name":"nuc1","severity":"Warning","reason":"B","message":"m","count":3},"#,
            r#"{"at_ms":3,"kind":"Node","name":"nuc2","severity":"Normal","reason":"C","message":"m","count":1},{"later":[]}],"#,
            r#""nodes":[{"apiVersion":"homelab-autoscaler.dev/v1alpha1","kind":"Node","metadata":{"name":"nuc1"},"spec":{"group":"g"}}]}"#,
            "\n"
        ));
        let lab = local.lab().unwrap();
        served.join().unwrap();
        let told = told(&lab, &lab.nodes[0]);
        let [event] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!((event.reason.as_str(), event.count), ("B", 3));
        assert!(event.is_warning());
    }

    #[test]
    fn a_refusal_is_handed_on_in_the_coordinators_words() {
        let (_dir, local, served) = scripted(
            "{\"v\":1,\"ok\":false,\"reason\":\"NotFound\",\"message\":\"no machine nuc9\"}\n",
        );
        let ask: Ask = serde_json::from_str(
            r#"{"id":"i","verb":"PowerOn","until":"2026-11-21T14:00:00Z","by":"user ann"}"#,
        )
        .unwrap();
        let refused = local.ask("nuc9", &ask).unwrap_err();
        assert_eq!(refused.to_string(), "NotFound: no machine nuc9");
        assert_eq!(refused.code(), 1);
        let asked: Value = serde_json::from_str(&served.join().unwrap()).unwrap();
        let expected = json!({
            "verb": "ask",
            "node": "nuc9",
            "ask": { "id": "i", "verb": "PowerOn", "until": "2026-11-21T14:00:00Z", "by": "user ann" },
        });
        assert_eq!(asked, expected);
    }

    #[test]
    fn a_socket_without_a_coordinator_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let silent = Local::new(&dir.path().join("nobody")).lab().unwrap_err();
        assert_eq!(silent.code(), 69);
        let words = silent.to_string();
        assert!(words.contains("nobody") && !words.contains('\n'), "{words}");
    }
}
