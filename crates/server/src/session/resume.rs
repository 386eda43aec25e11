//! How a client goes on that names the last message it has: from memory, from the log, or not.

use crate::replay_cache::{LogPage, ReplayCache};
use crate::worker::Worker;
use futures_util::future::LocalBoxFuture;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;
use warren_broker::LogError;
use warren_config::DeliveryMode;
use warren_hub::{Sequence, WaiterId};
use warren_observe::events::{Event, SanitizedText};
use warren_observe::labels::ResumeOutcome;
use warren_protocol::encoded::EncodedMessage;
use warren_protocol::message::{Channel, is_vague, position_of};

/// How far this replica may be behind another, from which a client comes.
const BEHIND: Duration = Duration::from_secs(2);

/// What becomes of a client that comes back.
#[derive(Debug)]
pub enum Resumed {
    /// What it missed is in memory, from this place on.
    Memory(Sequence),
    /// What it missed is in the log.
    Log(Replay),
    Failed(ResumeFailure),
}

/// Why what a client missed is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeFailure {
    /// It names something that is no id.
    Malformed,
    /// There is no such message here: it is of another log, broker or run.
    Unknown,
    /// It is no longer kept.
    Expired,
    /// Nothing is kept to go back to.
    Live,
}

impl ResumeFailure {
    /// The name towards clients, and the metric label.
    pub fn code(self) -> &'static str {
        ResumeOutcome::from(self).value()
    }
}

impl From<ResumeFailure> for ResumeOutcome {
    fn from(failure: ResumeFailure) -> Self {
        match failure {
            ResumeFailure::Malformed => Self::Malformed,
            ResumeFailure::Unknown => Self::Unknown,
            ResumeFailure::Expired => Self::Expired,
            ResumeFailure::Live => Self::Live,
        }
    }
}

/// Finds out how to go on behind the message of this id.
///
/// # Errors
/// When the log would have to be read, and cannot be.
pub async fn resume(worker: Rc<Worker>, id: &str) -> Result<Resumed, LogError> {
    let resumed = find(&worker, id).await;
    let reporter = &worker.state.reporter;
    match &resumed {
        Ok(Resumed::Memory(_)) => reporter.resumed(ResumeOutcome::Memory),
        Ok(Resumed::Log(_)) => reporter.resumed(ResumeOutcome::Log),
        Ok(Resumed::Failed(lost)) => reporter.emit(Event::ResumeFailed { outcome: (*lost).into() }),
        Err(error) => reporter.emit(Event::LogUnreadable { problem: SanitizedText::of(error) }),
    }
    resumed
}

async fn find(worker: &Rc<Worker>, id: &str) -> Result<Resumed, LogError> {
    let config = &worker.state.config;
    if config.amqp_url.is_some() && config.delivery == DeliveryMode::Live {
        return Ok(Resumed::Failed(ResumeFailure::Live));
    }
    let Some(position) = position_of(id) else {
        return Ok(Resumed::Failed(ResumeFailure::Malformed));
    };
    if is_vague(id) {
        return Ok(Resumed::Failed(ResumeFailure::Unknown));
    }
    let place = worker.hub.borrow().find(id);
    let Some(replays) = &worker.state.replays else {
        if place.is_none() && worker.hub.borrow().next_position().is_none_or(|end| end <= position)
        {
            arrival(worker, position).await;
        }
        let place = worker.hub.borrow().find(id);
        let lost = || Resumed::Failed(gone(worker, id, position));
        return Ok(place.map_or_else(lost, Resumed::Memory));
    };
    if let Some(place) = place.filter(|place| worker.hub.borrow().is_safe_from_eviction(*place)) {
        return Ok(Resumed::Memory(place));
    }
    let ready = || worker.state.status.borrow().unready().is_none();
    let was_ready = ready();
    let mut head = replays.log().head();
    let there = head.wait_for(|head| head.is_some_and(|head| head.position >= position));
    if timeout(BEHIND, there).await.is_err() {
        // A replica that has just come back itself, or that is slow, may not have read so far.
        let ready = was_ready && ready() && replays.log().head().borrow().is_some();
        if !ready || replays.log().reaches(position).await? {
            return Err(LogError("this replica has not read so far yet".to_owned()));
        }
        return Ok(Resumed::Failed(ResumeFailure::Unknown));
    }
    let in_memory = || worker.hub.borrow().complete_from().is_some_and(|from| from <= position);
    if place.is_none() {
        arrival(worker, position).await;
        let place = worker.hub.borrow().find(id);
        if let Some(place) = place {
            return Ok(Resumed::Memory(place));
        }
        if in_memory() {
            return Ok(Resumed::Failed(ResumeFailure::Unknown));
        }
    }
    let page = replays.clone().page(position).await?;
    if page.from > position {
        return Ok(Resumed::Failed(ResumeFailure::Expired));
    }
    let found = page.messages.iter().find(|message| message.position == Some(position));
    if found.is_none_or(|message| &*message.id != id) {
        return Ok(Resumed::Failed(ResumeFailure::Unknown));
    }
    Ok(Resumed::Log(Replay::new(worker, replays, position + 1, page.epoch)))
}

/// Waits for what may be on its way to this worker, but not for ever.
async fn arrival(worker: &Rc<Worker>, position: u64) {
    let mut arrival = Arrival::new(worker);
    let _ = timeout(BEHIND, poll_fn(|context| arrival.poll(position, context))).await;
}

/// Waits until the memory has come to a position. Who waits no longer is forgotten.
struct Arrival {
    worker: Rc<Worker>,
    ticket: Option<WaiterId>,
}

