//! Which Secrets are made, kept and renewed, whoever else is about.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::Method;
use serde_json::{Value, json};

use super::{
    super::{
        fake_api::objects::{Meddling, Objects, holding, touch},
        writer::Writer,
    },
    *,
};
use crate::certificates::server_names;

const FOLDER: &str = "/api/v1/namespaces/own/secrets";
const DAY: i64 = 24 * 3_600;

fn nothing() -> Meddling {
    Box::new(|_, _, _| {})
}

fn names() -> Vec<ServerName<'static>> {
    server_names("own", &[]).unwrap()
}

fn path(secret: &str) -> String {
    format!("{FOLDER}/{secret}")
}

fn now() -> i64 {
    clock::now().wall_ms / 1_000
}

/// What one look brings.
#[derive(Debug)]
struct Stored {
    authority: String,
    server: Pair,
    client: Origin,
}

async fn take(writer: &Writer, mandate: &Mandate) -> Result<Stored, SecretFault> {
    look(writer, mandate, Making::Anybody, &names()).await
}

async fn look(
    writer: &Writer,
    mandate: &Mandate,
    making: Making,
    names: &[ServerName<'static>],
) -> Result<Stored, SecretFault> {
    let shared = &writer.shared;
    let shelf = Shelf::new(&shared.cluster, &shared.metrics, mandate, making);
    let authority = shelf.authority().await?;
    let server = shelf.server(&authority, names).await?;
    Ok(Stored {
        authority: authority.cert().to_owned(),
        server,
        client: shelf.client(&authority).await?,
    })
}

fn follower() -> Mandate {
    Mandate::default()
}

fn leader() -> Mandate {
    Mandate::standing()
}

fn all(objects: &Objects) -> BTreeMap<String, Value> {
    objects.lock().unwrap().clone()
}

fn chain(fault: &SecretFault) -> String {
    crate::chain(fault)
}

/// Stores a Secret as it would have been made then.
fn put(objects: &Objects, secret: &'static str, whole: &Secret) {
    let mut object = serde_json::to_value(whole).unwrap();
    object["metadata"]["uid"] = json!("made");
    touch(&mut object);
    objects.lock().unwrap().insert(path(secret), object);
}

fn stored_authority(objects: &Objects) -> Authority {
    let object = objects.lock().unwrap()[&path(AUTHORITY)].clone();
    let secret: Secret = serde_json::from_value(object).unwrap();
    Authority::load(&pair_of(&secret, AUTHORITY).unwrap(), now()).unwrap()
}

#[tokio::test]
async fn what_is_not_there_is_made_once_and_read_from_then_on() {
    let (writer, objects) = holding([], nothing());
    let first = take(&writer, &follower()).await.unwrap();
    assert_eq!(first.client, Origin::Made);
    let made = all(&objects);
    let secrets: Vec<_> = made.keys().map(String::as_str).collect();
    assert_eq!(secrets, [path(CLIENT), path(AUTHORITY), path(SERVER)]);
    for secret in [SERVER, CLIENT] {
        let object = &made[&path(secret)];
        assert_eq!(object["type"], "kubernetes.io/tls");
        let fields = object["data"].as_object().unwrap().keys();
        assert_eq!(fields.collect::<Vec<_>>(), [CA, CERT, KEY]);
    }
    assert!(made[&path(AUTHORITY)]["data"].get(CA).is_none());
    for mandate in [follower(), leader()] {
        let again = take(&writer, &mandate).await.unwrap();
        assert_eq!(again.client, Origin::Found);
        assert_eq!(
            (&again.server, &again.authority),
            (&first.server, &first.authority)
        );
    }
    assert_eq!(all(&objects), made, "nothing was written again");
}

#[tokio::test]
async fn whoever_is_faster_decides_and_all_serve_with_the_same() {
    let (winner, theirs) = holding([], nothing());
    let first = take(&winner, &follower()).await.unwrap();
    // Each Secret appears right before ours would be made.
    let rival: Meddling = Box::new(move |method, asked, shelf| {
        if *method == Method::POST && asked == FOLDER {
            let theirs = all(&theirs);
            let next = [AUTHORITY, SERVER, CLIENT].map(path);
            let next = next.into_iter().find(|path| !shelf.contains_key(path));
            let next = next.unwrap();
            let object = theirs[&next].clone();
            shelf.insert(next, object);
        }
    });
    let (loser, objects) = holding([], rival);
    let second = take(&loser, &follower()).await.unwrap();
    assert_eq!(second.client, Origin::Found);
    assert_eq!(
        (&second.server, &second.authority),
        (&first.server, &first.authority)
    );
    assert_eq!(all(&objects).len(), 3);
}

#[tokio::test]
async fn only_who_leads_renews_what_is_due_and_other_entries_stay() {
    let (writer, objects) = holding([], nothing());
    take(&writer, &follower()).await.unwrap();
    let authority = stored_authority(&objects);
    for (secret, role, age) in [
        (SERVER, Role::Server(&names()), 280),
        (CLIENT, Role::Client, 9 * 365 + 5),
    ] {
        let old = authority.issue(role, now() - age * DAY).unwrap();
        let mut whole = filled(secret, &old, &authority);
        let note = (String::from("note"), ByteString(b"of a person".to_vec()));
        whole.data.get_or_insert_default().extend([note]);
        put(&objects, secret, &whole);
    }
    let before = all(&objects);
    take(&writer, &follower()).await.unwrap();
    assert_eq!(all(&objects), before, "a follower writes nothing");

    let renewed = take(&writer, &leader()).await.unwrap();
    let after = all(&objects);
    for secret in [SERVER, CLIENT] {
        let (old, new) = (&before[&path(secret)], &after[&path(secret)]);
        assert_ne!(old["data"][CERT], new["data"][CERT], "{secret}");
        assert_ne!(old["data"][KEY], new["data"][KEY], "{secret}");
        assert_eq!(old["data"]["note"], new["data"]["note"], "{secret}");
    }
    assert_eq!(after[&path(AUTHORITY)], before[&path(AUTHORITY)]);
    let follower = take(&writer, &follower()).await.unwrap();
    assert_eq!(follower.server, renewed.server);
}

#[tokio::test]
async fn a_server_that_lacks_a_name_is_issued_anew() {
    let (writer, objects) = holding([], nothing());
    let before = take(&writer, &follower()).await.unwrap();
    let mut more = names();
    more.push("192.168.1.10".try_into().unwrap());
    let after = look(&writer, &leader(), Making::Leader, &more).await;
    let after = after.unwrap();
    assert_ne!(after.server, before.server);
    let worth = stored_authority(&objects).judge(&after.server, Role::Server(&more), now());
    assert_eq!(worth.unwrap(), Worth::Good);
}

#[tokio::test]
async fn a_renewal_that_somebody_overtakes_writes_over_nothing() {
    let rival: Meddling = Box::new(|method, asked, shelf| {
        if *method == Method::PUT && asked == path(SERVER) {
            let object = shelf.get_mut(&path(SERVER)).unwrap();
            object["data"]["note"] = json!("AA==");
            touch(object);
        }
    });
    let (writer, objects) = holding([], rival);
    take(&writer, &follower()).await.unwrap();
    let authority = stored_authority(&objects);
    let old = authority
        .issue(Role::Server(&names()), now() - 300 * DAY)
        .unwrap();
    put(&objects, SERVER, &filled(SERVER, &old, &authority));
    let fault = take(&writer, &leader()).await.unwrap_err();
    let words = chain(&fault);
    assert!(
        words.starts_with("renew Secret homelab-coordinator-tls: conflict"),
        "{words}"
    );
    assert_eq!(all(&objects)[&path(SERVER)]["data"]["note"], "AA==");
}

#[tokio::test]
async fn what_is_foreign_or_damaged_is_told_and_left_alone() {
    let (elsewhere, theirs) = holding([], nothing());
    take(&elsewhere, &follower()).await.unwrap();
    let theirs = all(&theirs);
    for (secret, spoil) in [
        (AUTHORITY, json!({})),
        (AUTHORITY, json!({CERT: "AAAA", KEY: "AAAA"})),
        (SERVER, theirs[&path(SERVER)]["data"].clone()),
        (SERVER, theirs[&path(CLIENT)]["data"].clone()),
        (CLIENT, theirs[&path(CLIENT)]["data"].clone()),
        (CLIENT, json!({"password": "AAAA"})),
    ] {
        let (writer, objects) = holding([], nothing());
        take(&writer, &follower()).await.unwrap();
        objects.lock().unwrap().get_mut(&path(secret)).unwrap()["data"] = spoil;
        let before = all(&objects);
        for mandate in [follower(), leader()] {
            let words = chain(&take(&writer, &mandate).await.unwrap_err());
            assert!(words.contains(&format!("Secret {secret} is ")), "{words}");
            assert!(
                words.contains("left as it is") && words.contains("delete the Secrets"),
                "{words}"
            );
            assert!(!words.contains("PRIVATE"), "{words}");
        }
        assert_eq!(all(&objects), before, "{secret}");
    }
}

#[tokio::test]
async fn a_client_secret_with_another_authority_beside_its_certificate_is_damaged() {
    let (writer, objects) = holding([], nothing());
    take(&writer, &follower()).await.unwrap();
    objects.lock().unwrap().get_mut(&path(CLIENT)).unwrap()["data"][CA] = json!("AAAA");
    let words = chain(&take(&writer, &leader()).await.unwrap_err());
    assert!(
        words.contains("cluster-autoscaler-tls") && words.contains(CA),
        "{words}"
    );
}

#[tokio::test]
async fn the_server_is_had_whatever_is_wrong_with_the_secret_of_the_client() {
    let (writer, objects) = holding([], nothing());
    let first = take(&writer, &follower()).await.unwrap();
    objects.lock().unwrap().get_mut(&path(CLIENT)).unwrap()["data"] = json!({});
    let (shared, mandate) = (&writer.shared, leader());
    let shelf = Shelf::new(&shared.cluster, &shared.metrics, &mandate, Making::Anybody);
    let authority = shelf.authority().await.unwrap();
    let server = shelf.server(&authority, &names()).await.unwrap();
    assert_eq!(server, first.server);
    let fault = shelf.client(&authority).await.unwrap_err();
    assert!(!fault.is_passing(), "{fault}");
}

#[tokio::test]
async fn no_authority_is_made_beside_a_certificate_of_another_one() {
    for beside in [SERVER, CLIENT] {
        let (writer, objects) = holding([], nothing());
        take(&writer, &follower()).await.unwrap();
        objects
            .lock()
            .unwrap()
            .retain(|held, _| *held == path(beside));
        let before = all(&objects);
        for mandate in [follower(), leader()] {
            let words = chain(&take(&writer, &mandate).await.unwrap_err());
            let told = format!("Secret homelab-autoscaler-ca is gone while Secret {beside}");
            assert!(words.contains(&told), "{words}");
            assert!(words.contains("restore it, or scale"), "{words}");
        }
        assert_eq!(all(&objects), before);
    }
}

#[tokio::test]
async fn an_authority_that_somebody_makes_meanwhile_is_taken_with_what_it_has_issued() {
    let (winner, theirs) = holding([], nothing());
    let first = take(&winner, &follower()).await.unwrap();
    // All three appear right after the authority was asked for in vain.
    let rival: Meddling = Box::new(move |method, asked, shelf| {
        if *method == Method::GET && asked == path(SERVER) {
            shelf.extend(all(&theirs));
        }
    });
    let (loser, _objects) = holding([], rival);
    let second = take(&loser, &follower()).await.unwrap();
    assert_eq!(second.authority, first.authority);
}

#[tokio::test]
async fn a_follower_with_certificates_makes_nothing_that_has_gone() {
    let (writer, objects) = holding([], nothing());
    take(&writer, &follower()).await.unwrap();
    objects.lock().unwrap().remove(&path(CLIENT));
    let before = all(&objects);
    let fault = look(&writer, &follower(), Making::Leader, &names()).await;
    let fault = fault.unwrap_err();
    assert!(fault.is_passing(), "{fault}");
    assert_eq!(all(&objects), before);
    let made = look(&writer, &leader(), Making::Leader, &names()).await;
    assert_eq!(made.unwrap().client, Origin::Made);
}

#[tokio::test]
async fn a_mandate_that_ends_before_the_write_ends_the_renewal() {
    let (mandate, reading) = (leader(), leader());
    let ending = Arc::new(Mutex::new(None::<Mandate>));
    let handed = Arc::clone(&ending);
    let rival: Meddling = Box::new(move |method, asked, _| {
        if *method == Method::GET
            && asked == path(SERVER)
            && let Some(mandate) = &*handed.lock().unwrap()
        {
            mandate.end();
        }
    });
    let (writer, objects) = holding([], rival);
    take(&writer, &reading).await.unwrap();
    let authority = stored_authority(&objects);
    let names_here = names();
    let old = authority
        .issue(Role::Server(&names_here), now() - 300 * DAY)
        .unwrap();
    put(&objects, SERVER, &filled(SERVER, &old, &authority));
    let before = all(&objects);
    *ending.lock().unwrap() = Some(mandate.clone());
    let stored = look(&writer, &mandate, Making::Leader, &names()).await;
    assert_eq!(stored.unwrap().server, old);
    assert_eq!(all(&objects), before);
}
