//! The configuration that the environment gives a process.

use crate::histories::ADDED;
use crate::ports::chain::{epoch_id, stateful};
use sawlog_core::reload::{Oldest, Removal, Wanted};
use sawlog_core::{SinkId, SourceId};
use std::collections::{BTreeMap, BTreeSet};

/// What the environment wants of the process.
#[derive(Clone)]
pub(super) struct Desire {
    pub(super) epoch: u64,
    pub(super) second: Option<bool>,
    /// The second source is in the configuration.
    pub(super) more: bool,
    /// The file sink is fed by the second source too, from some reload on.
    pub(super) file_joined: bool,
    /// What is begun anew in the running process, as if its settings had changed.
    pub(super) anew: BTreeSet<&'static str>,
    /// Sinks that deliver at the second of their places.
    pub(super) elsewhere: BTreeSet<&'static str>,
}

impl Desire {
    pub(super) fn sources(&self) -> BTreeSet<&'static str> {
        if self.more { ["files", "more"].into() } else { ["files"].into() }
    }

    pub(super) fn place(&self, sink: &SinkId) -> usize {
        usize::from(self.elsewhere.contains(sink.as_str()))
    }

    pub(super) fn wanted(&self, from_oldest: bool) -> Wanted {
        let mut names = vec!["log", "documents", "objects", "file", "dead"];
        if self.second == Some(true) {
            names.push("second");
        }
        let fed = |sink: &&'static str| {
            let fed = self.sources().into_iter().filter(|source| self.feeds(source, sink));
            (SinkId::new(sink), fed.map(SourceId::new).collect())
        };
        let sinks = names.iter().map(fed).collect();
        let id = epoch_id(self.epoch);
        let remove = BTreeMap::from([(SinkId::new("second"), Removal::Drain)]);
        let components = || self.sources().into_iter().map(|name| (SourceId::new(name), stateful(id, name)));
        let digests = components().map(|(source, (digests, _))| (source, digests)).collect();
        let names = components().map(|(source, (_, names))| (source, names)).collect();
        let second = SinkId::new(ADDED);
        let fed = self.sources().into_iter().filter(|source| self.feeds(source, ADDED)).map(SourceId::new);
        let oldest = Oldest { sources: fed.collect(), letters: Some(SinkId::new("dead")) };
        let from_oldest = if from_oldest { BTreeMap::from([(second, oldest)]) } else { BTreeMap::new() };
        Wanted { id, stateful: digests, names, blobs: Vec::new(), sinks, from_oldest, untold: BTreeSet::new(), remove }
    }

    pub(super) fn feeds(&self, source: &str, sink: &str) -> bool {
        match (source, sink) {
            ("more", "documents") => false,
            ("more", "file") => self.file_joined,
            _ => true,
        }
    }
}
