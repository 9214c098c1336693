//! Compiles the contracts in `proto/` without protoc, and writes the descriptor set that reflection serves.

use std::{env, error::Error, fs, path::Path};

use prost::Message as _;

// `error_details` is compiled along so that reflection can explain the details of our errors.
const CONTRACTS: [&str; 8] = [
    "boxoffice/v1/auditoriums.proto",
    "boxoffice/v1/movies.proto",
    "boxoffice/v1/reservations.proto",
    "boxoffice/v1/showtimes.proto",
    "boxoffice/demo/v1/faults.proto",
    "boxoffice/events/v1/events.proto",
    "google/rpc/error_details.proto",
    "movies.proto",
];

#[expect(clippy::disallowed_methods, reason = "how cargo speaks to a build script")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");

    // With imports and options: a client can resolve every type and read every validation rule.
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).open_files(CONTRACTS)?;
    let encoded = compiler.encode_file_descriptor_set();
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), &encoded)?;

    let descriptors = prost_types::FileDescriptorSet::decode(encoded.as_slice())?;
    let build = tonic_prost_build::configure()
        // Rules are read from the descriptors, never from generated code, and 160 KB of it would be dead weight.
        .extern_path(".buf.validate", "::prost_types")
        .extern_path(".google.rpc", "::tonic_types::pb");
    // Ours are read with a codec that refuses by name. The second pass writes what is not ours anew, with tonic's own.
    let ours = build.clone().codec_path("crate::grpc::codec::Codec");
    ours.clone().build_server(false).compile_fds(descriptors.clone())?;
    let (mut services, mut others) = (descriptors.clone(), descriptors);
    others.file.retain(|file| file.package() != "boxoffice.v1");
    build.compile_fds(others)?;
    // The third is our services' side of ours: what is shown to many is in bytes before it is sent.
    services.file.retain(|file| file.package() == "boxoffice.v1");
    let folder = Path::new(&out).join("services");
    fs::create_dir_all(&folder)?;
    let mut server = ours.build_client(false).extern_path(".boxoffice.v1", "crate::pb::boxoffice::v1");
    for message in ["GetSeatMapResponse", "ListShowtimesResponse", "WatchSeatMapResponse"] {
        server = server.extern_path(format!(".boxoffice.v1.{message}"), "crate::grpc::ready::Ready");
    }
    server.out_dir(folder).compile_fds(services)?;
    Ok(())
}
