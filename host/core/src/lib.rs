//! Sawlog's core: every decision about delivery, as a specification that runs. It has no I/O, no clock, no threads and no
//! runtime; all it knows of the world comes through [`ports`]. The main path is one file, [`lane`].
#![forbid(unsafe_code)]

pub mod budget;
pub mod claims;
pub mod engine;
#[cfg(test)]
mod fakes;
pub mod identity;
pub mod input;
pub mod journal;
pub mod lane;
pub mod ledger;
pub mod memory;
pub mod moving;
pub mod mutation;
pub mod operator;
pub mod pace;
pub mod partition;
pub mod plan;
pub mod ports;
pub mod reload;
pub mod retire;
pub mod shared;
pub mod sink;
pub mod status;
pub mod stream;
mod tasks;
pub mod watch;

use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// A configuration with plugin digests: the hash of everything that output depends on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EpochId(pub [u8; 16]);

impl EpochId {
    /// The id of an epoch with this content.
    pub fn derive(parts: &[&[u8]]) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&sawlog_record::id::hash("sawlog.epoch", parts)[..16]);
        Self(id)
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {:02x}{:02x}{:02x}{:02x}", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The key of the component in the configuration.
            pub fn new(name: &str) -> Self {
                Self(name.into())
            }

            /// The key of the component in the configuration.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name! {
    /// A source, by its key in the configuration.
    SourceId
}
name! {
    /// A sink, by its key in the configuration; cursors belong to it.
    SinkId
}
