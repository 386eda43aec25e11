//! Resuming after a client's last message: from memory, from the log, or not at all.

use super::replay::{PositionWait, Replay};
use crate::worker::Worker;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;
use warren_broker::LogError;
use warren_config::DeliveryMode;
use warren_hub::Sequence;
use warren_observe::events::{Event, SanitizedText};
use warren_observe::labels::ResumeOutcome;
use warren_protocol::message::{is_vague, position_of};

/// Time to catch up with the replica that a client comes from.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(2);

/// Source of the messages that a resuming client missed.
#[derive(Debug)]
pub enum Resumed {
    /// All missed messages are in memory, from this sequence on.
    Memory(Sequence),
    /// The missed messages must be read from the log.
    Log(Replay),
    /// The missed messages are not known.
    Failed(ResumeFailure),
}

/// The reason why a client cannot resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumeFailure {
    /// The cursor is not an id.
    Malformed,
    /// There is no message of this id here: it belongs to another log, broker or run.
    Unknown,
    /// The messages after the cursor are no longer kept.
    Expired,
    /// With delivery mode `live` no messages are kept.
    Live,
}

impl ResumeFailure {
    /// The reason in the form that clients receive, and the metric label.
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

/// Resumes after the message of this id.
///
/// # Errors
/// The log must be read, and cannot be.
pub async fn resume(worker: Rc<Worker>, id: &str) -> Result<Resumed, LogError> {
    let resumed = find(&worker, id).await;
    let reporter = &worker.state.reporter;
    match &resumed {
        Ok(Resumed::Memory(_)) => reporter.resumed(ResumeOutcome::Memory),
        Ok(Resumed::Log(_)) => reporter.resumed(ResumeOutcome::Log),
        Ok(Resumed::Failed(failure)) => {
            reporter.emit(Event::ResumeFailed { outcome: (*failure).into() });
        }
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
    let sequence = worker.hub.borrow().find(id);
    let Some(replays) = &worker.state.replays else {
        if sequence.is_none()
            && worker.hub.borrow().next_position().is_none_or(|next| next <= position)
        {
            wait_for_position(worker, position).await;
        }
        let sequence = worker.hub.borrow().find(id);
        let failed = || Resumed::Failed(memory_failure(worker, id, position));
        return Ok(sequence.map_or_else(failed, Resumed::Memory));
    };
    if let Some(sequence) =
        sequence.filter(|sequence| worker.hub.borrow().is_safe_from_eviction(*sequence))
    {
        return Ok(Resumed::Memory(sequence));
    }
    let ready = || worker.state.status.borrow().unready().is_none();
    let was_ready = ready();
    let mut head = replays.log().head();
    let read = head.wait_for(|head| head.is_some_and(|head| head.position >= position));
    if timeout(CATCH_UP_TIMEOUT, read).await.is_err() {
        // This replica may be slow, or may have reconnected just now, and not have read that far.
        let ready = was_ready && ready() && replays.log().head().borrow().is_some();
        if !ready || replays.log().reaches(position).await? {
            return Err(LogError(
                "this replica has not read the log up to that message yet".to_owned(),
            ));
        }
        return Ok(Resumed::Failed(ResumeFailure::Unknown));
    }
    let in_memory = || worker.hub.borrow().complete_from().is_some_and(|from| from <= position);
    if sequence.is_none() {
        wait_for_position(worker, position).await;
        let sequence = worker.hub.borrow().find(id);
        if let Some(sequence) = sequence {
            return Ok(Resumed::Memory(sequence));
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

/// Waits until the memory has reached a position, but not for ever.
async fn wait_for_position(worker: &Rc<Worker>, position: u64) {
    let mut wait = PositionWait::new(worker);
    let _ = timeout(CATCH_UP_TIMEOUT, poll_fn(|context| wait.poll(position, context))).await;
}

/// The failure for a message that is not in memory, if there is no log.
fn memory_failure(worker: &Worker, id: &str, position: u64) -> ResumeFailure {
    let hub = worker.hub.borrow();
    let fingerprint = |id: &str| id.split_once('-').map(|(_, fingerprint)| fingerprint.to_owned());
    let same_run = hub.newest_id().is_some_and(|newest| fingerprint(newest) == fingerprint(id));
    let evicted = hub.complete_from().is_some_and(|from| position < from);
    if same_run && evicted { ResumeFailure::Expired } else { ResumeFailure::Unknown }
}
