//! What every method of our services has in common: the parts of a request, all violations in one refusal, the call of the
//! app, the status of an error, and the mark of a repeated request.
//!
//! A handler adds what is particular to its method: how the message is read, which use case is called, and how the answer
//! is written.

use prost::Message;
use tonic::{
    Extensions, Request, Response, Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::{layers::RequestContext, request_id, services::Service, status};
use crate::{
    app::{Answer, App, Caller, Error, Origin},
    domain::violations::Violations,
};

/// The response metadata of a repeated request.
const REPEATED: &str = "idempotent-replayed";

/// A request that changes something and can be repeated safely under a request id.
pub(super) trait ChangeRequest: Message {
    /// The method's name. Request ids count per caller and method.
    const METHOD: &'static str;

    /// Takes the field `request_id` out of the message. What is left is the content that a repeated request must equal.
    fn take_request_id(&mut self) -> String;
}

impl Service {
    /// Answers a request that changes nothing.
    ///
    /// `read` converts the message and reports every violation, `call` calls the app, `write` makes the response.
    pub(super) async fn read<'a, M, P, T, R, F>(
        &'a self,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<P, Violations>,
        call: impl FnOnce(&'a App, Origin, P) -> F,
        write: impl FnOnce(T) -> R,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (value, _) = self.call(request, read, call).await?;
        Ok(Response::new(write(value)))
    }

    /// Calls the app for a request that changes nothing, for a method that writes its response by itself. Also returns the
    /// request's extensions.
    pub(super) async fn call<'a, M, P, T, F>(
        &'a self,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<P, Violations>,
        call: impl FnOnce(&'a App, Origin, P) -> F,
    ) -> Result<(T, Extensions), Status>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let (_, context, message) = request.into_parts();
        let answer = async { call(&self.app, origin(&context), read(message)?).await };
        let value = answer.await.map_err(|error| status::of(&error, &context))?;
        Ok((value, context))
    }

    /// Answers a request that changes something. A request that repeats an earlier one is answered as that one was, and the
    /// response metadata says so.
    pub(super) async fn change<'a, M: ChangeRequest, P, T, R, F>(
        &'a self,
        request: Request<M>,
        read: impl FnOnce(M) -> Result<P, Violations>,
        call: impl FnOnce(&'a App, Origin, P) -> F,
        write: impl FnOnce(T) -> R,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<Answer<T>, Error>>,
    {
        let (metadata, context, message) = request.into_parts();
        let answer = async {
            let (origin, parameters) = keyed(origin(&context), &metadata, message, read)?;
            call(&self.app, origin, parameters).await
        };
        let Answer { value, repeated } = answer.await.map_err(|error| status::of(&error, &context))?;
        let mut response = Response::new(write(value));
        if repeated {
            response.metadata_mut().insert(REPEATED, MetadataValue::from_static("true"));
        }
        Ok(response)
    }
}

/// Reads the request key and the message, and reports the violations of both at once.
fn keyed<M: ChangeRequest, P>(
    origin: Origin,
    metadata: &MetadataMap,
    mut message: M,
    read: impl FnOnce(M) -> Result<P, Violations>,
) -> Result<(Origin, P), Violations> {
    let mut violations = Violations::new();
    let field = message.take_request_id();
    let id = violations.take("", request_id::read(metadata, &field));
    let fingerprint = id.flatten().map(|_| request_id::fingerprint(&message));
    let parameters = violations.take("", read(message));
    match (id, parameters) {
        (Some(id), Some(parameters)) if violations.is_empty() => {
            let key = id.zip(fingerprint);
            let key = key.map(|(id, fingerprint)| origin.caller.request_key(M::METHOD, id, fingerprint));
            Ok((Origin { key, ..origin }, parameters))
        }
        _ => Err(violations),
    }
}

fn origin(context: &Extensions) -> Origin {
    let context = RequestContext::of(context);
    let address = context.and_then(|context| context.peer).map(|peer| peer.ip());
    Origin { caller: Caller::anyone(address), key: None, trace: context.map(|context| context.trace) }
}

/// Implements [`ChangeRequest`] for request messages that have a `request_id`.
macro_rules! changes {
    ($($method:literal: $message:ty),* $(,)?) => {$(
        impl ChangeRequest for $message {
            const METHOD: &'static str = $method;

            fn take_request_id(&mut self) -> String {
                std::mem::take(&mut self.request_id)
            }
        }
    )*};
}

pub(super) use changes;
