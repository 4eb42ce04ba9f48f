//! What a source tells is followed: journalled first where it is to be, then seen by lanes.

use super::leaving::Leaving;
use super::{Extent, Inputs};
use crate::identity::Held;
use crate::journal::Record;
use crate::mutation;
use crate::ports::{JournalError, SourceEvent};
use crate::tasks::Tasks;
use futures_util::FutureExt as _;
use futures_util::future::try_join;
use sawlog_record::id::Generation;

/// Events that are followed together at most.
const EVENTS_AT_ONCE: usize = 256;

impl Inputs {
    /// Hands the source what the journal knows, then follows its events until the journal fails or `tasks` end: never in the
    /// middle of an event, and what it said to be leaving is rescued, if that can be within [`super::RESCUE_AT_END_MAX`]. One that `closes`
    /// takes nothing new.
    pub(crate) async fn run(&self, closes: bool, held: Held, tasks: &Tasks) -> Result<(), JournalError> {
        if self.recognises() {
            self.source.hold(held).await;
        }
        self.restore().await;
        self.lose_unrescued().await?;
        self.begin_histories().await?;
        if closes {
            self.source.close().await;
        }
        let leaving = Leaving::new(tasks);
        let follow = async {
            while let Some(event) = tasks.until_ending(self.source.event()).await {
                let events = self.with_ready(event);
                self.journal_told(&events).await?;
                for event in events {
                    self.follow(event, &leaving).await?;
                }
            }
            leaving.close();
            Ok(())
        };
        try_join(follow, self.let_go_of(&leaving)).await.map(|_| ())
    }

    /// `first` and what is ready behind it, up to the first event that takes more than to be told.
    fn with_ready(&self, first: SourceEvent) -> Vec<SourceEvent> {
        let is_told = |event: &SourceEvent| !matches!(event, SourceEvent::Gone { .. } | SourceEvent::Finished);
        let mut events = vec![first];
        while events.len() < EVENTS_AT_ONCE && events.last().is_some_and(is_told) {
            let Some(event) = self.source.event().now_or_never() else { break };
            events.push(event);
        }
        events
    }

    /// What is to be journalled of these events is durable at once, before any of them has an effect: a start may find ten thousand
    /// files, and as many come to rest.
    async fn journal_told(&self, events: &[SourceEvent]) -> Result<(), JournalError> {
        let records: Vec<Record> = events.iter().filter_map(|event| self.record_of(event)).collect();
        if records.is_empty() { Ok(()) } else { self.journal.commit(records).await }
    }

    fn record_of(&self, event: &SourceEvent) -> Option<Record> {
        match event {
            SourceEvent::Opened { generation, partition, identity, start } => {
                let (generation, partition, start) = (*generation, *partition, *start);
                let (source, identity) = (self.id.clone(), identity.clone());
                Some(Record::Generation { generation, partition, source, identity, start })
            }
            SourceEvent::Identity { generation, identity } => {
                Some(Record::Identity { generation: *generation, identity: identity.clone() })
            }
            _ => None,
        }
    }

    async fn follow(&self, event: SourceEvent, leaving: &Leaving<'_>) -> Result<(), JournalError> {
        match event {
            SourceEvent::Opened { generation, partition, .. } => {
                let mut known = self.lock();
                known.extents.insert(generation, Extent { partition, end: 0, ended: false, vanished: false });
                known.partition(partition).push(generation);
                drop(known);
                self.opened.notify(usize::MAX);
            }
            SourceEvent::Identity { .. } => {} // journalled
            SourceEvent::Available { generation, end } => self.extend(generation, |e| e.end = e.end.max(end)),
            SourceEvent::Ended { generation, len } => self.extend(generation, |e| {
                e.end = e.end.max(len);
                e.ended = true;
            }),
            SourceEvent::Vanishing { generation, end } => {
                self.extend(generation, |e| e.end = e.end.max(end));
                match mutation::on("rescue_holds_source") {
                    true => self.let_go(generation, end, leaving).await?,
                    false => leaving.push(generation, end),
                }
            }
            SourceEvent::Gone { generation } => self.lose(generation).await?,
            SourceEvent::Met => self.give_back(),
            SourceEvent::Finished => {
                let mut known = self.lock();
                known.finished = true;
                known.tell_all();
                drop(known);
                self.opened.notify(usize::MAX);
            }
        }
        Ok(())
    }

    pub(super) fn extend(&self, generation: Generation, change: impl FnOnce(&mut Extent)) {
        let mut known = self.lock();
        let Some(extent) = known.extents.get_mut(&generation) else { return };
        change(extent);
        let partition = extent.partition;
        self.tell(&mut known, partition);
    }
}
