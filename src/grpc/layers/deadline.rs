//! Nobody waits for longer than they said, or than we allow.
//!
//! A call gets the caller's `grpc-timeout`, or ours if there is none, and never more than the cap; when it has passed, the
//! handler is dropped where it waits, so whatever must not be torn runs in a task of its own. A stream gets the caller's
//! deadline only, which then also ends a body that has begun; and since it may last for ever, it ends when the server does.
//!
//! tonic's transport reads the same header outside of us and would answer CANCELLED. It starts its clock later and polls
//! us first, and we look at the clock ourselves rather than wait for the timer's turn, so we are always the first to say.

use std::{
    any::Any,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::{Status, body::Body};
use tower::Service;

use super::{context::RequestContext, refusal};
use crate::telemetry::request::Protocol;

/// The layer's service.
#[derive(Clone, Debug)]
pub(super) struct Deadlines<S> {
    inner: S,
    default: Duration,
    cap: Duration,
    // Shared, since a token counts those who have it under a lock, and there is one of this for every request.
    drain: Arc<CancellationToken>,
}

impl<S> Deadlines<S> {
    /// Streams end when `drain` is cancelled.
    pub(super) fn new(inner: S, default: Duration, cap: Duration, drain: CancellationToken) -> Self {
        Self { inner, default, cap, drain: Arc::new(drain) }
    }

    /// How long this request may take, if that is limited; or that its caller's wish cannot be read.
    fn limit(&self, headers: &HeaderMap, streams: bool) -> Result<Option<Duration>, Malformed> {
        let wish = headers.get("grpc-timeout").map(|value| parse(value.as_bytes())).transpose()?;
        Ok(if streams { wish } else { Some(wish.unwrap_or(self.default).min(self.cap)) })
    }
}

#[derive(Debug)]
struct Malformed;

/// At most eight digits and a unit, as the gRPC specification has it.
fn parse(value: &[u8]) -> Result<Duration, Malformed> {
    let (unit, digits) = value.split_last().ok_or(Malformed)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let amount = digits.iter().fold(0_u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Ok(match unit {
        b'H' => Duration::from_hours(amount),
        b'M' => Duration::from_mins(amount),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return Err(Malformed),
    })
}

impl<S, B> Service<Request<Body>> for Deadlines<S>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: HttpBody + Default,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = Infallible;
    type Future = DeadlineFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let (headers, extensions) = (request.headers(), request.extensions());
        let context = RequestContext::of(extensions);
        let streams = context.is_some_and(|context| context.route.streams);
        let protocol = context.map_or(Protocol::Grpc, |context| context.protocol);
        let at = match self.limit(headers, streams) {
            // A wish beyond the end of time is none.
            Ok(limit) => limit.and_then(|limit| Instant::now().checked_add(limit)),
            Err(Malformed) => return DeadlineFuture::Malformed { protocol },
        };
        if let Some(context) = request.extensions_mut().get_mut::<RequestContext>() {
            context.deadline = at;
        }
        if !streams {
            return DeadlineFuture::Running {
                inner: self.inner.call(request),
                limit: Limit::new(at),
                streams,
                protocol,
            };
        }
        // What the caller says ends as well: whoever listens may not be the handler, and would keep the stream open.
        let limit = Limit::new(at).until(&self.drain);
        let request =
            request.map(|inner| Body::new(Heard { inner, limit: Limit::new(at).until(&self.drain), over: false }));
        DeadlineFuture::Running { inner: self.inner.call(request), limit, streams, protocol }
    }
}

pin_project! {
    #[project = DeadlineProjected]
    pub(super) enum DeadlineFuture<F> {
        Malformed { protocol: Protocol },
        Running {
            #[pin]
            inner: F,
            limit: Limit,
            streams: bool,
            protocol: Protocol,
        },
    }
}

impl<F, B> Future for DeadlineFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: HttpBody + Default,
{
    type Output = Result<Response<DeadlineBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            DeadlineProjected::Malformed { protocol } => {
                Poll::Ready(Ok(refusal::answer(refusal::malformed_timeout(), *protocol)))
            }
            DeadlineProjected::Running { inner, limit, streams, protocol } => {
                if let Poll::Ready(mut response) = inner.poll(context)? {
                    let limit = if *streams { std::mem::take(limit) } else { Limit::default() };
                    let kept = response.extensions_mut().remove::<Kept>();
                    return Poll::Ready(Ok(response.map(|inner| DeadlineBody { inner, limit, over: false, kept })));
                }
                match limit.reached(context) {
                    Some(end) => Poll::Ready(Ok(refusal::answer(end.status(), *protocol))),
                    None => Poll::Pending,
                }
            }
        }
    }
}

