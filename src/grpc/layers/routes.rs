//! Which methods there are: the names that may become labels, and what the layers must know about each.
//!
//! Read from the contracts once. A path that is not in them is `unknown`, so callers cannot invent labels.

use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::{pb, telemetry::metrics::RequestSeries};

/// One method.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) service: String,
    pub(super) method: String,
    /// Whether either side streams: then a default deadline would cut off what is meant to last.
    pub(super) streams: bool,
    /// Whether it is answered however busy the server is: the questions that operators ask.
    pub(super) exempt: bool,
    pub(super) series: RequestSeries,
}

struct Table {
    by_path: HashMap<String, Route>,
    services: HashSet<String>,
    unknown: Route,
    page: Route,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let by_path: HashMap<_, _> = contracts().flat_map(|contract| routes_of(&contract)).collect();
    Table {
        services: by_path.values().map(|route| route.service.clone()).collect(),
        by_path,
        unknown: Route::new("unknown", "unknown", false),
        page: Route::new("http", "page", false),
    }
});

impl Route {
    fn new(service: &str, method: &str, streams: bool) -> Self {
        Self {
            exempt: service.starts_with("grpc."),
            streams,
            series: RequestSeries::new(service, method),
            service: service.to_owned(),
            method: method.to_owned(),
        }
    }
}

/// The method with this path, if a contract has it.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    TABLE.by_path.get(path)
}

/// Whether the path belongs to a service that a contract has, be it a method of it or not.
pub(super) fn is_service(path: &str) -> bool {
    path.split('/').nth(1).is_some_and(|service| TABLE.services.contains(service))
}

/// Stands for every method that no contract has.
pub(super) fn unknown() -> &'static Route {
    &TABLE.unknown
}

/// Stands for all of plain HTTP.
pub(super) fn page() -> &'static Route {
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
    // They were encoded by the compiler that made this binary.
    .filter_map(|encoded| FileDescriptorSet::decode(encoded).ok())
}

fn routes_of(contract: &FileDescriptorSet) -> Vec<(String, Route)> {
    let mut routes = Vec::new();
    for file in &contract.file {
        for service in &file.service {
            let service_name = format!("{}.{}", file.package(), service.name());
            for method in &service.method {
                let streams = method.client_streaming() || method.server_streaming();
                let path = format!("/{service_name}/{}", method.name());
                routes.push((path, Route::new(&service_name, method.name(), streams)));
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_are_known() {
        let get = find("/boxoffice.v1.Showtimes/GetShowtime").unwrap();
        assert_eq!((get.service.as_str(), get.method.as_str()), ("boxoffice.v1.Showtimes", "GetShowtime"));
        assert!(!get.streams && !get.exempt);
        let watch = find("/grpc.health.v1.Health/Watch").unwrap();
        assert!(watch.streams && watch.exempt);
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            assert!(find(&path).unwrap().exempt, "{path}");
        }
        assert!(find("/boxoffice.v1.Showtimes/GetShowtimes").is_none());
    }
}
