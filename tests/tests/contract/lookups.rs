//! Which group a Node is in: real Nodes, Nodes that the autoscaler makes up, Nodes that are none of ours.

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, PostParams};
use proto_autoscaler::ExternalGrpcNode;
use serde_json::{from_value, json};
use tests::{
    cluster_stage::{POWER_OFF, objects::has_taint},
    harness::wait,
};

use super::floor::{
    Behind, Group, LIMIT, group as add, on_paper, on_shelf, plan, shared, state_of,
};

/// What the group of this Node is said to be.
async fn group_of(group: &Group<'_>, provider_id: &str, name: &str) -> Result<String> {
    let node = ExternalGrpcNode {
        provider_id: provider_id.to_owned(),
        name: name.to_owned(),
        ..ExternalGrpcNode::default()
    };
    Ok(group.caller.group_for(node).await?.id)
}

#[test]
fn c07_node_is_found_by_provider_id_then_by_name_and_answers_like_the_list() -> Result<()> {
    shared(async |stage| {
        let one = on_paper(stage, "c07x", &["c07a"]).await?;
        let other = on_paper(stage, "c07y", &["c07b"]).await?;
        one.increase(1).await?;
        other.increase(1).await?;
        let id = one.caller.provider_id("c07a");
        ensure!(group_of(&one, &id, "c07b").await? == "lab/c07x");
        ensure!(group_of(&one, "", "c07b").await? == "lab/c07y");
        ensure!(group_of(&one, "aws:///elsewhere/i-1", "c07b").await? == "lab/c07y");
        let answer = one.caller.group_for(one.caller.node("c07a")).await?;
        ensure!(answer == one.row().await?, "{answer:?}");
        Ok(())
    })
}

#[test]
fn c08_unknown_and_unmanaged_nodes_have_no_group_and_no_error() -> Result<()> {
    shared(async |stage| {
        let mut plan = plan("c08", &["c08a", "c08b"]);
        // By their names it would be the first to be chosen.
        let unmanaged = json!({"power": "Unmanaged"});
        plan.otherwise.insert("c08a", unmanaged);
        let group = add(stage, plan, Behind::Nothing).await?;
        group.increase(1).await?;
        ensure!(group.creating().await? == ["c08b"]);
        ensure!(group.caller.group_of("c08b").await? == "lab/c08");
        ensure!(group.caller.group_of("c08a").await?.is_empty());
        let nobody = group_of(&group, "homelab://lab/nobody", "nobody").await?;
        let nothing = group_of(&group, "", "").await?;
        ensure!(
            nobody.is_empty() && nothing.is_empty(),
            "{nobody}, {nothing}"
        );
        Ok(())
    })
}

#[test]
fn c08_node_of_the_control_plane_and_node_of_an_unmanaged_machine_have_no_group_and_stay()
-> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c08nodes", &["c08p", "c08u"]).await?;
        group.increase(2).await?;
        let (nodes, params) = (stage.nodes(), PostParams::default());
        let control_plane = json!({"node-role.kubernetes.io/control-plane": ""});
        for (machine, labels) in [("c08p", control_plane), ("c08u", json!({}))] {
            ensure!(group.caller.group_of(machine).await? == "lab/c08nodes");
            let provider_id = group.caller.provider_id(machine);
            let node = json!({
                "metadata": {"name": machine, "labels": labels},
                "spec": {"providerID": provider_id},
            });
            nodes.create(&params, &from_value(node)?).await?;
        }
        let unmanaged = json!({"power": "Unmanaged"});
        group.edit_machine("c08u", unmanaged).await?;
        for machine in group.machines {
            let id = group.caller.provider_id(machine);
            let id = id.as_str();
            for (provider_id, name) in [(id, *machine), (id, ""), ("", *machine)] {
                wait::until(LIMIT, "no group", async || {
                    let named = group_of(&group, provider_id, name).await?;
                    ensure!(named.is_empty(), "{provider_id} {name}: {named}");
                    Ok(())
                })
                .await?;
            }
        }
        ensure!(group.target().await? == 0 && group.instances().await?.is_empty());
        for machine in group.machines {
            let node = nodes.get(machine).await?;
            ensure!(!has_taint(&node, POWER_OFF), "{node:?}");
            nodes.delete(machine, &DeleteParams::default()).await?;
        }
        Ok(())
    })
}

