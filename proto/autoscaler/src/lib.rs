//! The cluster-autoscaler's external gRPC service: messages, client and server.
//! In: the two files under `proto/`. Out: [`cloud_provider_server`], [`cloud_provider_client`], [`core_v1`].
//! Holds: the field numbers of cluster-autoscaler 1.35 and later, and the earlier ones beside them; maps are sorted, so equal
//! messages have equal bytes.
//! Not here: what the answers mean; that is decided in the coordinator.

mod generated {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        elided_lifetimes_in_paths,
        clippy::all,
        clippy::or_fun_call,
        clippy::use_self,
        clippy::too_many_lines,
        clippy::wildcard_enum_match_arm,
        clippy::allow_attributes_without_reason,
        reason = "written by the code generator"
    )]
    tonic::include_proto!("clusterautoscaler.cloudprovider.v1.externalgrpc");
}

pub use generated::*;

/// Kubernetes' core/v1 Node and Pod, reduced to the fields that templates and prices need.
pub mod core_v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::use_self,
        reason = "written by the code generator"
    )]
    tonic::include_proto!("core_v1");
}

mod versions;

pub use versions::OptionDurations;

/// What the service looks like, for clients that ask by reflection: an encoded `FileDescriptorSet` with everything it imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The full gRPC name of the service, the first part of each method's path.
pub const SERVICE_NAME: &str = "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";

#[cfg(test)]
mod tests;
