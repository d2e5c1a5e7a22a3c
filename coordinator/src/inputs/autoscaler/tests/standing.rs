//! Who may answer at all: a process that has loaded everything, and leads at this very moment.

use proto_autoscaler::SERVICE_NAME;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::reads::about;
use super::*;

/// Every call about groups, Nodes or prices is refused for this reason, and the engine hears of none.
async fn refuses_all(bench: &mut Bench, reason: &str) {
    let client = &mut bench.client;
    let status = client.node_groups(NodeGroupsRequest {}).await.unwrap_err();
    let told = (status.code(), status.message());
    assert_eq!(told, (Code::Unavailable, reason));
    let nobody = NodeGroupForNodeRequest { node: None };
    let mut codes = about(client, "default/workers").await.to_vec();
    codes.push(code(client.refresh(RefreshRequest {}).await));
    codes.push(code(client.node_group_for_node(nobody).await));
    // Kinds are kept by the autoscaler for ever: none at all would be the wrong answer.
    let kinds = GetAvailableGpuTypesRequest {};
    codes.push(code(client.get_available_gpu_types(kinds).await));
    let machine = PricingNodePriceRequest::default();
    codes.push(code(client.pricing_node_price(machine).await));
    let pod = PricingPodPriceRequest::default();
    codes.push(code(client.pricing_pod_price(pod).await));
    let (id, nodes) = (|| "default/workers".to_owned(), vec![node("p", "n")]);
    let more = NodeGroupIncreaseSizeRequest { id: id(), delta: 1 };
    let fewer = NodeGroupDecreaseTargetSizeRequest {
        id: id(),
        delta: -1,
    };
    let without = NodeGroupDeleteNodesRequest { id: id(), nodes };
    codes.push(code(client.node_group_increase_size(more).await));
    codes.push(code(client.node_group_decrease_target_size(fewer).await));
    codes.push(code(client.node_group_delete_nodes(without).await));
    assert_eq!(codes, [Code::Unavailable; 12]);
    assert!(
        bench.asked.lock().unwrap().is_empty(),
        "the engine was not asked"
    );
}

#[tokio::test]
async fn until_it_serves_every_answer_about_groups_is_unavailable() {
    let mut view = lab([group("default/workers")]);
    view.serving = false;
    view.waiting_for = "the lease";
    let mut bench = Bench::showing(view).await;
    refuses_all(&mut bench, "not serving: waiting for the lease").await;
}

#[tokio::test]
async fn a_leader_whose_mandate_has_ended_answers_nothing_from_what_it_knew() {
    let mut bench = Bench::showing(lab([group("default/workers")])).await;
    bench.client.refresh(RefreshRequest {}).await.unwrap();
    bench.script.engine.mandate.end();
    refuses_all(&mut bench, "not serving: waiting for the leader's Lease").await;
    let asked = HealthCheckRequest {
        service: SERVICE_NAME.into(),
    };
    let mut health = HealthClient::new(health::channel(bench.address).await);
    let answer = health.check(asked).await.unwrap().into_inner();
    assert_eq!(answer.status(), ServingStatus::NotServing);
}
