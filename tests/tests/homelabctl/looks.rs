//! `explain` and `check`: what people see who only look.

use coordinator_crds::yaml;
use k8s_openapi::api::{
    core::v1::Pod,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::from_value;
use tests::{cluster_stage::OWN, harness::wait};

use super::{cluster, front::Front, local, *};

/// Where the rights stand that looking needs.
const GUIDE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/src/reference/homelabctl.md"
);

#[tokio::test(flavor = "multi_thread")]
async fn lab_without_a_cluster_is_explained_and_checked() -> Result<()> {
    let (stage, ctl) = local::start().await?;
    let near = "NotFound: there is no Node nuc7; did you mean nuc1?";
    ctl.fails(&["explain", "nuc7"], 1, near)?;
    ctl.explains(
        "nuc1",
        &["nuc1 (group workers)", "Wish none:", "Lock free.", "Next "],
    )?;
    ctl.confirms_off("nuc1").await?;
    ctl.does(&["power", "on", "nuc1", "--for", "2h"])?;
    local::until_phase(&stage, "nuc1", "Running").await?;
    let running = [
        "nuc1 (group workers) runs (Running",
        "Wish running: user ann keeps it running until",
        "Agent nuc1 is heard.",
        "WakeSent: ",
        "from relay relay, train 1; asked by user ann",
        "`homelabctl power release nuc1` gives it back to its group.",
    ];
    ctl.explains("nuc1", &running)?;

    let sound = [
        "ok    coordinator  it decides, and its broker is connected",
        "ok    places ",
        "ok    relays       segment default has relay awake",
        "ok    clocks       within 10 s of the coordinator's: ",
        "ok    proofs       woken by us before: nuc1",
        "ok    autoscaler ",
    ];
    // Agents tell their clock when they connect and once a minute.
    wait::until(LIMIT, "the clocks are told", async || ctl.checks(0, &sound)).await?;
    let slow = format!(
        "apiVersion: homelab-autoscaler.dev/v1alpha1\nkind: Node\nmetadata: {{name: nuc2}}\nspec:\n  group: workers\n  \
         timeouts: {{boot: 20m}}\n  wakeOnLAN: {{mac: \"{}\", segment: garage}}\n",
        mac("nuc2")
    );
    std::fs::write(stage.lab_folder().join("nuc2.yaml"), slow)?;
    let wrong = [
        "fail  relays       no agent is a relay on segment garage: nobody can wake nuc2",
        "fail  autoscaler   nuc2 may take 20m to boot, but the default of --max-node-provision-time is 15m",
    ];
    wait::until(LIMIT, "the mistakes are told", async || {
        ctl.checks(2, &wrong)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_explained_and_checked_with_the_rights_that_the_guide_lists() -> Result<()> {
    let (stage, admin) = cluster::start().await?;
    admin.confirms_off("nuc1").await?;
    admin.does(&["power", "on", "nuc1"])?;
    stage.until_phase("nuc1", "Running").await?;
    let ann = viewer(&stage).await?;
    let denied = "homelabnodes.homelab-autoscaler.dev \"nuc1\" is forbidden";
    ann.fails(&["power", "off", "nuc1"], 1, denied)?;
    let near = "NotFound: there is no Node nuc7; did you mean nuc1?";
    ann.fails(&["explain", "nuc7"], 1, near)?;
    let running = [
        "nuc1 (group workers) runs (Running",
        "Wish running: user ann keeps it running until released",
        "WakeSent: ",
        "asked by user ann",
    ];
    wait::until(LIMIT, "the Events are told", async || {
        ann.explains("nuc1", &running)
    })
    .await?;
    // The API server refuses to pass requests on to this host, and says so after it has found her to have the right.
    let said = ann.say(&["check"])?;
    ensure!(
        said.code == Some(0) && !said.out.contains("forbidden"),
        "{said:?}"
    );

    let front = Front::start(&stage.plane, stage.admin()).await?;
    let ctl = Ctl::at("--kubeconfig", front.kubeconfig())?;
    let sound = [
        "ok    coordinator  it decides, and its broker is connected",
        "ok    relays       segment default has relay awake",
        "ok    proofs       woken by us before: nuc1",
        "warn  autoscaler   no pod or Deployment of a cluster-autoscaler is seen",
        "ok    leftovers ",
    ];
    ctl.checks(0, &sound)?;
    let container = json!({"name": "ca", "image": "example/cluster-autoscaler:v1.36.1",
        "args": ["--cloud-provider=aws", "--cloud-config=c", "--max-node-provision-time=10m"]});
    let pod: Pod =
        from_value(json!({"metadata": {"name": "ca"}, "spec": {"containers": [container]}}))?;
    stage.pods().create(&PostParams::default(), &pod).await?;
    stage.until_pod_runs("ca").await?;
    let taint = json!({"key": "homelab-autoscaler.dev/power-off", "effect": "NoSchedule"});
    let left = Patch::Merge(json!({"spec": {"taints": [taint]}}));
    stage
        .nodes()
        .patch("small", &PatchParams::default(), &left)
        .await?;
    let wrong = [
        "fail  autoscaler   lab/ca runs with --cloud-provider=aws, so it never asks us",
        "fail  autoscaler   nuc1 may take 10m to boot, but --max-node-provision-time of lab/ca is 10m",
        "fail  leftovers    Node small belongs to no machine and has taint homelab-autoscaler.dev/power-off",
    ];
    ctl.checks(3, &wrong)
}

/// A user named ann with nothing but the rights in the guide.
async fn viewer(stage: &ClusterStage) -> Result<Ctl> {
    let guide = std::fs::read_to_string(GUIDE)?;
    let (_, rights) = guide
        .split_once("```yaml\n")
        .context("rights in the guide")?;
    let (rights, _) = rights.split_once("```").context("their end")?;
    let client = stage.client();
    let create = PostParams::default();
    for document in yaml::documents(rights).context("read the rights")? {
        let object = document.value;
        match object["kind"].as_str() {
            Some("ClusterRole") => {
                let roles: Api<ClusterRole> = Api::all(client.clone());
                roles
                    .create(&create, &from_value(object)?)
                    .await
                    .map(drop)?;
            }
            Some("Role") => {
                let roles: Api<Role> = Api::namespaced(client.clone(), OWN);
                roles
                    .create(&create, &from_value(object)?)
                    .await
                    .map(drop)?;
            }
            other => anyhow::bail!("rights of kind {other:?}"),
        }
    }
    let subjects =
        json!([{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]);
    let binding = |kind: &str| {
        json!({"metadata": {"name": "homelab-viewer"}, "subjects": subjects,
            "roleRef": {"kind": kind, "name": "homelab-viewer", "apiGroup": "rbac.authorization.k8s.io"}})
    };
    let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
    bindings
        .create(&create, &from_value(binding("ClusterRole"))?)
        .await?;
    let bindings: Api<RoleBinding> = Api::namespaced(client, OWN);
    bindings
        .create(&create, &from_value(binding("Role"))?)
        .await?;
    let admin = std::fs::read_to_string(stage.plane.kubeconfig_path())?;
    let mut ann = Ctl::at("--kubeconfig", Path::new("kubeconfig"))?;
    let text = admin.replace("user: {token:", "user: {as: ann, token:");
    ensure!(text != admin, "{admin}");
    ann.place = vec![
        "--kubeconfig".to_owned(),
        ann.home.write("kubeconfig", text)?.display().to_string(),
    ];
    Ok(ann)
}
