//! Generates the gRPC service and its messages; protox compiles the .proto files, so no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(["externalgrpc.proto", "core_v1.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Sorted maps make the encoded bytes the same on every run.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
