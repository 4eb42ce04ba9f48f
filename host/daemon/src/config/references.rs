//! `${env:NAME}`, `${file:/path}` and `${secret:name}` in a tree become what they refer to. It knows where values come
//! from, never what they are for, and never shows one.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use sawlog_settings::decode::Complaint;
use sawlog_settings::node::{Node, Place, Text, Value};
use thiserror::Error;

/// Largest file that a reference may name.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Where referenced values come from.
pub trait References {
    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;
    /// The content of a file, without the line end that closes it.
    fn file(&self, path: &Path) -> Result<String, String>;
    /// The bytes of a plugin's component; `None` where nobody wants to look at them yet.
    fn component(&self, _: &Path) -> Option<std::io::Result<Vec<u8>>> {
        None
    }
}

/// The process's environment and the machine's files.
#[derive(Debug)]
pub struct Machine;

impl References for Machine {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
        if length > FILE_BYTES_MAX {
            return Err(format!("it has {length} bytes, more than {FILE_BYTES_MAX}"));
        }
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
    }
}

/// The same, and the components that plugins name: for those who ask whether what was rolled out fits together.
#[derive(Debug)]
pub struct MachineWithComponents;

impl References for MachineWithComponents {
    fn env(&self, name: &str) -> Option<String> {
        Machine.env(name)
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        Machine.file(path)
    }

    fn component(&self, path: &Path) -> Option<std::io::Result<Vec<u8>>> {
        Some(std::fs::read(path))
    }
}

/// What references stood for, by how they are written: `env:NAME`, `file:/path`.
pub type Kept = BTreeMap<String, String>;

/// Values of then first: a configuration that was kept means what it meant, whatever the environment is by now. Whatever is asked for is
/// looked up once: what is kept is what was used, also where a file changes meanwhile.
#[derive(Debug)]
pub struct AsKept<'a, R: ?Sized> {
    known: RefCell<Kept>,
    otherwise: &'a R,
}

impl<'a, R: References + ?Sized> AsKept<'a, R> {
    /// Those that were kept, and where all others come from.
    pub fn new(kept: Kept, otherwise: &'a R) -> Self {
        Self { known: RefCell::new(kept), otherwise }
    }

    fn once<E>(&self, reference: String, look_up: impl FnOnce() -> Result<String, E>) -> Result<String, E> {
        if let Some(value) = self.known.borrow().get(&reference) {
            return Ok(value.clone());
        }
        let value = look_up()?;
        self.known.borrow_mut().insert(reference, value.clone());
        Ok(value)
    }
}

impl<R: References + ?Sized> References for AsKept<'_, R> {
    fn env(&self, name: &str) -> Option<String> {
        self.once(format!("env:{name}"), || self.otherwise.env(name).ok_or(())).ok()
    }

    fn file(&self, path: &Path) -> Result<String, String> {
        self.once(format!("file:{}", path.display()), || self.otherwise.file(path))
    }

    fn component(&self, path: &Path) -> Option<std::io::Result<Vec<u8>>> {
        self.otherwise.component(path)
    }
}

/// Why a reference stays unresolved. The part after the semicolon says how to mend it.
#[derive(Debug, Error)]
enum ReferenceError {
    #[error("the reference `${{{0}` is not closed; end it with a brace, or write $${{ for the characters themselves")]
    Open(String),
    #[error(
        "`${{{0}}}` is no reference; write ${{env:NAME}}, ${{file:/path}} or ${{secret:NAME}}, or $${{ for the characters themselves"
    )]
    Unknown(String),
    #[error("the variable `{0}` is not set in the environment; set it, or write the value")]
    NoVariable(String),
    #[error("the file `{0}` can't be read: {1}; create it, or let this user read it")]
    NoFile(String, String),
    #[error("`{0}` is no name of a secret; use letters, digits, `.`, `_` and `-`")]
    SecretName(String),
    #[error("the secret `{0}` can't be read: {1}; put its value into a file of that name, or set `secrets.dir`")]
    NoSecret(String, String),
}

/// Resolves every text of the tree in place. What can't be resolved is complained about and stays as written.
pub fn resolve(node: &mut Node, secrets: &Path, from: &dyn References, complaints: &mut Vec<Complaint>) {
    let place = node.place;
    match &mut node.value {
        Value::Text(text) => resolve_text(text, place, secrets, from, complaints),
        Value::List(items) => items.iter_mut().for_each(|item| resolve(item, secrets, from, complaints)),
        Value::Map(entries) => {
            entries.iter_mut().for_each(|entry| resolve(&mut entry.value, secrets, from, complaints))
        }
        _ => {}
    }
}

fn resolve_text(text: &mut Text, place: Place, secrets: &Path, from: &dyn References, complaints: &mut Vec<Complaint>) {
    if !text.written.contains("${") {
        return;
    }
    match expand(&text.written, secrets, from) {
        Ok((resolved, secret)) => (text.resolved, text.secret) = (resolved, secret),
        Err(error) => {
            text.unresolved = true;
            complaints.push(Complaint::error(place, error.to_string()));
        }
    }
}

/// The text with its references replaced, and whether one of them was a secret. `$${` stands for `${`.
fn expand(written: &str, secrets: &Path, from: &dyn References) -> Result<(String, bool), ReferenceError> {
    let (mut resolved, mut secret, mut rest) = (String::new(), false, written);
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            resolved.push_str(before);
            resolved.push_str("${");
            rest = after;
            continue;
        }
        resolved.push_str(before);
        let Some((name, after)) = after.split_once('}') else { return Err(ReferenceError::Open(after.to_owned())) };
        resolved.push_str(&look_up(name, secrets, from)?);
        secret |= name.starts_with("secret:");
        rest = after;
    }
    resolved.push_str(rest);
    Ok((resolved, secret))
}

