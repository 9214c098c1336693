//! The descriptors of the contract: clients can be generated without extra flags, and reflection has the comments and the
//! messages of errors.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use prost_types::{FileDescriptorProto, source_code_info::Location};

use crate::harness::{contract::pool, supervisor};

#[test]
fn go_code_is_generated_without_extra_flags() {
    let folder = supervisor::folder("go-");
    protoc(".", &format!("--go_out={}", folder.path().display()));
    for (file, package) in [
        ("boxoffice/v1/auditoriums.pb.go", "boxofficev1"),
        ("boxoffice/v1/movies.pb.go", "boxofficev1"),
        ("boxoffice/v1/reservations.pb.go", "boxofficev1"),
        ("boxoffice/v1/showtimes.pb.go", "boxofficev1"),
        ("boxoffice/events/v1/events.pb.go", "eventsv1"),
        ("boxoffice/demo/v1/faults.pb.go", "demov1"),
        ("boxoffice/demo/v1/gateway_faults.pb.go", "demov1"),
        ("payments/v1/gateway.pb.go", "paymentsv1"),
    ] {
        let code = fs::read_to_string(folder.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(code.lines().any(|line| line == format!("package {package}")), "{file} is not of package {package}");
    }
}

#[test]
fn java_and_csharp_code_is_generated_without_extra_flags() {
    let folder = supervisor::folder("java-");
    protoc("boxoffice", &format!("--java_out={}", folder.path().display()));
    for file in
        ["v1/Showtime.java", "v1/ReserveSeatsRequest.java", "events/v1/Event.java", "demo/v1/FaultSettings.java"]
    {
        assert!(folder.path().join("com/boxoffice").join(file).is_file(), "{file} is missing");
    }
    // Without `movies.proto`: C# code has no folders, so it would become the same file as `boxoffice/v1/movies.proto`.
    let folder = supervisor::folder("csharp-");
    protoc("boxoffice", &format!("--csharp_out={}", folder.path().display()));
    let code = fs::read_to_string(folder.path().join("Showtimes.cs")).expect("C# code of the showtimes");
    assert!(code.contains("namespace Boxoffice.V1 {"), "the namespace is not Boxoffice.V1");
}

/// Runs protoc on all files below a folder of `proto/` with nothing but an output option.
fn protoc(below: &str, output: &str) {
    for (tool, package) in [("protoc", "protobuf-compiler"), ("protoc-gen-go", "protoc-gen-go")] {
        let found = Command::new(tool).arg("--version").output();
        assert!(found.is_ok(), "{tool} is not installed: `apt-get install {package}` (Debian)");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut program = Command::new("protoc");
    program.current_dir(&root).args(["--proto_path=.", output]).args(files(&root, below));
    let result = program.output().expect("protoc runs");
    assert!(result.status.success(), "protoc {output}: {}", String::from_utf8_lossy(&result.stderr));
}

/// The paths of all proto files below a folder, relative to the root.
fn files(root: &Path, below: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root.join(below)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "proto") {
                found.push(path.strip_prefix(root).expect("it is below the root").to_owned());
            }
        }
    }
    found
}

/// The comments are served by reflection, and generated code has them as documentation.
#[test]
fn every_element_of_the_contract_has_its_comment_in_the_descriptors() {
    let mut missing = Vec::new();
    for file in pool().file_descriptor_protos().filter(|file| is_ours(file.package())) {
        let locations = file.source_code_info.as_ref().map(|info| info.location.as_slice()).unwrap_or_default();
        for (path, name) in elements(file) {
            let comment = locations.iter().find(|location| location.path == path).map(Location::leading_comments);
            if !comment.is_some_and(|comment| comment.trim_end().ends_with(['.', ':'])) {
                missing.push(format!("{}: {name}: {comment:?}", file.name()));
            }
        }
    }
    assert!(missing.is_empty(), "without a comment of whole sentences:\n{}", missing.join("\n"));
}

/// Whether we have written this package. The gateway's contract is served by others, and is ours to explain.
fn is_ours(package: &str) -> bool {
    package.starts_with("boxoffice.") || package == "payments.v1"
}

/// The path and the name of each element of a file that callers see. The numbers in a path are field numbers of
/// `descriptor.proto`.
fn elements(file: &FileDescriptorProto) -> Vec<(Vec<i32>, String)> {
    let mut found = Vec::new();
    let mut add = |path: &[i32], name: String| found.push((path.to_vec(), name));
    for (message, at) in file.message_type.iter().zip(0..) {
        assert!(message.nested_type.is_empty(), "{}: this test does not look into nested messages", message.name());
        add(&[4, at], message.name().to_owned());
        for (field, below) in message.field.iter().zip(0..) {
            add(&[4, at, 2, below], format!("{}.{}", message.name(), field.name()));
        }
    }
    for (kind, at) in file.enum_type.iter().zip(0..) {
        add(&[5, at], kind.name().to_owned());
        for (value, below) in kind.value.iter().zip(0..) {
            add(&[5, at, 2, below], value.name().to_owned());
        }
    }
    for (service, at) in file.service.iter().zip(0..) {
        add(&[6, at], service.name().to_owned());
        for (method, below) in service.method.iter().zip(0..) {
            add(&[6, at, 2, below], format!("{}.{}", service.name(), method.name()));
        }
    }
    found
}

#[test]
fn the_messages_of_errors_are_in_the_descriptors() {
    let pool = pool();
    for name in ["Status", "BadRequest", "ErrorInfo", "QuotaFailure", "ResourceInfo", "RetryInfo"] {
        assert!(pool.get_message_by_name(&format!("google.rpc.{name}")).is_some(), "google.rpc.{name} is missing");
    }
}
