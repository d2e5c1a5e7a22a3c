//! The page of the guide about the cluster-autoscaler against the files that are shipped.
//! Not here: whether what it says works; see the test of the cluster that carries its commands out.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tests::{cluster_stage::shipped_flags, guide::Guide, harness::shipped};

const PAGE: &str = "guide/cluster-autoscaler.md";
/// Flags that the chart's own values stand for, and flags that every chart sets.
const OF_THE_CHART: [&str; 2] = ["--cloud-provider=", "--namespace="];
const ALSO_IN_THE_CHART: [&str; 2] = ["--logtostderr=", "--stderrthreshold="];

fn object(file: &str, kind: &str, name: &str) -> Result<Value> {
    let mut objects = shipped(file)?.into_iter();
    let found = objects.find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.with_context(|| format!("{kind} {name} in {file}"))
}

fn chart() -> Result<Value> {
    let mut documents = shipped("cluster-autoscaler.values.yaml")?.into_iter();
    documents.next().context("values")
}

fn pod_of(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]
}

#[test]
fn cloud_config_of_the_guide_is_the_one_that_is_shipped() -> Result<()> {
    let guide = Guide::read(PAGE)?;
    let told = guide.block("yaml", "address:")?;
    let map = "cluster-autoscaler-cloud-config";
    let whole = object("cluster-autoscaler.yaml", "ConfigMap", map)?;
    assert_eq!(whole["data"]["cloud-config.yaml"], told);
    let chart = chart()?;
    let of_chart = &chart["extraObjects"][0];
    ensure!(of_chart["metadata"]["name"] == map);
    // Remarks are for whoever reads the file.
    let bare = told.lines().filter(|line| !line.starts_with('#'));
    let bare: String = bare.map(|line| format!("{line}\n")).collect();
    assert_eq!(of_chart["data"]["cloud-config.yaml"], bare);
    Ok(())
}

#[test]
fn flags_of_the_guide_are_those_that_are_shipped() -> Result<()> {
    let guide = Guide::read(PAGE)?;
    let told: Vec<_> = guide.block("text", "--cloud-provider")?.lines().collect();
    assert_eq!(shipped_flags()?, told);
    let chart = chart()?;
    ensure!(chart["cloudProvider"] == "externalgrpc");
    let flags = chart["extraArgs"].as_object().context("extraArgs")?;
    let flags = flags.iter().map(|(name, value)| {
        let told = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        format!("--{name}={told}")
    });
    let begins = |flag: &str, names: [&str; 2]| names.iter().any(|name| flag.starts_with(name));
    let mut of_chart: Vec<_> = flags
        .filter(|flag| !begins(flag, ALSO_IN_THE_CHART))
        .collect();
    let mut of_guide = told;
    of_guide.retain(|flag| !begins(flag, OF_THE_CHART));
    of_chart.sort();
    of_guide.sort_unstable();
    assert_eq!(of_chart, of_guide);
    Ok(())
}

#[test]
fn paths_of_the_cloud_config_are_those_of_the_mounted_secret() -> Result<()> {
    const SECRET: &str = "cluster-autoscaler-tls";
    let guide = Guide::read(PAGE)?;
    let told = guide.block("yaml", "address:")?;
    let deployment = object(
        "cluster-autoscaler.yaml",
        "Deployment",
        "cluster-autoscaler",
    )?;
    let pod = pod_of(&deployment);
    let mut volumes = pod["volumes"].as_array().into_iter().flatten();
    let volume = volumes.find(|volume| volume["secret"]["secretName"] == SECRET);
    let volume = volume.context("a volume of the Secret")?;
    let mounts = pod["containers"][0]["volumeMounts"].as_array();
    let mut mounts = mounts.into_iter().flatten();
    let mount = mounts.find(|mount| mount["name"] == volume["name"]);
    let folder = mount.context("a mount of it")?["mountPath"].as_str();
    let folder = folder.context("a path")?;
    for (key, file) in [
        ("cert", "tls.crt"),
        ("key", "tls.key"),
        ("cacert", "ca.crt"),
    ] {
        let line = format!("{key}: {folder}/{file}");
        ensure!(told.lines().any(|told| told == line), "{line}");
    }
    let chart = chart()?;
    let of_chart = &chart["extraVolumeSecrets"][SECRET];
    ensure!(of_chart["mountPath"] == folder && of_chart["name"] == SECRET);
    Ok(())
}