/// Why something ends that could have gone on.
#[derive(Debug)]
enum End {
    TimeIsUp,
    Draining,
}

impl End {
    fn status(&self) -> Status {
        match self {
            Self::TimeIsUp => refusal::deadline_exceeded(),
            Self::Draining => refusal::draining(),
        }
    }
}

/// How long something may last. Boxed inside, because few requests have to wait, and each would carry its size through
/// every layer.
#[derive(Debug, Default)]
struct Limit {
    at: Option<Instant>,
    // Made when there is something to wait for: most answers are there at once.
    sleep: Option<Pin<Box<Sleep>>>,
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Limit {
    fn new(at: Option<Instant>) -> Self {
        Self { at, ..Self::default() }
    }

    fn until(self, drain: &CancellationToken) -> Self {
        Self { drain: Some(Box::pin(drain.clone().cancelled_owned())), ..self }
    }

    /// Whether it has been reached; if not, the task is woken when it is.
    fn reached(&mut self, context: &mut Context<'_>) -> Option<End> {
        if let Some(drain) = &mut self.drain
            && drain.as_mut().poll(context).is_ready()
        {
            // It must not be asked again.
            self.drain = None;
            return Some(End::Draining);
        }
        let at = self.at?;
        let passed = Instant::now() >= at
            || self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut().poll(context).is_ready();
        passed.then_some(End::TimeIsUp)
    }
}

pin_project! {
    /// What the caller of a stream says, for as long as the stream may last.
    struct Heard {
        #[pin]
        inner: Body,
        limit: Limit,
        over: bool,
    }
}

impl HttpBody for Heard {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.project();
        *this.over = *this.over || this.limit.reached(context).is_some();
        if *this.over { Poll::Ready(None) } else { this.inner.poll_frame(context) }
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }
}

pin_project! {
    /// The answer's body, cut off in time if it streams.
    #[derive(Default)]
    pub(super) struct DeadlineBody<B> {
        #[pin]
        inner: B,
        limit: Limit,
        over: bool,
        kept: Option<Kept>,
    }
}

/// Something that an answer brings along, to be dropped when all of it has been taken or nobody takes it any more.
#[derive(Clone)]
pub(in crate::grpc) struct Kept {
    _thing: Arc<dyn Any + Send + Sync>,
}

impl Kept {
    pub(in crate::grpc) fn new(thing: Arc<dyn Any + Send + Sync>) -> Self {
        Self { _thing: thing }
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for DeadlineBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        if *this.over {
            return Poll::Ready(None);
        }
        // Asked first: a stream that always has something to say ends as well.
        if let Some(end) = this.limit.reached(context) {
            *this.over = true;
            return Poll::Ready(Some(Ok(Frame::trailers(refusal::trailers(end.status())))));
        }
        this.inner.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_specification_has_them() {
        assert_eq!(parse(b"250m").unwrap(), Duration::from_millis(250));
        assert_eq!(parse(b"99999999H").unwrap(), Duration::from_hours(99_999_999));
        assert_eq!(parse(b"0n").unwrap(), Duration::ZERO);
        for bad in ["", "m", "5", "5s", "-5S", "+5S", "5 S", "123456789S", "5.5S", "5SS"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_wish_is_capped_and_a_stream_has_only_its_own() {
        let layer = Deadlines::new((), Duration::from_secs(5), Duration::from_secs(30), CancellationToken::new());
        let left = |headers: &HeaderMap, streams| layer.limit(headers, streams).unwrap().map(|left| left.as_secs());
        let none = HeaderMap::new();
        assert_eq!((left(&none, false), left(&none, true)), (Some(5), None));
        let wish =
            |text: &'static str| HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]);
        assert_eq!(left(&wish("20S"), false), Some(20));
        assert_eq!(left(&wish("60S"), false), Some(30));
        assert_eq!(left(&wish("60S"), true), Some(60));
    }
}
