//! The contract of the ports that sinks implement, one suite a port, run over every implementation; and what each of them says
//! to bad input. Suites that need a service print NOT RUN where its address is not given.
#![allow(clippy::unwrap_used)]

mod append;
mod claims;
mod console;
mod fake_s3;
mod lakes;
mod letters;
mod objects;
mod refusals;
mod renames;
mod retire;
mod rows;
mod safe_mode;
mod staging;
mod tiny_disk;
