//! Compiles the contracts in `proto/` without protoc, and writes the descriptor set that reflection and `boxoffice
//! descriptors` serve.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet, SourceCodeInfo, source_code_info::Location};
use protox::Compiler;

/// The folder of the contracts. Each file in it is compiled. The two files of `google/rpc` describe errors, so that clients can
/// decode them by reflection.
const CONTRACTS: &str = "proto";

#[expect(clippy::disallowed_methods, reason = "cargo passes OUT_DIR in the environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={CONTRACTS}");
    println!("cargo:rerun-if-changed=migrations");

    let mut compiler = Compiler::new([CONTRACTS])?;
    compiler.include_imports(true).open_files(files(Path::new(CONTRACTS))?)?;
    let mut descriptors = compiler.include_source_info(true).file_descriptor_set();
    let encoded = compiler.include_source_info(false).encode_file_descriptor_set();
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("descriptors.bin"), with_comments(&encoded, &descriptors)?)?;
    // Our comments document the generated code too. Comments of others may not be valid for rustdoc.
    for file in descriptors.file.iter_mut().filter(|file| !file.package().starts_with("boxoffice.")) {
        file.source_code_info = None;
    }
    generate(descriptors, Path::new(&out))
}

/// All files of a folder and of the folders in it, by name.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    let mut found = Vec::new();
    for entry in entries {
        if entry.is_dir() {
            found.extend(files(&entry)?);
        } else if entry.extension().is_some_and(|extension| extension == "proto") {
            found.push(entry);
        }
    }
    Ok(found)
}

/// A descriptor set whose files are not decoded. Decoding them would drop the validation rules, which are extensions.
#[derive(Clone, PartialEq, Message)]
struct EncodedSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    file: Vec<Vec<u8>>,
}

/// Adds the comments of `descriptors` to an encoded set of the same files. A message and a field that follows it decode as
/// one message, so the comments of a file are appended to it.
fn with_comments(encoded: &[u8], descriptors: &FileDescriptorSet) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut set = EncodedSet::decode(encoded)?;
    for (encoded, file) in set.file.iter_mut().zip(&descriptors.file) {
        FileDescriptorProto { source_code_info: comments(file), ..Default::default() }.encode(encoded)?;
    }
    Ok(set.encode_to_vec())
}

/// The source information of a file, reduced to its comments: clients do not need the positions. The files of
/// `buf.validate` and `google.protobuf` have none, because their comments are longer than all others together and are
/// published elsewhere.
fn comments(file: &FileDescriptorProto) -> Option<SourceCodeInfo> {
    if matches!(file.package(), "buf.validate" | "google.protobuf") {
        return None;
    }
    let locations = file.source_code_info.iter().flat_map(|info| info.location.clone());
    let location = locations
        .filter(|location| location.leading_comments.is_some() || location.trailing_comments.is_some())
        .map(|location| Location { leading_detached_comments: Vec::new(), ..location });
    Some(SourceCodeInfo { location: location.collect() })
}

/// Generates the Rust code in three passes: everything with our codec, then all packages but `boxoffice.v1` anew with
/// tonic's codec, then the servers of `boxoffice.v1`.
fn generate(descriptors: FileDescriptorSet, out: &Path) -> Result<(), Box<dyn Error>> {
    let build = tonic_prost_build::configure()
        // Rules are read from the descriptors and never from generated code, which would be 160 KB.
        .extern_path(".buf.validate", "::prost_types")
        .extern_path(".google.rpc", "::tonic_types::pb");
    // Our codec refuses bytes that do not decode with INVALID_ARGUMENT instead of INTERNAL.
    let ours = build.clone().codec_path("crate::grpc::codec::Codec");
    ours.clone().build_server(false).compile_fds(descriptors.clone())?;
    let (mut services, mut others) = (descriptors.clone(), descriptors);
    others.file.retain(|file| file.package() != "boxoffice.v1");
    build.compile_fds(others)?;
    services.file.retain(|file| file.package() == "boxoffice.v1");
    let folder = out.join("services");
    fs::create_dir_all(&folder)?;
    let mut server = ours.build_client(false).extern_path(".boxoffice.v1", "crate::pb::boxoffice::v1");
    // These responses are sent to many callers, so the server encodes them, or their parts, once and sends the bytes.
    let shared = [
        "GetSeatMapResponse",
        "GetShowtimeResponse",
        "ListShowtimesResponse",
        "SubscribeEventsResponse",
        "WatchSeatMapResponse",
    ];
    for message in shared {
        server = server.extern_path(format!(".boxoffice.v1.{message}"), "crate::grpc::ready::Ready");
    }
    server.out_dir(folder).compile_fds(services)?;
    Ok(())
}
