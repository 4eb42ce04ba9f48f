//! The `hdfs` sink: rows as files of HDFS. It knows no other sink.

pub mod config;
