//! What the test programs of the services ring need of the services and of the machine, and so which may run at a time.
//!
//! The services are shared. Whoever kills one, or takes its ability to answer, must run beside nobody who uses it; whoever measures
//! time or memory must run beside nobody at all. A program that is not in the table runs alone: that is slow, and safe.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};

use crate::services::Service::{
    self, Elasticsearch, ElasticsearchSecure, Hdfs, Kafka, Minio, Opensearch, Registry, S3,
};
use crate::workspace;

/// What a test program needs while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Services that must answer.
    uses: &'static [Service],
    /// Services that it kills or disturbs.
    strikes: &'static [Service],
    /// Whether it bears no other program beside it.
    alone: bool,
    /// How many of its tests run at a time: one where one of them may be the end of what another uses.
    pub threads: &'static str,
}

impl Needs {
    /// What nobody has thought about.
    const ALONE: Self = Self { uses: &[], strikes: &[], alone: true, threads: "1" };

    /// Whether the two may run at a time.
    pub fn bear(&self, other: &Self) -> bool {
        let spares = |one: &Self, other: &Self| {
            one.strikes.iter().all(|service| !other.uses.contains(service) && !other.strikes.contains(service))
        };
        !self.alone && !other.alone && spares(self, other) && spares(other, self)
    }
}

/// No service.
const fn local(name: &'static str) -> (&'static str, Needs) {
    (name, Needs { uses: &[], strikes: &[], alone: false, threads: "3" })
}

/// These services, which it leaves as they are: its tests bear each other too.
const fn uses(name: &'static str, uses: &'static [Service]) -> (&'static str, Needs) {
    (name, Needs { uses, strikes: &[], alone: false, threads: "3" })
}

/// The first services as others left them, and the last for itself.
const fn strikes(name: &'static str, uses: &'static [Service], strikes: &'static [Service]) -> (&'static str, Needs) {
    (name, Needs { uses, strikes, alone: false, threads: "1" })
}

/// Nothing beside it.
const fn alone(name: &'static str) -> (&'static str, Needs) {
    (name, Needs::ALONE)
}

/// Every program, `PACKAGE/TEST`, in the order in which they are begun where their needs allow it: long ones first, those that
/// strike at services beside those that use none, those that must be alone last.
const TABLE: [(&str, Needs); 57] = [
    local("e2e/authors"),
    strikes("e2e/kafka", &[], &[Kafka, S3]),
    strikes("e2e/cells", &[], &[Kafka, Elasticsearch, Opensearch, Hdfs, S3, Minio]),
    uses("e2e/faults_kafka", &[Kafka]),
    // The namenode is told to take no writes.
    strikes("e2e/faults_objects", &[S3], &[Hdfs]),
    uses("e2e/kafka_tls", &[Kafka]),
    uses("e2e/switch", &[Kafka, Elasticsearch, ElasticsearchSecure, Hdfs, S3]),
    uses("sinks/kafka", &[Kafka]),
    uses("sources/kafka", &[Kafka]),
    uses("sinks/contract", &[Hdfs, S3, Minio]),
    uses("e2e/lost_directory", &[Kafka, Elasticsearch, Hdfs, S3]),
    uses("e2e/reload_kafka", &[Kafka]),
    uses("e2e/hidden", &[Kafka]),
    local("e2e/directory"),
    local("e2e/windows"),
    uses("sinks/elasticsearch", &[Elasticsearch, ElasticsearchSecure, Opensearch]),
    uses("e2e/faults_elasticsearch", &[Elasticsearch, ElasticsearchSecure]),
    uses("e2e/retire", &[Kafka]),
    uses("e2e/kafka_topics", &[Kafka]),
    uses("e2e/kafka_rights", &[Kafka]),
    uses("e2e/backup", &[Hdfs, S3]),
    local("e2e/swap"),
    local("e2e/shadow"),
    local("e2e/canary"),
    local("e2e/apart"),
    uses("e2e/wires", &[Kafka]),
    local("e2e/files"),
    local("e2e/rotations"),
    local("e2e/rotation_styles"),
    local("e2e/logrotate"),
    local("e2e/plugin_letters"),
    local("e2e/table"),
    local("e2e/oldest"),
    uses("e2e/credentials", &[S3]),
    uses("e2e/examples", &[Kafka, S3]),
    local("e2e/plugins"),
    local("e2e/reload"),
    local("e2e/renumbered"),
    local("e2e/vanished"),
    local("e2e/reload_sources"),
    local("e2e/routes"),
    local("e2e/demo"),
    uses("e2e/complete", &[Hdfs, S3]),
    local("e2e/disks"),
    local("e2e/http"),
    local("e2e/attacks"),
    local("e2e/equal_first_lines"),
    uses("e2e/templates", &[Elasticsearch]),
    uses("kafka/topics", &[Kafka]),
    uses("e2e/registry", &[Registry]),
    local("e2e/signed"),
    local("e2e/plugin_files"),
    local("daemon/deploy"),
    // Two agents in a group whose session lasts six seconds.
    alone("e2e/moving"),
    // How long a record and a probe wait for each other.
    alone("e2e/hunts"),
    alone("e2e/memory"),
    alone("e2e/quiet"),
];