#[test]
fn coordinator_is_shipped_with_certificates_of_its_own_at_the_port_that_is_told() -> Result<()> {
    let deployment = object("install.yaml", "Deployment", "homelab-coordinator")?;
    let coordinator = &pod_of(&deployment)["containers"][0];
    let value = |name: &str| &named(&coordinator["env"], name)["value"];
    ensure!(value("HOMELAB_GRPC_ISSUE_CERTS") == "true");
    ensure!(value("HOMELAB_GRPC_ADDRESS") == "0.0.0.0:50051");
    let service = object("install.yaml", "Service", "homelab-coordinator")?;
    let port = &service["spec"]["ports"][0];
    ensure!(port["name"] == "grpc" && port["port"] == 50051, "{port}");
    Ok(())
}

/// The entry of this name in a list; null if there is none.
fn named<'a>(list: &'a Value, name: &str) -> &'a Value {
    let mut entries = list.as_array().into_iter().flatten();
    let found = entries.find(|entry| entry["name"] == name);
    found.unwrap_or(&Value::Null)
}

/// Only the leader answers `/readyz` with a success.
#[test]
fn service_leads_to_a_coordinator_that_is_ready_and_to_no_other() -> Result<()> {
    let deployment = object("install.yaml", "Deployment", "homelab-coordinator")?;
    let coordinator = &pod_of(&deployment)["containers"][0];
    for (port, address) in [
        ("admin", "HOMELAB_ADMIN_ADDRESS"),
        ("grpc", "HOMELAB_GRPC_ADDRESS"),
    ] {
        let open = &named(&coordinator["ports"], port)["containerPort"];
        let listening = &named(&coordinator["env"], address)["value"];
        ensure!(*listening == format!("0.0.0.0:{open}"), "{port}: {open}");
    }
    let probe = &coordinator["readinessProbe"]["httpGet"];
    assert_eq!(*probe, json!({"path": "/readyz", "port": "admin"}));

    let service = object("install.yaml", "Service", "homelab-coordinator")?;
    let service = &service["spec"];
    ensure!(service["publishNotReadyAddresses"].is_null(), "{service}");
    ensure!(named(&service["ports"], "grpc")["targetPort"] == "grpc");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    ensure!(
        labels["app"] == "homelab-coordinator" && service["selector"] == *labels,
        "{labels}"
    );
    Ok(())
}

#[test]
fn coordinator_is_told_the_version_of_the_autoscaler_that_is_shipped() -> Result<()> {
    const VERSION: &str = "HOMELAB_AUTOSCALER_VERSION";
    let coordinator = object("install.yaml", "Deployment", "homelab-coordinator")?;
    let env = &pod_of(&coordinator)["containers"][0]["env"];
    let told = named(env, VERSION)["value"].as_str();
    let told = told.context("a version as text")?;
    let autoscaler = object(
        "cluster-autoscaler.yaml",
        "Deployment",
        "cluster-autoscaler",
    )?;
    let image = pod_of(&autoscaler)["containers"][0]["image"].as_str();
    let (_, by_file) = image.and_then(|i| i.rsplit_once(':')).context("a tag")?;
    let chart = chart()?;
    let by_chart = chart["image"]["tag"].as_str().context("a tag")?;
    for tag in [by_file, by_chart] {
        ensure!(tag.starts_with(&format!("v{told}.")), "{tag} is no {told}");
    }
    let page = include_str!("../../docs/src/guide/cluster-autoscaler.md");
    ensure!(page.contains(&format!("(`{VERSION}`, `\"{told}\"`)")));
    Ok(())
}

#[test]
fn deployment_of_the_guide_has_the_same_name_by_file_and_by_chart() -> Result<()> {
    let guide = Guide::read(PAGE)?;
    let words = guide.commands().into_iter().flat_map(str::split_whitespace);
    let told = words.filter_map(|word| word.strip_prefix("deployment/"));
    let told: Vec<_> = told.filter(|name| name.contains("scaler")).collect();
    ensure!(!told.is_empty());
    let chart = chart()?;
    for name in told {
        object("cluster-autoscaler.yaml", "Deployment", name)?;
        ensure!(chart["fullnameOverride"] == name, "{name}");
    }
    Ok(())
}

#[test]
fn files_that_the_guide_names_are_there() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let guide = Guide::read(PAGE)?;
    let words = guide.commands().into_iter().flat_map(str::split_whitespace);
    let files: Vec<_> = words.filter(|word| word.starts_with("deploy/")).collect();
    ensure!(files.len() >= 2, "{files:?}");
    for file in files {
        ensure!(root.join(file).exists(), "{file}");
    }
    Ok(())
}
