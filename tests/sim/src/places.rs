//! The two places that each simulated sink may deliver to, and the port of a sink at each.

use crate::ports::documents::SimDocuments;
use crate::ports::sinks::{SimAppend, SimLog, SimObjects, store};
use crate::world::{Producer, World};
use sawlog_core::SinkId;
use sawlog_core::ports::{FormerSinks, SinkPort};
use std::sync::Arc;

/// The port of a sink at one of its places.
pub fn port(world: &World, sink: &str, place: usize) -> SinkPort {
    let world = world.clone();
    match sink {
        "log" => {
            let writer = format!("directory {}", world.get().directory);
            let producer = Producer { id: store("log", place), cursors: store("log", place), writer };
            SinkPort::Transaction(Arc::new(SimLog::new(world, producer)))
        }
        "documents" => SinkPort::Documents(Arc::new(SimDocuments::new(world, place))),
        "objects" => SinkPort::Objects(Arc::new(SimObjects { world, sink: "objects", log: store("objects", place) })),
        "second" => SinkPort::Objects(Arc::new(SimObjects { world, sink: "second", log: store("second", place) })),
        "file" => SinkPort::Append(Arc::new(SimAppend { world, sink: "file", place })),
        _ => SinkPort::Append(Arc::new(SimAppend { world, sink: "dead", place })),
    }
}

/// The only thing that a configuration says of a sink here is its place.
pub struct SimFormer(pub World);

impl FormerSinks for SimFormer {
    fn open(&self, sink: &SinkId, config: &[u8]) -> Result<SinkPort, String> {
        Ok(port(&self.0, sink.as_str(), usize::from(config[0])))
    }
}