/// The references of a text.
fn named(written: &str) -> impl Iterator<Item = &str> {
    let mut parts = written.split("${");
    let mut before = parts.next().unwrap_or_default();
    parts.filter_map(move |part| {
        let is_escaped = std::mem::replace(&mut before, part).ends_with('$');
        part.split_once('}').filter(|_| !is_escaped).map(|(name, _)| name)
    })
}

/// What the references below `node` stand for, as it is kept with a configuration. What one of the `secrets`, texts as they are written,
/// refers to is left out, wherever else it stands.
pub fn kept(node: &Node, secrets: &BTreeSet<String>, secrets_dir: &Path, from: &dyn References) -> Kept {
    let secret: BTreeSet<&str> = secrets.iter().flat_map(|written| named(written)).collect();
    let mut names = BTreeSet::new();
    name_all(node, &mut names);
    let open = names.into_iter().filter(|name| !name.starts_with("secret:") && !secret.contains(name));
    open.filter_map(|name| Some((name.to_owned(), look_up(name, secrets_dir, from).ok()?))).collect()
}

fn name_all<'a>(node: &'a Node, names: &mut BTreeSet<&'a str>) {
    match &node.value {
        Value::Text(text) => names.extend(named(&text.written)),
        Value::List(items) => items.iter().for_each(|item| name_all(item, names)),
        Value::Map(entries) => entries.iter().for_each(|entry| name_all(&entry.value, names)),
        _ => {}
    }
}

fn look_up(reference: &str, secrets: &Path, from: &dyn References) -> Result<String, ReferenceError> {
    match reference.split_once(':') {
        Some(("env", name)) if !name.is_empty() => {
            from.env(name).ok_or_else(|| ReferenceError::NoVariable(name.to_owned()))
        }
        Some(("file", path)) if !path.is_empty() => {
            from.file(Path::new(path)).map_err(|error| ReferenceError::NoFile(path.to_owned(), error))
        }
        Some(("secret", name)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                return Err(ReferenceError::SecretName(name.to_owned()));
            }
            let path: PathBuf = secrets.join(name);
            from.file(&path)
                .map_err(|error| ReferenceError::NoSecret(name.to_owned(), format!("{}: {error}", path.display())))
        }
        _ => Err(ReferenceError::Unknown(reference.to_owned())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    struct Fake;
    impl References for Fake {
        fn env(&self, name: &str) -> Option<String> {
            (name == "NODE").then(|| "n1".to_owned())
        }
        fn file(&self, path: &Path) -> Result<String, String> {
            match path.to_str() {
                Some("/s/es") => Ok("hunter2".to_owned()),
                _ => Err("no such file".to_owned()),
            }
        }
    }

    fn expanded(text: &str) -> Result<(String, bool), String> {
        expand(text, Path::new("/s"), &Fake).map_err(|error| error.to_string())
    }

    #[test]
    fn references_become_their_values() {
        assert_eq!(expanded("agent-${env:NODE}-x"), Ok(("agent-n1-x".into(), false)));
        assert_eq!(expanded("Bearer ${secret:es}"), Ok(("Bearer hunter2".into(), true)));
        assert_eq!(expanded("${file:/s/es}"), Ok(("hunter2".into(), false)));
        assert_eq!(expanded("costs $${5}"), Ok(("costs ${5}".into(), false)));
    }

    #[test]
    fn the_references_of_a_text_are_named_but_those_that_are_escaped() {
        let all: Vec<&str> = named("a ${env:A}/$${env:B}${file:/c}x${env:D").collect();
        assert_eq!(all, ["env:A", "file:/c"]);
    }

    #[test]
    fn what_was_kept_comes_before_what_is_there_now() {
        let kept =
            Kept::from([("env:NODE".to_owned(), "then".to_owned()), ("file:/s/es".to_owned(), "old".to_owned())]);
        let from = AsKept::new(kept, &Fake);
        let text = "${env:NODE} ${file:/s/es}";
        assert_eq!(expand(text, Path::new("/s"), &from).unwrap().0, "then old");
        let from = AsKept::new(Kept::new(), &Fake);
        assert_eq!(expand(text, Path::new("/s"), &from).unwrap().0, "n1 hunter2");
    }

    /// A file that says something else whenever it is read.
    struct Changing(std::cell::Cell<u32>);

    impl References for Changing {
        fn env(&self, _: &str) -> Option<String> {
            None
        }

        fn file(&self, _: &Path) -> Result<String, String> {
            self.0.set(self.0.get() + 1);
            Ok(self.0.get().to_string())
        }
    }

    #[test]
    fn what_is_kept_is_what_was_used_also_where_a_file_changes_meanwhile() {
        let file = Changing(std::cell::Cell::default());
        let from = AsKept::new(Kept::new(), &file);
        let used = expand("${file:/node}", Path::new("/s"), &from).unwrap().0;
        let node = crate::config::yaml::read(0, "app: \"${file:/node}\"\n").unwrap();
        let kept = kept(&node, &BTreeSet::new(), Path::new("/s"), &from);
        assert_eq!(kept, Kept::from([("file:/node".to_owned(), used)]));
    }

    #[test]
    fn a_wrong_reference_says_how_to_mend_it() {
        assert!(expanded("${NODE}").unwrap_err().starts_with("`${NODE}` is no reference; write ${env:NAME}"));
        assert!(expanded("${env:NODE").unwrap_err().contains("is not closed"));
        assert!(expanded("${env:OTHER}").unwrap_err().contains("`OTHER` is not set"));
        assert!(expanded("${secret:../etc/passwd}").unwrap_err().contains("no name of a secret"));
        assert!(expanded("${secret:kafka}").unwrap_err().contains("/s/kafka: no such file"));
    }
}
