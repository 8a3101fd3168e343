//! What is wrong with this process, each in one sentence: `/readyz` shows the list, the log tells when it changes.
//!
//! A problem has a key, so that whoever set it can say that it is over. Setting the same sentence again is silent.
//! Limit: [`SHOWN`] sentences are published; the rest are counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use chaperone_web::Problem;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Most sentences published at once.
pub const SHOWN: usize = 20;

/// The list; clones share it.
#[derive(Clone)]
pub struct Problems(Arc<Inner>);

struct Inner {
    open: Mutex<BTreeMap<String, Problem>>,
    published: watch::Sender<Vec<Problem>>,
}

impl Problems {
    /// An empty list, and where it can be read. Readers see the end when the last clone is dropped.
    pub fn new() -> (Self, watch::Receiver<Vec<Problem>>) {
        let (published, reader) = watch::channel(Vec::new());
        (Self(Arc::new(Inner { open: Mutex::default(), published })), reader)
    }

    /// `key` has this problem now.
    pub fn set(&self, key: impl Into<String>, sentence: impl Into<String>) {
        self.insert(key.into(), Problem { text: sentence.into(), notice: false });
    }

    /// `key` wants attention now; what is shown is right all the same.
    pub fn notice(&self, key: impl Into<String>, sentence: impl Into<String>) {
        self.insert(key.into(), Problem { text: sentence.into(), notice: true });
    }

    fn insert(&self, key: String, problem: Problem) {
        let mut open = self.0.open.lock();
        if open.get(&key) == Some(&problem) {
            return;
        }
        tracing::warn!("{}", problem.text);
        open.insert(key, problem);
        self.publish(&open);
    }

    /// `key` has this problem now, unless a better reason is known already.
    pub fn suppose(&self, key: &str, sentence: impl Into<String>) {
        if !self.has(key) {
            self.set(key, sentence);
        }
    }

    /// `key` has no problem any more.
    pub fn clear(&self, key: &str) {
        let mut open = self.0.open.lock();
        if let Some(problem) = open.remove(key) {
            tracing::info!("solved: {}", problem.text);
            self.publish(&open);
        }
    }

    /// Whoever set problems under these keys is gone: whether they are solved, nobody knows.
    pub fn forget(&self, whose: impl Fn(&str) -> bool) {
        let mut open = self.0.open.lock();
        open.retain(|key, _| !whose(key));
        self.publish(&open);
    }

    /// What is wrong under these keys.
    pub fn under(&self, keys: impl Fn(&str) -> bool) -> Vec<Problem> {
        self.0.open.lock().iter().filter(|(key, _)| keys(key)).map(|(_, problem)| problem.clone()).collect()
    }

    /// Under these keys there is this and nothing else.
    pub fn replace(&self, keys: impl Fn(&str) -> bool, with: BTreeMap<String, Problem>) {
        let gone: Vec<String> = {
            let open = self.0.open.lock();
            open.keys().filter(|key| keys(key) && !with.contains_key(*key)).cloned().collect()
        };
        for key in &gone {
            self.clear(key);
        }
        for (key, problem) in with {
            self.insert(key, problem);
        }
    }

    /// Whether `key` has a problem.
    pub fn has(&self, key: &str) -> bool {
        self.0.open.lock().contains_key(key)
    }

    /// The problem of `key`.
    pub fn get(&self, key: &str) -> Option<String> {
        self.0.open.lock().get(key).map(|problem| problem.text.clone())
    }

    /// Sets or clears.
    pub fn note(&self, key: &str, sentence: Option<String>) {
        match sentence {
            Some(sentence) => self.set(key, sentence),
            None => self.clear(key),
        }
    }

    fn publish(&self, open: &BTreeMap<String, Problem>) {
        let mut list: Vec<Problem> = Vec::new();
        for problem in open.values() {
            if !list.contains(problem) {
                list.push(problem.clone());
            }
        }
        if list.len() > SHOWN {
            let more = list.len() - SHOWN;
            list.truncate(SHOWN);
            list.push(Problem { text: format!("and {more} more; see the log"), notice: false });
        }
        self.0.published.send_replace(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_stays_until_its_key_is_cleared_and_the_list_is_bounded() {
        let (problems, reader) = Problems::new();
        let texts = || reader.borrow().iter().map(|p| p.text.clone()).collect::<Vec<_>>();
        problems.set("a", "one");
        problems.set("a", "two");
        problems.set("b", "two");
        assert_eq!(texts(), ["two"]);
        problems.clear("a");
        assert_eq!(texts(), ["two"]);
        problems.note("b", None);
        assert!(reader.borrow().is_empty());
        problems.set("tap a", "three");
        problems.set("tap b", "four");
        problems.forget(|key| key == "tap a");
        assert_eq!(texts(), ["four"]);
        let heard = |text: &str| Problem { text: text.to_owned(), notice: true };
        problems.replace(|key| key.starts_with("heard"), [("heard 1".to_owned(), heard("five"))].into());
        problems.replace(|key| key.starts_with("heard"), [("heard 2".to_owned(), heard("six"))].into());
        assert_eq!(texts(), ["six", "four"]);
        assert_eq!(problems.under(|key| !key.starts_with("heard")).len(), 1);
        problems.replace(|key| key.starts_with("heard"), BTreeMap::new());
        problems.clear("tap b");
        for i in 0..100 {
            problems.set(format!("k{i:03}"), format!("s{i:03}"));
        }
        assert_eq!(reader.borrow().len(), SHOWN + 1);
        assert!(reader.borrow().last().is_some_and(|l| l.text.starts_with("and 80 more")));
    }
}
