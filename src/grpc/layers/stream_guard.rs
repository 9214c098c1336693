//! Ties a resource to the lifetime of a streamed answer.

use std::{any::Any, sync::Arc};

/// Keeps a resource until the answer has been sent completely, or until its caller stops reading it. A handler puts it into
/// the extensions of its response; the deadline layer moves it into the response body and drops it with the body.
#[derive(Clone)]
pub(in crate::grpc) struct StreamGuard {
    _resource: Arc<dyn Any + Send + Sync>,
}

impl StreamGuard {
    pub(in crate::grpc) fn new(resource: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _resource: resource }
    }
}
