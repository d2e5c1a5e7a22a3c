//! Manifests against the real API server: what is good is taken, what is bad is refused in the words that standalone uses.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use coordinator_crds::{Group, yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tests::harness::{ControlPlane, Parts, wait};

/// Long enough for an API server to take a definition over.
const LIMIT: Duration = Duration::from_secs(60);

fn fixtures(folder: &str) -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../coordinator/crds/tests/fixtures")
        .join(folder);
    let entries = fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    Ok(files)
}

/// Creates a document as strict kubectl does, without keeping it. `Err` holds what the server says.
async fn create(client: &Client, document: &Value) -> Result<Result<(), String>> {
    let resource = match document["kind"].as_str() {
        Some("Group") => "homelabgroups",
        Some("Node") => "homelabnodes",
        other => anyhow::bail!("a fixture of kind {other:?}"),
    };
    let namespace = document["metadata"]["namespace"]
        .as_str()
        .unwrap_or("default");
    let path = format!(
        "/apis/homelab-autoscaler.dev/v1alpha1/namespaces/{namespace}/{resource}?dryRun=All&fieldValidation=Strict"
    );
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(document)?)?;
    match client.request::<Value>(request).await {
        Ok(_) => Ok(Ok(())),
        Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
        Err(fault) => Err(fault).context("ask the API server"),
    }
}

async fn server() -> Result<(ControlPlane, Client)> {
    let plane = ControlPlane::start_with(Parts::API_ONLY).await?;
    plane.apply_crds().await?;
    let client = plane.client().await?;
    Ok((plane, client))
}

#[tokio::test]
async fn bad_objects_are_refused_with_the_message_that_names_the_field() -> Result<()> {
    let (_plane, client) = server().await?;
    let files = fixtures("bad")?;
    ensure!(files.len() >= 20, "only {} bad objects", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let documents =
            yaml::documents(&text).with_context(|| format!("read {}", file.display()))?;
        let document = documents
            .first()
            .with_context(|| format!("{} is empty", file.display()))?;
        let said = create(&client, &document.value)
            .await?
            .err()
            .unwrap_or_default();
        for expected in text
            .lines()
            .filter_map(|line| line.strip_prefix("# expect: "))
        {
            if !said.contains(expected) {
                wrong.push(format!("{}: not {expected:?} but {said:?}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

#[tokio::test]
async fn good_objects_and_the_guides_lab_are_taken() -> Result<()> {
    let (_plane, client) = server().await?;
    let mut files = fixtures("good")?;
    files.extend(fixtures("")?);
    let mut taken = 0;
    for file in files {
        let text = fs::read_to_string(&file)?;
        for document in
            yaml::documents(&text).with_context(|| format!("read {}", file.display()))?
        {
            if document.value["kind"] == "Secret" {
                continue;
            }
            let answer = create(&client, &document.value).await?;
            assert_eq!(answer, Ok(()), "{}", file.display());
            taken += 1;
        }
    }
    assert!(taken >= 5, "only {taken} good objects");
    Ok(())
}

/// Takes every rule out of a schema.
fn without_rules(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        object.remove("x-kubernetes-validations");
        object.values_mut().for_each(without_rules);
    }
}

#[tokio::test]
async fn an_object_that_is_older_than_a_rule_still_takes_its_status() -> Result<()> {
    let (plane, client) = server().await?;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let groups: Api<Group> = Api::default_namespaced(client.clone());
    let name = "homelabgroups.homelab-autoscaler.dev";
    let ruled = crds.get(name).await?;
    let mut older = serde_json::to_value(&ruled)?;
    let versions = older["spec"]["versions"].as_array_mut();
    for version in versions.context("a version")? {
        without_rules(&mut version["schema"]["openAPIV3Schema"]);
    }
    crds.replace(
        name,
        &PostParams::default(),
        &serde_json::from_value(older)?,
    )
    .await?;
    let group: Group = serde_json::from_value(json!({
        "apiVersion": "homelab-autoscaler.dev/v1alpha1", "kind": "Group",
        "metadata": {"name": "old"}, "spec": {"scaleDown": {"maxNodeProvisionDuration": "0s"}},
    }))?;
    wait::until(LIMIT, "an object from before the rule", async || {
        groups.create(&PostParams::default(), &group).await?;
        Ok(())
    })
    .await?;
    let rules = json!({"spec": {"versions": ruled.spec.versions}});
    crds.patch(name, &PatchParams::default(), &Patch::Merge(rules))
        .await?;
    let another = json!({"spec": {"scaleDown": {"unreadyDuration": "0s"}}});
    wait::until(LIMIT, "the rule", async || {
        // What was once stored would be let through for ever after, because it does not change.
        let dry = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let refused = groups.patch("old", &dry, &Patch::Merge(&another)).await;
        ensure!(refused.is_err(), "it is taken");
        Ok(())
    })
    .await?;
    let status = Patch::Merge(json!({"status": {"targetSize": 1}}));
    let params = PatchParams::default();
    let told = groups.patch_status("old", &params, &status).await?;
    assert_eq!(told.status.and_then(|status| status.target_size), Some(1));
    let spec = told.spec.scale_down.context("its options")?;
    assert_eq!(spec.max_node_provision_duration, Some(Duration::ZERO));
    drop(plane);
    Ok(())
}
