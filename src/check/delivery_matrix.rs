//! Which replica delivered the messages of which; plain data.

use super::replica::Problem;

/// For each replica, the messages that it delivered.
#[derive(Debug)]
pub(super) struct DeliveryMatrix {
    replicas: Vec<ReplicaState>,
}

#[derive(Debug)]
struct ReplicaState {
    label: String,
    /// The text published through it.
    text: String,
    /// The outcome of publishing; `None` until it is known.
    published: Option<Result<(), Problem>>,
    /// Deliveries here of the text of each replica.
    received: Vec<u32>,
    /// The problem that ended its event stream.
    ended: Option<Problem>,
}

impl DeliveryMatrix {
    /// A matrix of replicas with these labels, and the text to publish through each.
    pub(super) fn new(labels: Vec<String>, texts: Vec<String>) -> Self {
        let received = vec![0; labels.len()];
        let replicas = labels.into_iter().zip(texts);
        let replicas = replicas.map(|(label, text)| ReplicaState {
            label,
            text,
            published: None,
            received: received.clone(),
            ended: None,
        });
        Self { replicas: replicas.collect() }
    }

    /// Records the outcome of publishing through a replica.
    pub(super) fn published(&mut self, from: usize, outcome: Result<(), Problem>) {
        self.replicas[from].published = Some(outcome);
    }

    /// Records a text that a replica delivered.
    pub(super) fn received_text(&mut self, at: usize, text: &str) {
        if let Some(from) = self.replicas.iter().position(|replica| replica.text == text) {
            let received = &mut self.replicas[at].received[from];
            *received = received.saturating_add(1);
        }
    }

    /// Records the end of a replica's event stream.
    pub(super) fn ended(&mut self, at: usize, problem: Problem) {
        self.replicas[at].ended = Some(problem);
    }

    /// Returns whether everything has arrived that may still arrive.
    pub(super) fn is_settled(&self) -> bool {
        self.replicas.iter().all(|from| from.published.is_some())
            && self.pairs().all(|(from, at, received)| {
                received > 0 || at.ended.is_some() || matches!(from.published, Some(Err(_)))
            })
    }

    /// One line for each replica.
    pub(super) fn received(&self) -> Vec<String> {
        let line = |replica: &ReplicaState| {
            let received = replica.received.iter().filter(|count| **count > 0).count();
            format!("{}: received {received} of {}", replica.label, self.replicas.len())
        };
        self.replicas.iter().map(line).collect()
    }

    /// One line for each problem.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for ReplicaState { label, published, ended, .. } in &self.replicas {
            match published {
                Some(Ok(())) => {}
                Some(Err(problem)) => {
                    problems.push(format!("publishing through {label} failed: {problem}"));
                }
                None => {
                    problems.push(format!("publishing through {label} was not confirmed in time"))
                }
            }
            if let Some(problem) = ended {
                problems.push(format!("{label} stopped sending: {problem}"));
            }
        }
        for (from, at, received) in self.pairs() {
            match received {
                0 if matches!(from.published, Some(Err(_))) || at.ended.is_some() => {}
                0 => problems
                    .push(format!("published through {}, missing at {}", from.label, at.label)),
                1 => {}
                _ => problems.push(format!(
                    "published through {}, received {received} times at {}",
                    from.label, at.label
                )),
            }
        }
        problems
    }

    /// Each pair of a publishing and a delivering replica, with the number of deliveries.
    fn pairs(&self) -> impl Iterator<Item = (&ReplicaState, &ReplicaState, u32)> {
        self.replicas.iter().flat_map(move |at| {
            self.replicas.iter().zip(&at.received).map(move |(from, count)| (from, at, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix() -> DeliveryMatrix {
        let both = || vec!["a".to_owned(), "b".to_owned()];
        DeliveryMatrix::new(both(), both())
    }

    #[test]
    fn settled_when_all_texts_are_confirmed_and_received_everywhere() {
        let mut matrix = matrix();
        matrix.published(0, Ok(()));
        for (at, text) in [(0, "a"), (0, "b"), (1, "a"), (1, "something else"), (1, "b")] {
            matrix.received_text(at, text);
            assert!(!matrix.is_settled());
        }
        matrix.published(1, Ok(()));
        assert!(matrix.is_settled() && matrix.problems().is_empty());
        assert_eq!(matrix.received(), ["a: received 2 of 2", "b: received 2 of 2"]);
        matrix.received_text(1, "a");
        assert_eq!(matrix.problems(), ["published through a, received 2 times at b"]);
    }

    #[test]
    fn missing_deliveries_are_problems_of_their_pair() {
        let mut matrix = matrix();
        matrix.received_text(0, "a");
        matrix.published(0, Ok(()));
        assert_eq!(
            matrix.problems(),
            [
                "publishing through b was not confirmed in time",
                "published through b, missing at a",
                "published through a, missing at b",
                "published through b, missing at b",
            ]
        );
        matrix.published(1, Err(Problem::NotWarren));
        assert!(!matrix.is_settled());
        // Nothing is expected at a replica that has ended, nor of a message that was not published.
        matrix.ended(1, Problem::Ended);
        assert!(matrix.is_settled());
        assert_eq!(
            matrix.problems(),
            [
                "publishing through b failed: does not answer as a replica of Warren does",
                "b stopped sending: ended the event stream",
            ]
        );
    }
}
