//! The methods that exist, read once from the contracts: the names that may become metric labels, and what the layers must
//! know about each method.
//!
//! A path that is in no contract maps to one shared method called `unknown`, so callers cannot create new label values.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::{pb, telemetry::metrics::RequestSeries};

/// One method of one service.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) service: String,
    pub(super) name: String,
    /// Whether the caller or the server streams. A stream gets no default deadline, since it is meant to last.
    pub(super) streams: bool,
    /// Whether a request has exactly one message. Requests of clients that stream, and plain HTTP, do not.
    pub(super) one_message: bool,
    /// Whether its answer must be given when its work is done, since it may have changed something.
    pub(super) changes: bool,
    /// Which permits its requests need.
    pub(super) needs: Permits,
    /// The histogram of this method's request durations.
    pub(super) series: RequestSeries,
}

/// Which permits requests of a method need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Permits {
    /// One that is not reserved.
    Ordinary,
    /// Any. Some are reserved for confirmations, since a customer has paid, or is about to.
    Any,
    /// None: health and reflection, so that operators get an answer however busy the server is.
    None,
}

impl Permits {
    fn of(service: &str, method: &str) -> Self {
        match (service, method) {
            ("boxoffice.v1.Reservations", "ConfirmReservation") => Self::Any,
            (service, _) if service.starts_with("grpc.") => Self::None,
            _ => Self::Ordinary,
        }
    }
}

/// The verbs with which the names of our methods begin that change nothing.
const READS: [&str; 4] = ["Get", "List", "Subscribe", "Watch"];

struct Table {
    by_path: HashMap<String, Method>,
    services: HashSet<String>,
    unknown: Method,
    page: Method,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let by_path: HashMap<_, _> = contracts().flat_map(|contract| methods_of(&contract)).collect();
    Table {
        services: by_path.values().map(|method| method.service.clone()).collect(),
        by_path,
        unknown: Method::new("unknown", "unknown", false, false),
        page: Method::new("http", "page", false, false),
    }
});

impl Method {
    fn new(service: &str, name: &str, streams: bool, one_message: bool) -> Self {
        Self {
            one_message,
            changes: service.starts_with("boxoffice.") && !READS.iter().any(|verb| name.starts_with(verb)),
            needs: Permits::of(service, name),
            streams,
            series: RequestSeries::new(service, name),
            service: service.to_owned(),
            name: name.to_owned(),
        }
    }
}

/// The method with this path, such as `/boxoffice.v1.Movies/GetMovie`, if a contract has it.
pub(super) fn find(path: &str) -> Option<&'static Method> {
    TABLE.by_path.get(path)
}

/// Whether the first segment of the path is a service that a contract has. The method need not exist.
pub(super) fn has_service(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|service| TABLE.services.contains(service))
}

/// Stands for every gRPC path that is in no contract.
pub(super) fn unknown() -> &'static Method {
    &TABLE.unknown
}

/// Stands for every plain HTTP request.
pub(super) fn page() -> &'static Method {
    &TABLE.page
}

fn contracts() -> impl Iterator<Item = FileDescriptorSet> {
    [
        pb::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ]
    .into_iter()
    // Decoding cannot fail: the build script encoded these descriptors, and they are compiled in.
    .filter_map(|encoded| FileDescriptorSet::decode(encoded).ok())
}

fn methods_of(contract: &FileDescriptorSet) -> Vec<(String, Method)> {
    let mut methods = Vec::new();
    for file in &contract.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let streams = method.client_streaming() || method.server_streaming();
                let path = format!("/{service_name}/{}", method.name());
                methods.push((path, Method::new(&service_name, method.name(), streams, !method.client_streaming())));
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contract_is_in_the_table() {
        let get = find("/boxoffice.v1.Showtimes/GetShowtime").unwrap();
        assert_eq!((get.service.as_str(), get.name.as_str()), ("boxoffice.v1.Showtimes", "GetShowtime"));
        assert!(!get.streams && get.needs == Permits::Ordinary && get.one_message && !get.changes);
        assert!(find("/boxoffice.v1.Auditoriums/CreateAuditorium").unwrap().changes);
        assert_eq!(find("/boxoffice.v1.Reservations/ConfirmReservation").unwrap().needs, Permits::Any);
        let watch = find("/grpc.health.v1.Health/Watch").unwrap();
        assert!(watch.streams && watch.needs == Permits::None && watch.one_message);
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            let reflect = find(&path).unwrap();
            assert!(reflect.needs == Permits::None && !reflect.one_message, "{path}");
        }
        assert!(find("/boxoffice.v1.Showtimes/GetShowtimes").is_none());
    }
}
