//! What comes over gRPC: messages, the headers that are read, certificates.

use std::fmt::Debug;

use coordinator::inputs::autoscaler::fuzz;
use prost::Message;
use proto_autoscaler::core_v1::{Node, Pod};
use proto_autoscaler::{
    ExternalGrpcNode, NodeGroupAutoscalingOptionsRequest, NodeGroupDecreaseTargetSizeRequest,
    NodeGroupDeleteNodesRequest, NodeGroupForNodeRequest, NodeGroupIncreaseSizeRequest,
    NodeGroupTargetSizeRequest, PricingNodePriceRequest, PricingPodPriceRequest,
};

/// Reads a message; what was read is written and read alike.
fn decoded<M: Message + Default + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(bytes).ok()?;
    let again = message.encode_to_vec();
    let reread = M::decode(&again[..]).expect("what is written can be read");
    // As bytes, because a price that is not a number equals nothing.
    assert_eq!(again, reread.encode_to_vec(), "{message:?}");
    Some(message)
}

/// The first byte chooses the message, as the method's name does.
pub(crate) fn messages(bytes: &[u8]) {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    match kind {
        b'f' => drop(decoded::<NodeGroupForNodeRequest>(bytes)),
        b'i' => drop(decoded::<NodeGroupIncreaseSizeRequest>(bytes)),
        b'd' => drop(decoded::<NodeGroupDeleteNodesRequest>(bytes)),
        b'e' => drop(decoded::<NodeGroupDecreaseTargetSizeRequest>(bytes)),
        b't' => drop(decoded::<NodeGroupTargetSizeRequest>(bytes)),
        b'o' => {
            let asked = decoded::<NodeGroupAutoscalingOptionsRequest>(bytes);
            let defaults = asked.and_then(|asked| asked.defaults);
            if let Some((defaults, durations)) =
                defaults.and_then(|defaults| Some((defaults, defaults.durations()?)))
            {
                let answered = defaults.with_durations(durations);
                assert_eq!(answered.durations(), Some(durations));
            }
        }
        b'n' => {
            if let Some(asked) = decoded::<PricingNodePriceRequest>(bytes) {
                money(fuzz::price_of_node(asked));
            }
        }
        b'p' => {
            if let Some(asked) = decoded::<PricingPodPriceRequest>(bytes) {
                let _ = decoded::<Pod>(asked.encoded_pod());
                money(fuzz::price_of_pod(&asked));
            }
        }
        b'N' => drop(decoded::<Node>(bytes)),
        b'P' => drop(decoded::<Pod>(bytes)),
        _ => drop(decoded::<ExternalGrpcNode>(bytes)),
    }
}

/// The autoscaler compares prices, so each must be a number.
fn money(price: Option<f64>) {
    if let Some(price) = price {
        assert!(price.is_finite() && price >= 0.0, "{price}");
    }
}

pub(crate) fn user_agent(bytes: &[u8]) {
    if let Some(text) = super::text(bytes)
        && let Some(version) = fuzz::autoscaler_version(text)
    {
        assert_eq!(version.to_string().parse(), Ok(version), "{text:?}");
    }
}

pub(crate) fn grpc_timeout(bytes: &[u8]) {
    if let Some(text) = super::text(bytes)
        && let Some(ms) = fuzz::grpc_timeout(text)
    {
        // Eight digits of hours are the most that the header can say.
        assert!(ms <= 99_999_999 * 3_600_000, "{text}");
    }
}

pub(crate) fn certificate(bytes: &[u8]) {
    let _ = fuzz::certificate(bytes);
}
