//! Stateful components over a change of the configuration. Their numbers say where they stand in the chain of their source, and change
//! when something is put in front of them; what a component is called says which of another configuration it is.

use super::state::JournalState;
use crate::plan::ComponentId;
use crate::{EpochId, SourceId, mutation};
use std::collections::BTreeMap;

/// What stateful components are called, by source and by their numbers there.
pub type Names = BTreeMap<SourceId, BTreeMap<ComponentId, String>>;

/// The stateful components of one source under one configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Components {
    /// Digests by number.
    pub(crate) digests: BTreeMap<ComponentId, [u8; 32]>,
    /// Names by number; none in a journal of an older version.
    pub(crate) names: BTreeMap<ComponentId, String>,
}

/// What a component of one configuration is in another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Heir {
    /// The same, under this number.
    Same(ComponentId),
    /// Another version of it, under this number.
    Changed(ComponentId),
    /// Nothing.
    Gone,
}

impl Components {
    /// What `component` is in the configuration that has the components `after`.
    pub(crate) fn heir(&self, component: ComponentId, after: &Self) -> Heir {
        let are_nameless = self.names.is_empty() || after.names.is_empty() || mutation::on("heir_by_number");
        let number = match are_nameless {
            true => Some(component),
            false => {
                let name = self.names.get(&component);
                after.names.iter().find(|(_, other)| Some(*other) == name).map(|(number, _)| *number)
            }
        };
        match number.and_then(|number| Some((number, after.digests.get(&number)?))) {
            None => Heir::Gone,
            Some((number, digest)) if self.digests.get(&component) == Some(digest) => Heir::Same(number),
            Some((number, _)) => Heir::Changed(number),
        }
    }
}

impl JournalState {
    /// The stateful components of `source` under a configuration.
    pub(crate) fn components(&self, epoch: EpochId, source: &SourceId) -> Components {
        Components { digests: self.stateful_of(epoch, source), names: self.names_of(epoch, source) }
    }

    /// What the stateful components of `source` are called under a configuration.
    pub(crate) fn names_of(&self, epoch: EpochId, source: &SourceId) -> BTreeMap<ComponentId, String> {
        self.names.get(&epoch).and_then(|names| names.get(source)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(of: &[(ComponentId, &str, u8)]) -> Components {
        let digests = of.iter().map(|(number, _, digest)| (*number, [*digest; 32])).collect();
        let names = of.iter().filter(|(_, name, _)| !name.is_empty());
        Components { digests, names: names.map(|(number, name, _)| (*number, (*name).to_owned())).collect() }
    }

    #[test]
    fn a_component_is_found_again_by_its_name_whatever_its_number() {
        let before = components(&[(1, "dedupe", 7), (2, "count", 8), (3, "join", 9)]);
        let after = components(&[(1, "other", 7), (3, "dedupe", 7), (4, "count", 5)]);
        assert_eq!(before.heir(1, &after), Heir::Same(3));
        assert_eq!(before.heir(2, &after), Heir::Changed(4));
        assert_eq!(before.heir(3, &after), Heir::Gone, "its number is another's now");
        assert_eq!(before.heir(1, &components(&[])), Heir::Gone);
    }

    #[test]
    fn without_names_which_an_older_version_did_not_write_the_number_tells() {
        let (before, after) = (components(&[(1, "", 7), (2, "", 8)]), components(&[(1, "dedupe", 7), (2, "count", 9)]));
        assert_eq!(before.heir(1, &after), Heir::Same(1));
        assert_eq!(before.heir(2, &after), Heir::Changed(2));
        assert_eq!(before.heir(3, &after), Heir::Gone);
    }
}
