//! Who this agent is: the id of the config, or for `auto` one that stays the same over restarts and lost directories and
//! differs from node to node. It never comes from the data directory, and knows nothing of what it is used for.

use std::path::PathBuf;

use thiserror::Error;

use crate::config::references::References;

/// Files that hold the id of a machine, in the order in which they are asked.
pub const MACHINE_ID_FILES: [&str; 2] = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
/// What stands for an id that the machine gives.
pub const AUTO: &str = "auto";
/// The variable that a Kubernetes manifest sets to the node's name.
const NODE_NAME: &str = "SAWLOG_NODE_NAME";
/// The variable that every container in Kubernetes has.
const IN_KUBERNETES: &str = "KUBERNETES_SERVICE_HOST";

/// Why there is no id. The part after the semicolon says how to mend it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum AgentIdError {
    /// No file with the machine's id.
    #[error("`agent.id: auto` needs the machine's id, and none of {} can be read; mount the node's /etc/machine-id read-only, or write `agent: {{ id: NAME }}` with a name that no other node has", MACHINE_ID_FILES.join(", "))]
    NoMachineId,
    /// In Kubernetes without the node's name.
    #[error(
        "`agent.id: auto` in Kubernetes needs the node's name; set the variable {NODE_NAME} from spec.nodeName, or write `agent: {{ id: NAME }}`"
    )]
    NoNodeName,
}

/// The id for what the config says. Equal inputs give equal ids, for ever: records are named by it.
pub fn resolve(written: &str, from: &dyn References) -> Result<String, AgentIdError> {
    if written != AUTO {
        return Ok(written.to_owned());
    }
    let machine = MACHINE_ID_FILES
        .iter()
        .find_map(|path| from.file(&PathBuf::from(path)).ok().filter(|id| !id.trim().is_empty()));
    let machine = machine.ok_or(AgentIdError::NoMachineId)?;
    let node = match (from.env(NODE_NAME), from.env(IN_KUBERNETES)) {
        (Some(node), _) if !node.is_empty() => Some(node),
        (_, Some(_)) => return Err(AgentIdError::NoNodeName),
        _ => None,
    };
    // The machine's id itself is confidential by its own manual, so only a hash of it leaves the node.
    let hash = match &node {
        Some(node) => sawlog_record::id::hash("sawlog.agent.kubernetes", &[node.as_bytes(), machine.trim().as_bytes()]),
        None => sawlog_record::id::hash("sawlog.agent.host", &[machine.trim().as_bytes()]),
    };
    Ok(hash[..8].iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    struct Node {
        machine: Option<&'static str>,
        name: Option<&'static str>,
        kubernetes: bool,
    }

    impl References for Node {
        fn env(&self, name: &str) -> Option<String> {
            match name {
                NODE_NAME => self.name.map(str::to_owned),
                IN_KUBERNETES => self.kubernetes.then(|| "10.0.0.1".to_owned()),
                _ => None,
            }
        }
        fn file(&self, path: &Path) -> Result<String, String> {
            let id = self.machine.filter(|_| path == Path::new("/etc/machine-id"));
            id.map(str::to_owned).ok_or_else(|| "no such file".to_owned())
        }
    }

    #[test]
    fn auto_is_the_same_after_a_restart_and_another_on_another_node() {
        let host = |machine| resolve("auto", &Node { machine: Some(machine), name: None, kubernetes: false });
        let pod = |name| resolve("auto", &Node { machine: Some("m1"), name: Some(name), kubernetes: true });
        assert_eq!(host("m1"), host("m1\n"));
        let ids = [host("m1"), host("m2"), pod("n1"), pod("n2")];
        for (i, id) in ids.iter().enumerate() {
            assert!(id.as_ref().is_ok_and(|id| id.len() == 16), "{id:?}");
            assert!(!ids[..i].contains(id), "{ids:?}");
        }
    }

    #[test]
    fn an_id_is_never_made_of_half_of_what_it_needs() {
        let none = Node { machine: None, name: Some("n1"), kubernetes: true };
        assert_eq!(resolve("auto", &none), Err(AgentIdError::NoMachineId));
        let unnamed = Node { machine: Some("m1"), name: None, kubernetes: true };
        assert_eq!(resolve("auto", &unnamed), Err(AgentIdError::NoNodeName));
        assert_eq!(resolve("n7", &none), Ok("n7".to_owned()));
    }
}
