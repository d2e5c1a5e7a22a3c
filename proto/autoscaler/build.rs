//! Generates the gRPC service, its messages and its description; protox compiles the .proto files, so no `protoc` is needed.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let mut descriptors = protox::compile(["externalgrpc.proto", "core_v1.proto"], ["proto"])?;
    tonic_prost_build::configure()
        // Sorted maps make the encoded bytes the same on every run.
        .btree_map(".")
        .compile_fds(descriptors.clone())?;
    // For reflection; comments would triple it.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let folder = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&folder).join("descriptors.bin"),
        descriptors.encode_to_vec(),
    )?;
    Ok(())
}
