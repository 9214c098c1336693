//! Questions to the database that are asked together: those that arrive while a statement is under way share the next one.
//!
//! A worker takes everything in the queue and asks it at once. No time is waited for more. So a single caller waits for one statement, and
//! a caller among many waits for two, as long as one statement can have all that are queued. Every answer is found after its question was asked.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Mutex, mpsc, oneshot};

use super::errors::Error;
use crate::background;

/// Questions in the queue. A further one is refused.
const QUEUE: usize = 8_192;
/// Questions that one statement answers.
const BATCH: usize = 256;
/// The pause before a worker that panicked starts again.
const RESTART_PAUSE: Duration = Duration::from_millis(10);

/// A question, and who waits for the answer.
struct Question<Q, A> {
    about: Q,
    answer: oneshot::Sender<A>,
}

/// How a queue is worked off.
#[derive(Clone, Copy)]
pub(super) struct Workers {
    /// Their number. Each has one statement under way.
    pub(super) count: usize,
    /// How often a worker yields before it takes what is queued, if callers are active: if its last statement had more than one question.
    /// So tasks that are ready can ask first, and share the price that a statement has of its own.
    pub(super) yields: usize,
}

/// The queue of questions. The workers end when it is dropped.
pub(super) struct Questions<Q, A>(mpsc::Sender<Question<Q, A>>);

/// Why there is no answer.
pub(super) enum Unanswered {
    /// The queue is full, so nothing was done.
    Full,
    /// The worker panicked, so it is not known what was done.
    Lost,
}

impl<Q: Send + 'static, A: Send + 'static> Questions<Q, A> {
    /// Starts workers. `ask` answers several questions, in their order.
    pub(super) fn start<F>(
        name: &'static str,
        workers: Workers,
        ask: impl Fn(Vec<Q>) -> F + Clone + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Vec<A>> + Send + 'static,
    {
        let (queue, questions) = mpsc::channel(QUEUE);
        let questions = Arc::new(Mutex::new(questions));
        for _ in 0..workers.count {
            let (questions, ask) = (Arc::clone(&questions), ask.clone());
            let run = move || run(Arc::clone(&questions), workers.yields, ask.clone());
            tokio::spawn(background::supervise(name, RESTART_PAUSE, run));
        }
        Self(queue)
    }

    /// The answer to a question. It is asked also if the caller leaves.
    pub(super) async fn ask(&self, about: Q) -> Result<A, Unanswered> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { about, answer }).map_err(|_| Unanswered::Full)?;
        answered.await.map_err(|_| Unanswered::Lost)
    }
}

/// The error of a question that only reads.
impl From<Unanswered> for Arc<Error> {
    fn from(why: Unanswered) -> Self {
        Self::new(match why {
            Unanswered::Full => Error::overloaded("too many reads are waiting"),
            Unanswered::Lost => Error::Panicked("a reader panicked".to_owned()),
        })
    }
}

async fn run<Q, A, F>(questions: Arc<Mutex<mpsc::Receiver<Question<Q, A>>>>, yields: usize, ask: impl Fn(Vec<Q>) -> F)
where
    F: Future<Output = Vec<A>>,
{
    let (mut batch, mut last) = (Vec::with_capacity(BATCH), 0);
    loop {
        let mut queue = questions.lock().await;
        if queue.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let yields = if last > 1 { yields } else { 0 };
        for _ in 0..yields {
            tokio::task::yield_now().await;
        }
        while batch.len() < BATCH
            && let Ok(further) = queue.try_recv()
        {
            batch.push(further);
        }
        drop(queue);
        last = batch.len();
        let (questions, callers): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Question { about, answer }| (about, answer)).unzip();
        for (caller, answer) in callers.into_iter().zip(ask(questions).await) {
            let _left = caller.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join;
    use tokio::sync::Semaphore;

    use super::*;

    /// Answers each question with itself and all that were asked with it, once the gate lets it.
    fn echo(gate: &Arc<Semaphore>) -> Questions<usize, (usize, Vec<usize>)> {
        let gate = Arc::clone(gate);
        Questions::start("an echo", Workers { count: 1, yields: 2 }, move |asked: Vec<usize>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.expect("it is never closed").forget();
                assert!(!asked.contains(&13), "planned");
                asked.iter().map(|one| (*one, asked.clone())).collect()
            }
        })
    }

    #[tokio::test]
    async fn questions_that_wait_are_asked_together_and_each_has_its_own_answer() {
        let gate = Arc::new(Semaphore::new(0));
        let questions = echo(&gate);
        let first = async {
            let answer = questions.ask(1).await.ok();
            gate.add_permits(1);
            answer
        };
        let others = async {
            while questions.0.capacity() < QUEUE {
                tokio::task::yield_now().await;
            }
            // The first one is under way.
            gate.add_permits(1);
            join(questions.ask(2), questions.ask(3)).await
        };
        let (first, (second, third)) = join(first, others).await;
        assert_eq!(first, Some((1, vec![1])));
        assert_eq!(second.ok(), Some((2, vec![2, 3])));
        assert_eq!(third.ok(), Some((3, vec![2, 3])));
    }

    #[tokio::test]
    async fn a_question_beyond_the_queue_is_refused_at_once() {
        let gate = Arc::new(Semaphore::new(0));
        let questions = echo(&gate);
        // Nothing waits in between, so the worker takes none of them out of the queue.
        let mut waiting = Vec::new();
        for about in 100..100 + QUEUE {
            let (answer, answered) = oneshot::channel();
            assert!(questions.0.try_send(Question { about, answer }).is_ok());
            waiting.push(answered);
        }
        assert!(matches!(questions.ask(7).await, Err(Unanswered::Full)));
        gate.add_permits(QUEUE);
        for answered in waiting {
            answered.await.expect("it was in the queue");
        }
    }

    #[tokio::test]
    async fn after_a_panic_the_answer_is_lost_and_the_next_question_is_answered() {
        let questions = echo(&Arc::new(Semaphore::new(2)));
        assert!(matches!(questions.ask(13).await, Err(Unanswered::Lost)));
        assert_eq!(questions.ask(14).await.ok(), Some((14, vec![14])));
    }
}
