//! Calls that fail on their way, to the coordinator or back. Those of the autoscaler's loop: see `cluster/soak.rs`.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use proto_autoscaler::{CleanupRequest, GetAvailableGpuTypesRequest};
use tests::{caller::Caller, cluster_stage::LAB, unsteady::UnsteadyLine};
use tonic::{Code, transport::Endpoint};

use super::{
    floor::{Group, LIMIT, on_paper, refused, shared},
    prices::{node_price, pod_price},
};

/// What no loop calls while all goes well.
const RARE_CALLS: &[&str] = &[
    "NodeGroupDecreaseTargetSize",
    "GetAvailableGPUTypes",
    "Cleanup",
    "PricingNodePrice",
    "PricingPodPrice",
];
/// How a caller learns of a call that was lost, and of one whose answer was.
const FAILURES: [Code; 2] = [Code::Unavailable, Code::DeadlineExceeded];

#[test]
fn c50_rare_call_that_is_lost_changes_nothing_and_one_without_answer_takes_effect_once()
-> Result<()> {
    shared(async |stage| {
        let group = on_paper(stage, "c50", &["c50a", "c50b", "c50c"]).await?;
        group.increase(3).await?;
        group.until_packets(group.machines).await?;
        let line = UnsteadyLine::to(stage.channel()?).await?;
        line.fail(RARE_CALLS);
        let way = Endpoint::from_shared(format!("http://{}", line.address()))?;
        let far = Group {
            stage,
            caller: Caller::new(way.connect_lazy(), LAB),
            name: group.name,
            machines: group.machines,
            hollow: BTreeMap::new(),
        };
        for (code, left) in [(FAILURES[0], 3), (FAILURES[1], 2)] {
            refused(far.caller.decrease(far.name, -1).await, code)?;
            ensure!(group.target().await? == left);
            group.agrees().await?;
        }
        // The autoscaler's list is older than that: it gives the same machine back.
        let fake = far.caller.fake_node("c50c", "unregistered");
        far.caller.delete_nodes(far.name, vec![fake]).await?;
        ensure!(group.target().await? == 2);
        far.caller.decrease(far.name, -1).await?;
        ensure!(group.target().await? == 1 && group.creating().await? == ["c50a"]);

        let mut client = far.caller.client.clone();
        let (cleanup, gpus) = (CleanupRequest {}, GetAvailableGpuTypesRequest {});
        let fake = || far.caller.fake_node("c50a", "unregistered");
        for code in FAILURES {
            refused(client.cleanup(cleanup).await, code)?;
            refused(client.get_available_gpu_types(gpus).await, code)?;
            refused(node_price(&far.caller, fake()).await, code)?;
            refused(pod_price(&far.caller).await, code)?;
        }
        client.cleanup(cleanup).await?;
        client.get_available_gpu_types(gpus).await?;
        for price in [
            node_price(&far.caller, fake()).await,
            pod_price(&far.caller).await,
        ] {
            // This group has no prices; another check may declare some right now.
            let code = price.as_ref().err().map(tonic::Status::code);
            ensure!(
                !code.is_some_and(|code| FAILURES.contains(&code)),
                "{price:?}"
            );
        }
        line.until_failed(LIMIT).await?;
        ensure!(group.target().await? == 1 && group.creating().await? == ["c50a"]);
        group.agrees().await
    })
}
