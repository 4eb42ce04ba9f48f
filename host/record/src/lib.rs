//! What a record is, and everything that can be done to one without I/O: identity and positions, batches over one arena,
//! decoders, field paths, templates and expressions. This room knows nothing of sources, sinks, plugins, time or threads.
#![forbid(unsafe_code)]

pub mod attached;
pub mod batch;
pub mod decode;
pub mod expr;
pub mod id;
pub mod json;
pub mod path;
pub mod template;
pub mod time;
pub mod value;
