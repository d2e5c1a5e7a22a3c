//! The published test vector, and every way to break an envelope.

use super::*;
use crate::key::PublicKey;
use alloc::borrow::ToOwned;
use proptest::prelude::*;

const TOPIC: &str = "hla/v1/a/nas-01/cmd";
const BODY: &str = r#"{"id":"01JD0000000000000000000000","verb":"power.off","target":"nas-01","seq":42,"chal":"AAECAwQFBgcICQoLDA0ODw","ttl_ms":30000}"#;

fn hex<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    core::array::from_fn(|index| {
        u8::from_str_radix(&text[2 * index..2 * index + 2], 16).expect("hex")
    })
}

fn signer() -> Signer {
    Signer::from_seed(
        "c1",
        &core::array::from_fn(|index| u8::try_from(index + 1).expect("32 fits")),
    )
}

fn trusted() -> TrustedKeys {
    TrustedKeys::only("c1", signer().public_key())
}

#[test]
fn the_test_vector_has_its_signature() {
    let public = hex::<32>("79b5562e8fe654f94078b112e8a98ba7901f853ae695bed7e0e3910bad049664");
    assert_eq!(
        signer().public_key(),
        PublicKey::from_bytes(&public).expect("a key")
    );
    assert_eq!(BODY.len(), 128);
    let message = signed_bytes(Purpose::Command, TOPIC, BODY);
    assert!(message.starts_with(b"HLA1 3 cmd 19 hla/v1/a/nas-01/cmd 128 {"));
    let signature = hex::<64>(
        "fdb4649c2cbff8f09bd7f707b6da34b391fe35a8b0240f4fcf79c8c87f65b86bf8debfe9782f984756468db09321cddfa7839a8f72aea9f56d147f9890798a03",
    );
    assert_eq!(signer().sign(&message), signature);
    let envelope = Envelope::seal(&signer(), Purpose::Command, TOPIC, BODY.to_owned());
    assert_eq!(envelope.sig, STANDARD.encode(signature));
    assert_eq!(envelope.open(Purpose::Command, TOPIC, &trusted()), Ok(BODY));
}

#[test]
fn an_envelope_is_its_pinned_bytes() {
    let envelope = Envelope::seal(&signer(), Purpose::Command, TOPIC, BODY.to_owned());
    let pinned = include_str!("../../tests/pins/v1/envelope.json").trim_end();
    assert_eq!(envelope.encode_text(), pinned);
    assert_eq!(Envelope::decode(pinned.as_bytes()), Ok(envelope));
}

#[test]
fn another_purpose_topic_or_key_does_not_open() {
    let envelope = Envelope::seal(&signer(), Purpose::Command, TOPIC, BODY.to_owned());
    let stranger = TrustedKeys::only("c1", Signer::from_seed("c1", &[9; 32]).public_key());
    let cases = [
        (Purpose::Result, TOPIC, trusted()),
        (Purpose::Command, "hla/v1/a/nas-02/cmd", trusted()),
        (Purpose::Command, TOPIC, stranger),
    ];
    for (purpose, topic, keys) in cases {
        assert_eq!(
            envelope.open(purpose, topic, &keys),
            Err(OpenError::BadSignature)
        );
    }
}

#[test]
fn any_flipped_byte_of_body_kid_or_signature_fails() {
    let sealed = Envelope::seal(&signer(), Purpose::Command, TOPIC, BODY.to_owned());
    for index in 0..BODY.len() {
        let mut body = BODY.as_bytes().to_vec();
        body[index] ^= 1;
        let flipped = Envelope {
            body: String::from_utf8(body).expect("ascii"),
            ..sealed.clone()
        };
        assert_eq!(
            flipped.open(Purpose::Command, TOPIC, &trusted()),
            Err(OpenError::BadSignature)
        );
    }
    for index in 0..sealed.sig.len() {
        let mut sig = sealed.sig.clone().into_bytes();
        sig[index] ^= 1;
        let flipped = Envelope {
            sig: String::from_utf8(sig).expect("ascii"),
            ..sealed.clone()
        };
        assert_eq!(
            flipped.open(Purpose::Command, TOPIC, &trusted()),
            Err(OpenError::BadSignature),
            "character {index}"
        );
    }
    let renamed = Envelope {
        kid: Kid::shortened("c0"),
        ..sealed
    };
    assert_eq!(
        renamed.open(Purpose::Command, TOPIC, &trusted()),
        Err(OpenError::UnknownKid {
            kid: "c0".to_owned()
        })
    );
}

#[test]
fn a_missing_or_short_signature_fails() {
    let sealed = Envelope::seal(&signer(), Purpose::Command, TOPIC, BODY.to_owned());
    for sig in ["", "AAAA", "not base64"] {
        let broken = Envelope {
            sig: sig.to_owned(),
            ..sealed.clone()
        };
        assert_eq!(
            broken.open(Purpose::Command, TOPIC, &trusted()),
            Err(OpenError::BadSignature)
        );
    }
}

proptest! {
    // Each case signs and verifies, which is slow in a build without optimisation.
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_body_opens_where_it_was_sealed(body: String, topic in "[a-z/]{1,40}") {
        let envelope = Envelope::seal(&signer(), Purpose::Result, &topic, body.clone());
        prop_assert_eq!(envelope.open(Purpose::Result, &topic, &trusted()), Ok(body.as_str()));
    }

    #[test]
    fn any_bytes_decode_without_panic(bytes: Vec<u8>) {
        let _ = Envelope::decode(&bytes);
    }
}
