//! Where a sink delivers, and what it takes to deliver elsewhere from now on (delivery.md §4.7): what is under way to the place
//! before is finished there, by the port that the configuration of that place gives; then the new place learns the cursors; then
//! the journal says SWITCH, and only then anything else is written at the new place.
//!
//! ```text
//!   finish the old place ─► cursors at the new place ─► SWITCH in the journal ─► deliver
//!        ▲ a crash anywhere before SWITCH begins again here
//! ```

use super::{Sink, Stop, append, documents, objects, retrying, transaction};
use crate::claims::{Marks, raise};
use crate::journal::{Destination, Mark, SinkFacts};
use crate::ports::SinkPort;
use sawlog_record::id::Generation;

/// Journals where the sink delivers, and moves it where the configuration now says another place.
pub(super) async fn arrive(sink: &Sink) -> Result<(), Stop> {
    let place = retrying!(sink, sink.port.place());
    match sink.destination() {
        Some(at) if at.place != place => leave(sink, at, place).await,
        // It drains under a configuration that no longer names it.
        Some(_) if sink.facts.config.is_empty() => Ok(()),
        Some(_) => note(sink, place, &Marks::new(), SinkFacts::default()).await,
        None => begin(sink, place).await,
    }
}

/// The first place of all. Where something of this sink lies there already, of a time when it was in the configuration before, it
/// is a switch from nowhere: the sink goes on behind both what it claimed then and where it begins now.
async fn begin(sink: &Sink, place: String) -> Result<(), Stop> {
    let starts = starts(sink);
    let is_added = !starts.is_empty() && sink.journalled().is_empty();
    let found = match &sink.port {
        SinkPort::Objects(port) if is_added => objects::begin_again(sink, port.as_ref(), &starts).await?,
        SinkPort::Transaction(port) if is_added => transaction::begin_again(sink, port.as_ref(), &starts).await,
        _ => None,
    };
    let Some((marks, facts)) = found else { return note(sink, place, &Marks::new(), SinkFacts::default()).await };
    sink.adopt(&marks).await?;
    note(sink, place, &marks, facts).await
}

/// Where a sink that was added beside others begins.
fn starts(sink: &Sink) -> Marks {
    let state = sink.journal.state();
    let registration = state.epoch().and_then(|epoch| epoch.sinks.get(&sink.id));
    let starts = registration.into_iter().flat_map(|registration| &registration.starts);
    starts.map(|(generation, cursor)| (*generation, Mark::at(*cursor))).collect()
}

async fn leave(sink: &Sink, at: Destination, place: String) -> Result<(), Stop> {
    sink.note(|status| status.switching = Some((at.place.clone(), place.clone())));
    let old = former(sink, &at).await?;
    let (marks, facts) = match (&old, &sink.port) {
        (SinkPort::Objects(old), SinkPort::Objects(new)) => objects::switch(sink, old.as_ref(), new.as_ref()).await?,
        (SinkPort::Transaction(old), SinkPort::Transaction(new)) => {
            let marks = transaction::finish(sink, old.as_ref()).await?;
            transaction::carry(sink, new.as_ref(), marks).await
        }
        (SinkPort::Documents(old), SinkPort::Documents(_)) => {
            (documents::finish(sink, old.as_ref()).await?, SinkFacts::default())
        }
        (SinkPort::Append(old), SinkPort::Append(new)) => append::switch(sink, old.as_ref(), new.as_ref()).await?,
        _ => {
            return Err(Stop(format!(
                "sink {} delivered to {} and is to deliver to {place}, which is another kind of sink: change it back, or give \
                 the new one another name, and say `remove: {{ {}: drain }}`",
                sink.id, at.place, sink.id
            )));
        }
    };
    sink.intake.close();
    note(sink, place, &marks, facts).await?;
    sink.note(|status| status.switching = None);
    Ok(())
}

/// The port of the place before, made of the configuration that was kept for it.
async fn former(sink: &Sink, at: &Destination) -> Result<SinkPort, Stop> {
    let refuse = |reason: String| {
        Stop(format!(
            "sink {} delivered to {} and is to deliver elsewhere, but what is under way to the place before can't be finished: \
             {reason}; change the place back, or give the sink up with `remove: {{ {}: forget }}` and add one of another name",
            sink.id, at.place, sink.id
        ))
    };
    let config = sink.journal.store().get_blob(at.config).await?;
    let config = config.ok_or_else(|| refuse("its configuration was not kept".to_owned()))?;
    let port = sink.former.open(&sink.id, &config).map_err(&refuse)?;
    let leads_to = retrying!(sink, port.place());
    match leads_to == at.place {
        true => Ok(port),
        false => {
            Err(refuse(format!("its configuration leads to {leads_to} now (did a variable change that it names?)")))
        }
    }
}

/// SWITCH: from here on the sink delivers at `place`, with these cursors. Nothing where the journal says so already.
async fn note(sink: &Sink, place: String, marks: &Marks, facts: SinkFacts) -> Result<(), Stop> {
    let config = sink.facts.config.as_ref().clone();
    let marks: Vec<_> = marks.iter().map(|(generation, mark)| (*generation, mark.clone())).collect();
    let known = sink.destination();
    if known.as_ref().is_some_and(|at| at.place == place && at.config == digest(&config)) {
        return Ok(());
    }
    let record = |config| {
        let facts = SinkFacts { destination: Some(Destination { place, config }), ..facts };
        vec![sink.cursor_record(&marks, Some(facts))]
    };
    Ok(sink.journal.commit_naming(config, record).await?)
}

/// The name under which a journal stores a blob.
fn digest(blob: &[u8]) -> [u8; 32] {
    blake3::hash(blob).into()
}

impl Sink {
    /// Where it delivers by the journal.
    fn destination(&self) -> Option<Destination> {
        self.journal.state().facts.get(&self.id)?.destination.clone()
    }

    /// Whether the journal knows where it delivers.
    pub(super) fn has_arrived(&self) -> bool {
        self.destination().is_some()
    }

    /// Cursors that another log of this sink holds never lower those that it has.
    pub(super) fn raise_known(&self, marks: &mut Marks, others: impl IntoIterator<Item = (Generation, Mark)>) {
        let others: Vec<_> = {
            let state = self.journal.state();
            others.into_iter().filter(|(generation, _)| !state.dropped.contains(generation)).collect()
        };
        raise(marks, others);
    }
}
