//! A way to the provider on which every call is written down as it passes, whoever makes it.
//! In: a connection to the provider. Out: an address for an autoscaler, and the calls in the order in which they came.
//! Holds: each call goes through with its deadline, its metadata and its body as they are, and so does its answer; it is written down
//! before the provider hears of it, so one that its caller gives up is there as well, without an outcome.
//! Not here: calls that fail on the way; see `unsteady`.

use anyhow::{Context as _, Result};
use http::{Request, Response};
use prost::Message as _;
use proto_autoscaler::{
    NodeGroupAutoscalingOptionsRequest, NodeGroupDecreaseTargetSizeRequest,
    NodeGroupDeleteNodesRequest, NodeGroupForNodeRequest, NodeGroupIncreaseSizeRequest,
    NodeGroupNodesRequest, NodeGroupTargetSizeRequest, NodeGroupTemplateNodeInfoRequest,
};
use tonic::{Code, Status, body::Body, transport::Channel};

use crate::{
    ca_model::{CallLog, Outcome, Rpc, calls::About},
    passage::{Gate, Passage, forwarded},
};

/// The largest request that an autoscaler makes is far smaller.
const LARGEST: usize = 16 << 20;
/// In front of each message on the wire: whether it is compressed, and how long it is.
const FRAME: usize = 5;

/// The way; it is closed when the value is dropped.
#[derive(Debug)]
pub struct Wiretap {
    gate: Gate,
    calls: CallLog,
}

impl Wiretap {
    /// Leads to a provider.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn to(provider: Channel) -> Result<Self> {
        let calls = CallLog::default();
        let line = Line {
            provider,
            calls: calls.clone(),
        };
        let gate = Gate::to(line).await?;
        Ok(Self { gate, calls })
    }

    /// Where an autoscaler finds the provider.
    #[must_use]
    pub fn address(&self) -> String {
        self.gate.address()
    }

    /// Every call that has come, in order.
    #[must_use]
    pub const fn calls(&self) -> &CallLog {
        &self.calls
    }
}

/// What calls go through.
#[derive(Debug, Clone)]
struct Line {
    provider: Channel,
    calls: CallLog,
}

impl Passage for Line {
    async fn pass(self, request: Request<Body>) -> Result<Response<Body>> {
        let (head, body) = request.into_parts();
        let rpc = head.uri.path().rsplit('/').next().unwrap_or_default();
        let rpc = Rpc::of_name(rpc);
        let body = axum::body::to_bytes(axum::body::Body::new(body), LARGEST).await;
        let body = body.context("read a request")?;
        let about = About::of(rpc, body.get(FRAME..).unwrap_or_default());
        let sent = rpc.map(|rpc| self.calls.sent(rpc, about));
        let whole = Body::new(axum::body::Body::from(body));
        let answer = forwarded(self.provider, Request::from_parts(head, whole)).await;
        if let Some(sent) = sent {
            sent.answered(match &answer {
                Ok(answer) => outcome(answer),
                Err(fault) => Outcome::Failed(Code::Unavailable, format!("{fault:#}")),
            });
        }
        answer
    }
}

/// An answer with an error has its status in the head.
fn outcome(answer: &Response<Body>) -> Outcome {
    match Status::from_header_map(answer.headers()) {
        Some(status) if status.code() != Code::Ok => {
            Outcome::Failed(status.code(), status.message().to_owned())
        }
        Some(_) | None => Outcome::Ok(String::new()),
    }
}

impl About {
    /// Nothing, where a message cannot be read.
    fn of(rpc: Option<Rpc>, message: &[u8]) -> Self {
        rpc.and_then(|rpc| Self::read(rpc, message).ok())
            .unwrap_or_default()
    }

    fn read(rpc: Rpc, message: &[u8]) -> Result<Self, prost::DecodeError> {
        let group = |group: String| Self {
            group,
            ..Self::default()
        };
        Ok(match rpc {
            Rpc::NodeGroupForNode => {
                let request = NodeGroupForNodeRequest::decode(message)?;
                let node = request.node.unwrap_or_default();
                Self {
                    nodes: vec![node.provider_id],
                    ..Self::default()
                }
            }
            Rpc::NodeGroupTargetSize => group(NodeGroupTargetSizeRequest::decode(message)?.id),
            Rpc::NodeGroupNodes => group(NodeGroupNodesRequest::decode(message)?.id),
            Rpc::NodeGroupTemplateNodeInfo => {
                group(NodeGroupTemplateNodeInfoRequest::decode(message)?.id)
            }
            Rpc::NodeGroupGetOptions => {
                group(NodeGroupAutoscalingOptionsRequest::decode(message)?.id)
            }
            Rpc::NodeGroupIncreaseSize => {
                let request = NodeGroupIncreaseSizeRequest::decode(message)?;
                Self {
                    delta: request.delta,
                    ..group(request.id)
                }
            }
            Rpc::NodeGroupDecreaseTargetSize => {
                let request = NodeGroupDecreaseTargetSizeRequest::decode(message)?;
                Self {
                    delta: request.delta,
                    ..group(request.id)
                }
            }
            Rpc::NodeGroupDeleteNodes => {
                let request = NodeGroupDeleteNodesRequest::decode(message)?;
                let nodes = request.nodes.into_iter();
                Self {
                    nodes: nodes.map(|node| node.provider_id).collect(),
                    ..group(request.id)
                }
            }
            Rpc::NodeGroups
            | Rpc::GpuLabel
            | Rpc::GetAvailableGpuTypes
            | Rpc::Cleanup
            | Rpc::Refresh
            | Rpc::PricingNodePrice
            | Rpc::PricingPodPrice => Self::default(),
        })
    }
}

#[cfg(test)]
mod tests;