#[test]
fn c09_fake_node_of_a_booting_machine_is_in_its_group() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c09", &["c09a"]).await?;
        let asleep = group.caller.fake_node("c09a", "unregistered");
        ensure!(group.caller.group_for(asleep.clone()).await?.id.is_empty());
        group.increase(1).await?;
        for reason in ["unregistered", "create-error"] {
            let fake = group.caller.fake_node("c09a", reason);
            ensure!(group.caller.group_for(fake).await?.id == "lab/c09");
        }
        ensure!(stage.nodes().get_opt("c09a").await?.is_none());
        Ok(())
    })
}

#[test]
fn c10_template_nodes_are_answered_without_an_error() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c10", &["c10a"]).await?;
        group.increase(1).await?;
        for provider_id in [String::new(), group.caller.provider_id("c10a")] {
            let node = ExternalGrpcNode {
                provider_id,
                name: "template-node-for-lab/c10-4711-upcoming-0".to_owned(),
                labels: [("cluster-autoscaler.kubernetes.io/template-node", "true")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                annotations: [("cluster-autoscaler.k8s.io/upcoming-node", "true")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            };
            let id = group.caller.group_for(node).await?.id;
            ensure!(id.is_empty() || id == "lab/c10", "{id}");
        }
        Ok(())
    })
}

#[test]
fn c11_no_node_is_in_a_group_that_is_not_listed() -> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c11", &["c11a"]).await?;
        group.increase(1).await?;
        ensure!(group.caller.group_of("c11a").await? == "lab/c11");
        let groups = stage.groups();
        groups.delete("c11", &DeleteParams::default()).await?;
        let mut unlisted = Vec::new();
        wait::until(LIMIT, "the group is gone", async || {
            // In this order: an answer between the two would name a group that the list had no more.
            let listed = group.caller.groups().await?;
            let named = group.caller.group_of("c11a").await?;
            if !named.is_empty() && !listed.iter().any(|row| row.id == named) {
                unlisted.push(named.clone());
            }
            let is_listed = listed.iter().any(|row| row.id == "lab/c11");
            ensure!(!is_listed && named.is_empty(), "{is_listed}, {named:?}");
            Ok(())
        })
        .await?;
        ensure!(unlisted.is_empty(), "{unlisted:?}");
        Ok(())
    })
}

#[test]
fn c13_running_instances_and_nodes_of_the_group_are_the_same_machines() -> Result<()> {
    shared(async |stage| {
        let group = on_shelf(stage, "c13", &["c13a", "c13b"]).await?;
        group.all_running().await?;
        let instances = group.instances().await?;
        ensure!(instances.len() == 2, "{instances:?}");
        for instance in &instances {
            let node = ExternalGrpcNode {
                provider_id: instance.id.clone(),
                ..ExternalGrpcNode::default()
            };
            let id = group.caller.group_for(node).await?.id;
            ensure!(id == "lab/c13", "{instance:?}: {id:?}");
        }
        group.delete("c13b").await?;
        // In this order: what is asked later may only have gone further.
        let listed = group.instances().await?;
        let id = group.caller.group_of("c13b").await?;
        let of_b = group.caller.provider_id("c13b");
        let states: Vec<_> = listed
            .iter()
            .filter(|one| one.id == of_b)
            .map(state_of)
            .collect();
        ensure!(id.is_empty() || states.len() == 1, "{id:?}, {states:?}");
        Ok(())
    })
}
