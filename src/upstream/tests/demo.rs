//! The demo provider as a gRPC client sees it.

use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Channel};
use tonic_reflection::pb::{v1, v1alpha};

use super::{Demo, black_hole, no_faults};
use crate::pb::{
    boxoffice::demo::v1::{FaultSettings, GetFaultsRequest, SetFaultsRequest},
    movies::{IdRequest, movies_api_client::MoviesApiClient},
};

fn channel(demo: &Demo) -> Channel {
    Channel::from_shared(format!("http://{}", demo.address)).unwrap().connect_lazy()
}

#[tokio::test]
async fn faults_are_read_back_and_invalid_ones_refused() {
    let mut demo = Demo::start().await;
    let faults = FaultSettings {
        latency: Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 }),
        jitter: Some(prost_types::Duration { seconds: 0, nanos: 2_000_000 }),
        failure_percent: 30,
        in_band_percent: 20,
        outage: true,
        black_hole: false,
    };
    demo.set(faults).await;
    for bad in [
        FaultSettings { failure_percent: 101, ..no_faults() },
        FaultSettings { in_band_percent: -1, ..no_faults() },
        FaultSettings { latency: Some(prost_types::Duration { seconds: -1, nanos: 0 }), ..no_faults() },
        FaultSettings { jitter: Some(prost_types::Duration { seconds: 1_000_000, nanos: 0 }), ..no_faults() },
    ] {
        let refused = demo.faults.set_faults(SetFaultsRequest { faults: Some(bad) }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    let unchanged = demo.faults.get_faults(GetFaultsRequest {}).await.unwrap().into_inner();
    assert_eq!(unchanged.faults, Some(faults));
    assert_eq!(unchanged.call_count, 0);
    demo.faults.set_faults(SetFaultsRequest { faults: None }).await.unwrap();
    let reset = demo.faults.get_faults(GetFaultsRequest {}).await.unwrap().into_inner();
    assert_eq!(reset.faults.unwrap().failure_percent, 0);
}

#[tokio::test]
async fn even_a_black_hole_ends_on_shutdown() {
    let mut demo = Demo::start().await;
    demo.set(black_hole()).await;
    let mut client = MoviesApiClient::new(channel(&demo));
    let unanswered = tokio::spawn(async move { client.get_by_id(IdRequest { id: "tt1375666".to_owned() }).await });
    while demo.calls().await == 0 {
        tokio::task::yield_now().await;
    }
    demo.shutdown.cancel();
    assert_eq!(unanswered.await.unwrap().unwrap_err().code(), Code::Unavailable);
    (&mut demo.serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn reflection_serves_its_services_with_comments_in_both_versions() {
    let demo = Demo::start().await;
    let expected = ["boxoffice.demo.v1.Faults", "movies.MoviesApi"];
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1::server_reflection_request::MessageRequest::ListServices(String::new())),
    };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel(&demo));
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let Some(v1::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no list")
    };
    let mut names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    names.sort();
    assert!(expected.iter().all(|name| names.iter().any(|it| it == name)), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("boxoffice.v1.")), "{names:?}");

    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
            expected[0].to_owned(),
        )),
    };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel(&demo));
    let mut answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        answers.next().await.unwrap().unwrap().message_response
    else {
        panic!("no file")
    };
    let file = prost_types::FileDescriptorProto::decode(files.file_descriptor_proto[0].as_slice()).unwrap();
    let comments: Vec<_> = file.source_code_info.unwrap().location.into_iter().map(|it| it.leading_comments).collect();
    let expected = " Faults reads and sets the faults of the demo provider.\n".to_owned();
    assert!(comments.contains(&Some(expected)), "{comments:?}");
}
