//! Who heard whom; plain data.

use super::replica::Problem;

#[derive(Debug)]
pub(super) struct Tally {
    replicas: Vec<Seen>,
}

/// What is known of one replica.
#[derive(Debug)]
struct Seen {
    label: String,
    /// What is published through it.
    text: String,
    /// None: not yet.
    published: Option<Result<(), Problem>>,
    /// How often each text was heard here.
    heard: Vec<u32>,
    /// Why nothing more is heard.
    ended: Option<Problem>,
}

impl Tally {
    /// Of replicas with these labels, through each of which its text will be published.
    pub(super) fn new(labels: Vec<String>, texts: Vec<String>) -> Self {
        let heard = vec![0; labels.len()];
        let replicas = labels.into_iter().zip(texts);
        let replicas = replicas.map(|(label, text)| Seen {
            label,
            text,
            published: None,
            heard: heard.clone(),
            ended: None,
        });
        Self { replicas: replicas.collect() }
    }

    pub(super) fn published(&mut self, from: usize, outcome: Result<(), Problem>) {
        self.replicas[from].published = Some(outcome);
    }

    pub(super) fn said(&mut self, at: usize, text: &str) {
        if let Some(from) = self.replicas.iter().position(|replica| replica.text == text) {
            let heard = &mut self.replicas[at].heard[from];
            *heard = heard.saturating_add(1);
        }
    }

    pub(super) fn ended(&mut self, at: usize, problem: Problem) {
        self.replicas[at].ended = Some(problem);
    }

    /// Whether nothing more is to be expected.
    pub(super) fn is_settled(&self) -> bool {
        self.replicas.iter().all(|from| from.published.is_some())
            && self.pairs().all(|(from, at, heard)| {
                heard > 0 || at.ended.is_some() || matches!(from.published, Some(Err(_)))
            })
    }

    /// One line for each replica.
    pub(super) fn heard(&self) -> Vec<String> {
        let line = |replica: &Seen| {
            let heard = replica.heard.iter().filter(|heard| **heard > 0).count();
            format!("{}: heard {heard} of {}", replica.label, self.replicas.len())
        };
        self.replicas.iter().map(line).collect()
    }

    /// One line for each thing that is not as it should be.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for Seen { label, published, ended, .. } in &self.replicas {
            match published {
                Some(Ok(())) => {}
                Some(Err(problem)) => {
                    problems.push(format!("nothing can be published through {label}: {problem}"));
                }
                None => problems.push(format!("{label} did not confirm in time what it was given")),
            }
            if let Some(problem) = ended {
                problems.push(format!("{label} stopped sending: {problem}"));
            }
        }
        for (from, at, heard) in self.pairs() {
            match heard {
                0 if matches!(from.published, Some(Err(_))) || at.ended.is_some() => {}
                0 => problems
                    .push(format!("published through {}, missing at {}", from.label, at.label)),
                1 => {}
                _ => problems.push(format!(
                    "published through {}, came {heard} times at {}",
                    from.label, at.label
                )),
            }
        }
        problems
    }

    /// Through whom, where, and how often it was heard there.
    fn pairs(&self) -> impl Iterator<Item = (&Seen, &Seen, u32)> {
        self.replicas.iter().flat_map(move |at| {
            self.replicas.iter().zip(&at.heard).map(move |(from, heard)| (from, at, *heard))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally() -> Tally {
        let both = || vec!["a".to_owned(), "b".to_owned()];
        Tally::new(both(), both())
    }

    #[test]
    fn it_is_settled_when_everybody_heard_everything_and_it_is_confirmed() {
        let mut tally = tally();
        tally.published(0, Ok(()));
        for (at, text) in [(0, "a"), (0, "b"), (1, "a"), (1, "something else"), (1, "b")] {
            tally.said(at, text);
            assert!(!tally.is_settled());
        }
        tally.published(1, Ok(()));
        assert!(tally.is_settled() && tally.problems().is_empty());
        assert_eq!(tally.heard(), ["a: heard 2 of 2", "b: heard 2 of 2"]);
        tally.said(1, "a");
        assert_eq!(tally.problems(), ["published through a, came 2 times at b"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut tally = tally();
        tally.said(0, "a");
        tally.published(0, Ok(()));
        assert_eq!(
            tally.problems(),
            [
                "b did not confirm in time what it was given",
                "published through b, missing at a",
                "published through a, missing at b",
                "published through b, missing at b",
            ]
        );
        tally.published(1, Err(Problem::Foreign));
        assert!(!tally.is_settled());
        // Nothing is expected of those who are gone, nor of what nobody has.
        tally.ended(1, Problem::Ended);
        assert!(tally.is_settled());
        assert_eq!(
            tally.problems(),
            [
                "nothing can be published through b: does not answer as a replica of Warren does",
                "b stopped sending: ended the event stream",
            ]
        );
    }
}
