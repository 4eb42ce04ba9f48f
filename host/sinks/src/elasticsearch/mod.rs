//! The `elasticsearch` sink: rows as documents of Elasticsearch or OpenSearch indexes. It knows no other sink.

pub mod config;