/// What the program `PACKAGE/TEST` needs, and its place in the order.
pub fn of(name: &str) -> (usize, Needs) {
    let place = TABLE.iter().position(|(known, _)| *known == name);
    place.and_then(|place| TABLE.get(place).map(|(_, needs)| (place, *needs))).unwrap_or((TABLE.len(), Needs::ALONE))
}

/// The programs of the ring: everything below these folders, and two whose packages have others that need no service.
pub fn programs() -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::from(["sources/kafka", "daemon/deploy"].map(String::from));
    for (package, folder) in [("e2e", "tests/e2e/tests"), ("sinks", "host/sinks/tests"), ("kafka", "host/kafka/tests")]
    {
        names.extend(workspace::tests_below(folder)?.iter().map(|test| format!("{package}/{test}")));
    }
    check(&names)?;
    Ok(names)
}

/// A name that no program has would leave the one that was meant alone, and nobody would see why it is slow.
fn check(programs: &BTreeSet<String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (name, _) in &TABLE {
        ensure!(programs.contains(*name), "test/needs.rs names {name}, and there is no such program");
        ensure!(seen.insert(name), "test/needs.rs names {name} twice");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_name_is_that_of_a_program_and_stands_there_once() {
        let names = programs().unwrap();
        assert!(TABLE.iter().all(|(name, _)| names.contains(*name)));
        let mut fewer = names;
        fewer.remove("e2e/cells");
        assert!(check(&fewer).unwrap_err().to_string().contains("e2e/cells"));
    }

    #[test]
    fn nothing_runs_beside_what_nobody_has_listed() {
        let (place, unlisted) = of("e2e/a-test-of-tomorrow");
        assert_eq!(place, TABLE.len(), "it is begun last");
        assert!(TABLE.iter().all(|(_, needs)| !unlisted.bear(needs) && !needs.bear(&unlisted)));
    }

    #[test]
    fn who_strikes_at_a_service_runs_beside_nobody_who_uses_it() {
        let needs = |name| of(name).1;
        for (one, other, bear) in [
            ("e2e/faults_kafka", "e2e/kafka_tls", true),
            ("e2e/kafka", "e2e/kafka_tls", false),
            ("e2e/cells", "e2e/kafka", false),
            ("e2e/faults_objects", "e2e/faults_kafka", true),
            ("e2e/faults_objects", "e2e/backup", false),
            ("e2e/cells", "e2e/authors", true),
            ("e2e/authors", "e2e/moving", false),
        ] {
            assert_eq!(needs(one).bear(&needs(other)), bear, "{one}, {other}");
            assert_eq!(needs(other).bear(&needs(one)), bear, "{other}, {one}");
        }
    }
}
