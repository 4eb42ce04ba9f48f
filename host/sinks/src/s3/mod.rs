//! The `s3` sink: rows as objects of S3 and its clones. It knows no other sink.

pub mod config;
