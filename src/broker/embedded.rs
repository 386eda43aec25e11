//! The broker inside this process: no other replica, and no RabbitMQ needed.

use super::{Delivery, House, Status, raised};
use crate::message::id_at;
use tracing::warn;

pub(super) async fn run(mut house: House) {
    warn!(
        "embedded broker: messages reach the clients of this process only; \
         set WARREN_AMQP_URL to join replicas through RabbitMQ"
    );
    let works = Status { publishing: true, consuming: true, hearing: true, ..Status::default() };
    house.metrics.hearing(true);
    house.status.send_replace(works);
    // Ids of another run of the process must not be taken for this one's.
    let origin = format!("{:08x}", fastrand::u32(..));
    let mut position = 0;
    loop {
        let submission = tokio::select! {
            biased;
            submission = house.submissions.recv() => submission,
            () = raised(&mut house.closing) => {
                house.submissions.close();
                house.submissions.recv().await
            }
        };
        let Some(submission) = submission else { return };
        position += 1;
        let id = id_at(&origin, position);
        let message = submission.message(id.clone(), Some(position));
        // At the end nobody takes deliveries any more; the message was accepted all the same.
        let _ = house.deliveries.send(Delivery::Message(message)).await;
        submission.confirm(id);
    }
}
