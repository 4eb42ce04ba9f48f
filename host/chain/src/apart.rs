//! Plugins in processes of their own: `isolation: process`, for code that its operator does not trust as far as the sandbox of the
//! WASM engine. An instance lives in such a process or in the agent's, its calls and what they give are the same.
//!
//! ```text
//!   agent                                                        process, for one plugin
//!   Instance ─► Seat ─► Process ══ one socket pair ══► serve ─► Here ─► the component
//!                         one call at a time                 confined: no file, no socket, no program, no new code
//! ```
//!
//! The process is this program, started anew with nothing: no environment, no file but its end of the socket pair. It gets the
//! compiled code and the plugin's own configuration, gives up everything that it could do beyond reading, writing and computing
//! (`confine`), and only then runs code of the plugin. What it answers is checked like any answer of a plugin, so whoever takes
//! it over has what a plugin has: the records that the plugin is shown, and what becomes of them.
//!
//! A plugin has a process for each call that is made at once, up to twice as many as there are processors. A process makes one call
//! at a time, so that where it ends there is no doubt about which call did it; the next call finds another process, in which the
//! instance is made again, and only a call that ends one process after the other has itself to blame (`Runner`).

mod child;
mod confine;
mod crew;
mod frame;
mod process;
mod spawn;
mod wire;

pub use child::{Attempts, serve, serve_trying};
pub use crew::ProcessFigures;
pub(crate) use crew::{Crew, Seat};
pub use process::{EndedBy, ProcessEnd};
pub use spawn::Program;
