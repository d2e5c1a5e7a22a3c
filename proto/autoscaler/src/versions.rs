//! Old and new fields of one meaning: cluster-autoscaler up to 1.34 sends and reads Kubernetes types where later ones have plain ones.
//! In: a message of either. Out: one value. For answers: both fields.
//! Holds: where both are there and disagree, the newer field counts.

use prost::Message as _;
use prost_types::{Duration, Timestamp};

use crate::core_v1::Node;
use crate::{
    NodeGroupAutoscalingOptions, NodeGroupTemplateNodeInfoResponse, OldDuration,
    PricingNodePriceRequest, PricingPodPriceRequest,
};

const NANOS: i64 = 1_000_000_000;

impl PricingNodePriceRequest {
    /// When the priced time begins and ends, where both are said.
    #[must_use]
    pub fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        let start = self.start_timestamp.or(self.start_time)?;
        let end = self.end_timestamp.or(self.end_time)?;
        Some((start, end))
    }
}

impl PricingPodPriceRequest {
    /// When the priced time begins and ends, where both are said.
    #[must_use]
    pub fn interval(&self) -> Option<(Timestamp, Timestamp)> {
        let start = self.start_timestamp.or(self.start_time)?;
        let end = self.end_timestamp.or(self.end_time)?;
        Some((start, end))
    }

    /// The encoded core/v1 Pod; empty if there is none.
    #[must_use]
    pub fn encoded_pod(&self) -> &[u8] {
        if self.pod_bytes.is_empty() {
            &self.pod
        } else {
            &self.pod_bytes
        }
    }
}

impl NodeGroupTemplateNodeInfoResponse {
    /// The template for every version.
    #[must_use]
    pub fn of(node: &Node) -> Self {
        let bytes = node.encode_to_vec();
        Self {
            node_info: bytes.clone(),
            node_bytes: bytes,
        }
    }
}

/// The three durations among the options, whatever the version that sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionDurations {
    /// How long a Node must be unneeded before it is removed.
    pub unneeded: Duration,
    /// The same for a Node that is not Ready.
    pub unready: Duration,
    /// How long an instance may take to become a Node.
    pub provision: Duration,
}

impl NodeGroupAutoscalingOptions {
    /// The durations; `None` if one of them is said nowhere: read as zero, it would remove machines at once.
    #[must_use]
    pub fn durations(&self) -> Option<OptionDurations> {
        let either =
            |new: Option<Duration>, old: Option<OldDuration>| new.or_else(|| old.map(newer));
        Some(OptionDurations {
            unneeded: either(
                self.scale_down_unneeded_duration,
                self.scale_down_unneeded_time,
            )?,
            unready: either(
                self.scale_down_unready_duration,
                self.scale_down_unready_time,
            )?,
            provision: either(
                self.max_node_provision_duration,
                self.max_node_provision_time,
            )?,
        })
    }

    /// The same options with these durations, for every version.
    #[must_use]
    pub fn with_durations(self, durations: OptionDurations) -> Self {
        let OptionDurations {
            unneeded,
            unready,
            provision,
        } = durations;
        Self {
            scale_down_unneeded_time: Some(older(unneeded)),
            scale_down_unready_time: Some(older(unready)),
            max_node_provision_time: Some(older(provision)),
            scale_down_unneeded_duration: Some(unneeded),
            scale_down_unready_duration: Some(unready),
            max_node_provision_duration: Some(provision),
            ..self
        }
    }
}

fn newer(old: OldDuration) -> Duration {
    Duration {
        seconds: old.nanoseconds / NANOS,
        // The remainder of a division by 10⁹ always fits.
        nanos: i32::try_from(old.nanoseconds % NANOS).unwrap_or(0),
    }
}

/// At most 292 years, which is what the old field can hold.
fn older(new: Duration) -> OldDuration {
    OldDuration {
        nanoseconds: new
            .seconds
            .saturating_mul(NANOS)
            .saturating_add(i64::from(new.nanos)),
    }
}

#[cfg(test)]
mod tests;
