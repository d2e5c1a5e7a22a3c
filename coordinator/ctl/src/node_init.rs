//! `homelabctl node init`: a Node made from what its agent reported.
//!
//! In: an agent. Out: YAML for `kubectl apply -f -` or for a file of the lab.
//! Holds: nothing is guessed silently; of several network cards the first is taken and the others stand beside it.

use crate::{fault::CtlFault, lab::Lab};

/// The YAML for a new Node of that name.
pub(crate) fn yaml(lab: &Lab, name: &str, group: &str) -> Result<String, CtlFault> {
    if lab
        .nodes
        .iter()
        .any(|node| node.metadata.name.as_deref() == Some(name))
    {
        return Err(CtlFault::Refused(format!(
            "there is a Node {name} already; edit that one"
        )));
    }
    let Some(agent) = lab.agents.iter().find(|agent| agent.name == name) else {
        let heard: Vec<&str> = lab.agents.iter().map(|agent| agent.name.as_str()).collect();
        let heard = if heard.is_empty() {
            "none yet".to_owned()
        } else {
            heard.join(", ")
        };
        return Err(CtlFault::Refused(format!(
            "no agent {name} was heard (heard: {heard}); start it with what `homelabctl agent config {name}` prints"
        )));
    };
    let Some((mac, others)) = agent.macs.split_first() else {
        return Err(CtlFault::Refused(format!(
            "agent {name} reported no wired network card, so its machine cannot be woken by a magic packet; \
             declare redfish by hand, or power: AlwaysOn"
        )));
    };
    let mut yaml = String::new();
    if !others.is_empty() {
        yaml.push_str(&format!("# other cards of {name}: {}\n", others.join(", ")));
    }
    yaml.push_str("apiVersion: homelab-autoscaler.dev/v1alpha1\nkind: Node\n");
    yaml.push_str(&format!("metadata: {{name: {name}}}\n"));
    yaml.push_str(&format!(
        "spec:\n  group: {group}\n  wakeOnLAN: {{mac: \"{mac}\"}}\n"
    ));
    Ok(yaml)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::Agent;

    fn lab(macs: &[&str]) -> Lab {
        Lab {
            agents: vec![Agent {
                name: "nuc1".to_owned(),
                macs: macs.iter().map(|mac| (*mac).to_owned()).collect(),
                ..Agent::default()
            }],
            ..Lab::default()
        }
    }

    #[test]
    fn a_node_is_made_of_what_its_agent_reported() {
        let yaml = yaml(
            &lab(&["1c:69:7a:0b:11:02", "1c:69:7a:0b:11:03"]),
            "nuc1",
            "workers",
        )
        .unwrap();
        let expected = "\
# other cards of nuc1: 1c:69:7a:0b:11:03
apiVersion: homelab-autoscaler.dev/v1alpha1
kind: Node
metadata: {name: nuc1}
spec:
  group: workers
  wakeOnLAN: {mac: \"1c:69:7a:0b:11:02\"}
";
        assert_eq!(yaml, expected);
        let node: coordinator_crds::Node = serde_norway::from_str(&yaml).unwrap();
        assert_eq!(node.spec.wake_on_lan.unwrap().mac, "1c:69:7a:0b:11:02");
    }

    #[test]
    fn what_is_missing_is_said_with_the_way_to_get_it() {
        let unheard = yaml(&lab(&[]), "nuc9", "workers").unwrap_err().to_string();
        assert!(
            unheard.contains("heard: nuc1") && unheard.contains("agent config nuc9"),
            "{unheard}"
        );
        let cardless = yaml(&lab(&[]), "nuc1", "workers").unwrap_err().to_string();
        assert!(cardless.contains("no wired network card"), "{cardless}");
    }
}
