//! Rejections as gRPC status codes, and codes as words for metrics.

use coordinator_core::{Rejected, RejectedKind};
use tonic::{Code, Status};

/// The status of a rejection.
pub(super) fn rejected(rejected: Rejected) -> Status {
    let code = match rejected.kind {
        RejectedKind::NotFound => Code::NotFound,
        RejectedKind::InvalidArgument => Code::InvalidArgument,
        RejectedKind::FailedPrecondition => Code::FailedPrecondition,
        RejectedKind::ResourceExhausted => Code::ResourceExhausted,
        RejectedKind::Unavailable => Code::Unavailable,
        RejectedKind::DeadlineExceeded => Code::DeadlineExceeded,
    };
    Status::new(code, rejected.message)
}

/// The name of a code, as gRPC writes it.
pub(super) fn word(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
