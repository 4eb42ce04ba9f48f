//! What several of our plugins read. Knows texts; knows no plugin.

pub mod csv;
pub mod time;