impl Arrival {
    fn new(worker: &Rc<Worker>) -> Self {
        Self { worker: worker.clone(), ticket: None }
    }

    fn poll(&mut self, position: u64, context: &mut Context<'_>) -> Poll<()> {
        let mut hub = self.worker.hub.borrow_mut();
        if let Some(ticket) = self.ticket.take() {
            hub.cancel_wait(ticket);
        }
        self.ticket = hub.wait_for_position(position, context.waker());
        if self.ticket.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.worker.hub.borrow_mut().cancel_wait(ticket);
        }
    }
}

/// Why the memory does not have a message, where there is nothing else.
fn gone(worker: &Worker, id: &str, position: u64) -> ResumeFailure {
    let hub = worker.hub.borrow();
    let check = |id: &str| id.split_once('-').map(|(_, check)| check.to_owned());
    let ours = hub.newest_id().is_some_and(|newest| check(newest) == check(id));
    let before = hub.complete_from().is_some_and(|from| position < from);
    if ours && before { ResumeFailure::Expired } else { ResumeFailure::Unknown }
}

/// Reads the log from a position on, until the memory has what follows.
pub struct Replay {
    replays: Arc<ReplayCache>,
    /// The next position that is to be read.
    next: u64,
    /// Which log it is, as the log itself and as the memory know it, once it does.
    epochs: (u64, Option<u64>),
    arrival: Arrival,
    page: Option<(Arc<LogPage>, usize)>,
    coming: Option<LocalBoxFuture<'static, Result<Arc<LogPage>, LogError>>>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replay").field("next", &self.next).finish_non_exhaustive()
    }
}

/// One step of a replay.
#[derive(Debug)]
pub enum ReplayItem {
    Message(Arc<EncodedMessage>),
    /// From this place on it is all in memory.
    Joined(Sequence),
}

/// Why a replay is over before its time.
#[derive(Debug)]
pub enum ReplayError {
    /// What was to follow is not kept any more.
    Overtaken,
    Unreadable(LogError),
}

impl Replay {
    /// A replay of `next` and what follows it, of the log of this epoch.
    pub fn new(worker: &Rc<Worker>, replays: &Arc<ReplayCache>, next: u64, epoch: u64) -> Self {
        let hub = worker.hub.borrow();
        Self {
            replays: replays.clone(),
            next,
            epochs: (epoch, hub.complete_from().map(|_| hub.epoch())),
            arrival: Arrival::new(worker),
            page: None,
            coming: None,
        }
    }

    /// The next step; only messages of `channels` are given.
    pub fn poll(
        &mut self,
        worker: &Worker,
        channels: &[Channel],
        context: &mut Context<'_>,
    ) -> Poll<Result<ReplayItem, ReplayError>> {
        loop {
            let hub = worker.hub.borrow();
            // What this worker has not seen yet will come from memory, and must not come twice.
            let Some(end) = hub.next_position() else {
                drop(hub);
                ready!(self.arrival.poll(u64::MAX, context));
                continue;
            };
            if *self.epochs.1.get_or_insert(hub.epoch()) != hub.epoch() {
                // The client was told of the gap, and everything from then on is in memory.
                return Poll::Ready(Ok(ReplayItem::Joined(hub.epoch_start())));
            }
            if self.next > end {
                drop(hub);
                ready!(self.arrival.poll(self.next - 1, context));
                continue;
            }
            if let Some(place) = hub.join(self.next)
                && (self.next >= end || hub.is_safe_from_eviction(place))
            {
                return Poll::Ready(Ok(ReplayItem::Joined(place)));
            }
            drop(hub);
            let Some((page, place)) = &mut self.page else {
                let fetched = match self.poll_page(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(fetched) => fetched,
                };
                if let Err(cut) = fetched {
                    return Poll::Ready(Err(cut));
                }
                continue;
            };
            let message = page.messages.get(*place).cloned();
            let Some((message, next)) = message.and_then(|it| Some((it.clone(), it.position? + 1)))
            else {
                self.next = page.to.min(end).max(self.next);
                self.page = None;
                // A page may have nothing for this client, and the next one, too: others have a turn.
                context.waker().wake_by_ref();
                return Poll::Pending;
            };
            if next > end {
                self.next = end;
                continue;
            }
            *place += 1;
            self.next = next;
            if channels.contains(&message.channel) {
                return Poll::Ready(Ok(ReplayItem::Message(message)));
            }
        }
    }

    /// Lets go of what it holds, or would be given, while its client takes no more.
    pub fn rest(&mut self) {
        self.page = None;
        self.coming = None;
    }

    /// Gets the page that has what follows.
    fn poll_page(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ReplayError>> {
        let next = self.next;
        let coming = self.coming.get_or_insert_with(|| Box::pin(self.replays.clone().page(next)));
        let page = match Pin::new(coming).poll(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(page) => page,
        };
        self.coming = None;
        let page = match page {
            Ok(page) if page.epoch == self.epochs.0 => page,
            Ok(_) => return Poll::Ready(Err(ReplayError::Overtaken)),
            Err(error) => return Poll::Ready(Err(ReplayError::Unreadable(error))),
        };
        // A page without what follows would be asked for again and again.
        if page.from > next || page.to <= next {
            return Poll::Ready(Err(ReplayError::Overtaken));
        }
        let read = |message: &Arc<EncodedMessage>| message.position < Some(next);
        let place = page.messages.partition_point(read);
        self.page = Some((page, place));
        Poll::Ready(Ok(()))
    }
}
