//! Against a coordinator without Kubernetes, by its local socket.

use super::*;
use tests::{
    harness::wait,
    stage::{GroupPlan, Plan, Woken},
};

pub(super) async fn start() -> Result<(Stage, Ctl)> {
    let group = GroupPlan {
        name: "workers",
        woken: Woken::Packet,
        machines: &["nuc1"],
        spec: "  template: {capacity: {cpu: \"4\", memory: 8Gi}}",
    };
    let stage = Stage::start(Plan::quick(vec![group]), Recorder::in_memory()).await?;
    let ctl = Ctl::at("--socket", &stage.socket())?;
    Ok((stage, ctl))
}

pub(super) async fn until_phase(stage: &Stage, machine: &str, phase: &str) -> Result<()> {
    let shown = |state: &Value| state["machines"][machine]["phase"] == phase;
    stage.until(phase, shown).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_overridden_by_hand_until_it_is_released() -> Result<()> {
    let (stage, ctl) = start().await?;
    let first = ctl.row("nuc1")?;
    ensure!(
        first[..4] == ["nuc1", "workers", "any", "unknown"],
        "{first:?}"
    );

    ctl.confirms_off("nuc1").await?;
    until_phase(&stage, "nuc1", "Sleeping").await?;
    let asleep = ctl.row("nuc1")?;
    ensure!(asleep[3..5] == ["off?", "Sleeping"], "{asleep:?}");
    let starts_from_running = "nuc1 is Sleeping, a proof starts from running";
    ctl.fails(&["prove", "nuc1"], 1, starts_from_running)?;
    ctl.prints(&["power", "retry", "nuc1"], "asked: nuc1 is tried again\n")?;

    let on = ctl.does(&["power", "on", "nuc1", "--for", "2h"])?;
    let told = on.starts_with("asked: nuc1 is to run until 20") && on.ends_with(" UTC\n");
    ensure!(told, "{on}");
    until_phase(&stage, "nuc1", "Running").await?;
    let held = override_of(&ctl.machine("nuc1")?);
    ensure!(
        held == (json!("AlwaysOn"), json!("user ann"), true),
        "{held:?}"
    );
    let running = ctl.row("nuc1")?;
    let row = ["nuc1", "workers", "running", "running", "Running"];
    ensure!(running[..5] == row, "{running:?}");
    ctl.fails(
        &["power", "confirm-off", "nuc1"],
        1,
        "nuc1 is heard: it is not off",
    )?;

    ctl.prints(&["power", "off", "nuc1"], "asked: nuc1 is to be off\n")?;
    until_phase(&stage, "nuc1", "Sleeping").await?;
    let held = override_of(&ctl.machine("nuc1")?);
    ensure!(
        held == (json!("AlwaysOff"), json!("user ann"), false),
        "{held:?}"
    );
    ctl.prints(
        &["power", "release", "nuc1"],
        "asked: nuc1 is its group's again\n",
    )?;
    let held = override_of(&ctl.machine("nuc1")?);
    ensure!(held.0.is_null(), "{held:?}");
    let effects = (stage.recorder.wakes("nuc1"), stage.recorder.stops("nuc1"));
    ensure!(effects == (1, 1), "{effects:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn machine_is_proven_by_one_stop_and_one_wake() -> Result<()> {
    let (stage, ctl) = start().await?;
    stage.machines["nuc1"].press_button();
    until_phase(&stage, "nuc1", "Running").await?;
    let proven = |machine: &Value| machine["status"]["wake"]["provenAt"].clone();
    ensure!(proven(&ctl.machine("nuc1")?).is_null());
    let asked = "asked: nuc1 is stopped once and woken once\n";
    ctl.prints(&["prove", "nuc1"], asked)?;
    wait::until(LIMIT, "the proof", async || {
        let machine = ctl.machine("nuc1")?;
        let done = proven(&machine).is_string() && machine["status"]["phase"] == "Running";
        ensure!(done, "{machine}");
        Ok(())
    })
    .await?;
    let (wakes, stops) = (stage.recorder.wakes("nuc1"), stage.recorder.stops("nuc1"));
    ensure!((wakes, stops) == (1, 1), "{wakes} wakes, {stops} stops");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomer_is_configured_heard_and_declared_by_what_is_printed() -> Result<()> {
    let (stage, ctl) = start().await?;
    let unheard = "no agent nuc9 was heard";
    ctl.fails(&["node", "init", NEWCOMER], 1, unheard)?;
    let printed = ctl.does(&["agent", "config", NEWCOMER])?;
    ensure!(
        ctl.does(&["agent", "config", NEWCOMER, "--into", "nuc9"])?
            .is_empty()
    );
    let config = std::fs::read_to_string(ctl.home.file("nuc9/agent.toml"))?;
    ensure!(
        printed == format!("# /etc/homelab-agent/agent.toml\n{config}"),
        "{printed}"
    );
    let already = "there is an agent.toml already";
    ctl.fails(&["agent", "config", NEWCOMER, "--into", "nuc9"], 1, already)?;

    let _nuc9 = newcomer(&config, &stage.recorder).await?;
    let heard = |state: &Value| {
        let agent = &state["agents"][NEWCOMER];
        agent["live"] == true && agent["macs"][0].is_string()
    };
    stage.until("the newcomer is heard", heard).await?;
    ctl.prints(&["node", "init", NEWCOMER], &newcomers_node())?;
    std::fs::write(stage.lab_folder().join("nuc9.yaml"), newcomers_node())?;
    until_phase(&stage, NEWCOMER, "Running").await?;
    ctl.fails(
        &["node", "init", NEWCOMER],
        1,
        "there is a Node nuc9 already",
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_absent_machines_and_absent_coordinators_have_codes_of_their_own() -> Result<()>
{
    let (mut stage, ctl) = start().await?;
    ctl.refuses_wrong_words()?;
    let unknown = "NotFound: no machine nuc7 is declared";
    ctl.fails(&["power", "on", "nuc7"], 1, unknown)?;
    stage.kill_coordinator();
    ctl.fails(&["status"], 69, "no coordinator answers at")?;
    let nowhere = Ctl {
        place: Vec::new(),
        home: WorkDir::new("nowhere")?,
    };
    nowhere.fails(&[], 64, "say what to do")?;
    nowhere.fails(&["status"], 69, "no coordinator found")
}
