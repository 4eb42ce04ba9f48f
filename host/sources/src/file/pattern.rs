//! Patterns of file names: which files are a source's, which are live and which rotated, and what belongs together.
//! It knows paths as text and never looks at a disk.

use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// A pattern that can't be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatternError {
    /// It has no fixed beginning.
    #[error("pattern `{0}` is not absolute; begin it with `/`")]
    Relative(String),
    /// Its wildcards can't be read.
    #[error("pattern `{pattern}` can't be read: {why}; quote special characters with a backslash")]
    Syntax {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        why: String,
    },
}

#[derive(Clone, Debug)]
enum Part {
    /// One name.
    Name(GlobMatcher),
    /// `**`: any number of folders.
    Folders,
}

/// An absolute pattern: a fixed folder and what may lie below it.
#[derive(Clone, Debug)]
pub struct Pattern {
    root: PathBuf,
    parts: Vec<Part>,
}

impl Pattern {
    /// Reads `text`.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(PatternError::Relative(text.to_owned()));
        }
        let names: Vec<&str> = text.split('/').filter(|name| !name.is_empty() && *name != ".").collect();
        let wild = |name: &&str| name.contains(['*', '?', '[', '{', '\\']);
        let fixed = names.iter().position(wild).unwrap_or(names.len()).min(names.len().saturating_sub(1));
        let mut root = PathBuf::from("/");
        root.extend(&names[..fixed]);
        let parts: Result<Vec<Part>, PatternError> = names[fixed..].iter().map(|name| part(text, name)).collect();
        Ok(Self { root, parts: parts? })
    }

    /// The folder that all matches lie in; nothing above it is ever looked at.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether `path` matches.
    pub fn matches(&self, path: &Path) -> bool {
        names_below(&self.root, path).is_some_and(|names| matches(&self.parts, &names))
    }

    /// Whether a match may lie somewhere below folder `path`.
    pub fn reaches_below(&self, path: &Path) -> bool {
        names_below(&self.root, path).is_some_and(|names| reaches(&self.parts, &names))
    }
}

fn part(pattern: &str, name: &str) -> Result<Part, PatternError> {
    if name == "**" {
        return Ok(Part::Folders);
    }
    let glob = GlobBuilder::new(name).literal_separator(true).backslash_escape(true).build();
    let why =
        |error: globset::Error| PatternError::Syntax { pattern: pattern.to_owned(), why: error.kind().to_string() };
    Ok(Part::Name(glob.map_err(why)?.compile_matcher()))
}

fn names_below<'a>(root: &Path, path: &'a Path) -> Option<Vec<&'a OsStr>> {
    let below = path.strip_prefix(root).ok()?;
    below.components().map(|c| if let Component::Normal(name) = c { Some(name) } else { None }).collect()
}

fn matches(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([], []) => true,
        ([Part::Folders, rest @ ..], names) => (0..=names.len()).any(|skip| matches(rest, &names[skip..])),
        ([Part::Name(glob), parts @ ..], [name, names @ ..]) => glob.is_match(name) && matches(parts, names),
        _ => false,
    }
}

fn reaches(parts: &[Part], names: &[&OsStr]) -> bool {
    match (parts, names) {
        ([Part::Folders, ..], _) => true,
        (parts, []) => !parts.is_empty(),
        ([Part::Name(glob), parts @ ..], [name, names @ ..]) => glob.is_match(name) && reaches(parts, names),
        _ => false,
    }
}

/// What a name means to a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// What the file's partition is called: the live name, or a container's log folder.
    pub partition: PathBuf,
    /// Whether it is a name that rotation gives.
    pub rotated: bool,
    /// Whether its content is packed by gzip.
    pub packed: bool,
}

/// The folder in which the kubelet keeps the logs of pods.
pub const PODS: &str = "/var/log/pods";

/// All patterns of a source.
#[derive(Clone, Debug)]
pub struct Names {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    rotated: Vec<Pattern>,
    pods: PathBuf,
}

impl Names {
    /// Reads the patterns. Without `rotated`, a live name followed by `.` or `-` and anything is a rotated one. `pods` is
    /// the folder in which every `<namespace>_<pod>_<uid>/<container>` is one partition ([`PODS`] but in tests).
    pub fn new(include: &[String], exclude: &[String], rotated: &[String], pods: &Path) -> Result<Self, PatternError> {
        let read = |texts: &[String]| texts.iter().map(|t| Pattern::new(t)).collect::<Result<Vec<_>, _>>();
        let by_habit = || include.iter().flat_map(|t| [format!("{t}.*"), format!("{t}-*")]).collect();
        let rotated = if rotated.is_empty() { by_habit() } else { rotated.to_vec() };
        Ok(Self { include: read(include)?, exclude: read(exclude)?, rotated: read(&rotated)?, pods: pods.to_owned() })
    }

    /// Folders that everything lies in.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.include.iter().chain(&self.rotated).map(Pattern::root)
    }

    /// Whether the source has anything to look for below folder `path`.
    pub fn reaches_below(&self, path: &Path) -> bool {
        self.include.iter().chain(&self.rotated).any(|p| p.reaches_below(path))
    }

    /// What `path` means; `None` where it is none of the source's names. Who leaves out a live name leaves out what it is
    /// rotated to.
    pub fn role(&self, path: &Path) -> Option<Role> {
        let of = |patterns: &[Pattern], path: &Path| patterns.iter().any(|p| p.matches(path));
        let is_excluded = |live: &Path| of(&self.exclude, path) || of(&self.exclude, live);
        let packed = path.extension().is_some_and(|e| e == "gz");
        if let Some(folder) = self.container(path) {
            // The kubelet packs into `.tmp` and renames then.
            let temporary = path.extension().is_some_and(|e| e == "tmp");
            let live = live_name_in_pod(path);
            let known = of(&self.include, path) || of(&self.include, &live);
            let rotated = path.extension().is_none_or(|e| e != "log");
            let role = Role { partition: folder, rotated, packed };
            return (known && !temporary && !is_excluded(&live)).then_some(role);
        }
        let rotated = of(&self.rotated, path);
        let known = rotated || of(&self.include, path);
        let partition = if rotated { self.live_name(path) } else { path.to_owned() };
        (known && !is_excluded(&partition)).then_some(Role { partition, rotated, packed })
    }

    /// The container's log folder that `path` lies in.
    pub fn container(&self, path: &Path) -> Option<PathBuf> {
        let below = path.strip_prefix(&self.pods).ok()?;
        (below.components().count() == 3).then(|| path.parent().map(Path::to_owned)).flatten()
    }

    /// The live name that a rotated one comes from: its longest beginning that is a live name; else, where the part that
    /// rotation adds stands before the ending (`app-2026.log`), the name without it; else itself.
    fn live_name(&self, path: &Path) -> PathBuf {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return path.to_owned();
        };
        let live = |name: &str| {
            let path = folder.join(name);
            self.include.iter().any(|p| p.matches(&path)).then_some(path)
        };
        let beginning = (1..name.len()).rev().filter(|end| name.is_char_boundary(*end)).find_map(|end| {
            let path = live(&name[..end])?;
            (!self.rotated.iter().any(|p| p.matches(&path))).then_some(path)
        });
        let unpacked = name.strip_suffix(".gz").unwrap_or(name);
        let ending = || {
            let (stem, ending) = unpacked.rsplit_once('.')?;
            let cut = stem.find(['-', '.'])?;
            live(&format!("{}.{ending}", &stem[..cut]))
        };
        beginning.or_else(ending).unwrap_or_else(|| path.to_owned())
    }
}

/// What a container's log file was called before it was rotated: the kubelet adds a time behind `.log`.
fn live_name_in_pod(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.find(".log.").map_or_else(|| path.to_owned(), |at| path.with_file_name(&name[..at + ".log".len()]))
}

/// Fields that a container's folder says of every record in it; empty for any other folder.
pub fn pod_fields(container: &Path, pods: &Path) -> Vec<(String, String)> {
    let Ok(below) = container.strip_prefix(pods) else { return Vec::new() };
    let names: Vec<&str> = below.iter().filter_map(OsStr::to_str).collect();
    let [pod, container] = names[..] else { return Vec::new() };
    let mut parts = pod.splitn(3, '_');
    let (Some(namespace), Some(pod), Some(uid)) = (parts.next(), parts.next(), parts.next()) else { return Vec::new() };
    [("k8s.namespace.name", namespace), ("k8s.pod.name", pod), ("k8s.pod.uid", uid), ("k8s.container.name", container)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(include: &[&str], rotated: &[&str]) -> Names {
        let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
        Names::new(&own(include), &own(&["/l/skip*"]), &own(rotated), Path::new(PODS)).unwrap()
    }

    fn role(names: &Names, path: &str) -> Option<(String, bool, bool)> {
        let role = names.role(Path::new(path))?;
        Some((role.partition.to_str().unwrap().to_owned(), role.rotated, role.packed))
    }

    #[test]
    fn rotated_names_lead_to_their_live_name() {
        let names = names(&["/l/*.log"], &[]);
        let live = || "/l/app.log".to_owned();
        assert_eq!(role(&names, "/l/app.log"), Some((live(), false, false)));
        assert_eq!(role(&names, "/l/app.log.1"), Some((live(), true, false)));
        assert_eq!(role(&names, "/l/app.log-20260101.gz"), Some((live(), true, true)));
        assert_eq!(role(&names, "/l/skip.log"), None);
        let fixed = Names::new(&["/l/*.log".into()], &["/l/skip.log".into()], &[], Path::new(PODS)).unwrap();
        for name in ["/l/skip.log", "/l/skip.log.1", "/l/skip.log-20260101.gz"] {
            assert_eq!(role(&fixed, name), None, "{name}");
        }
        assert_eq!(role(&names, "/l/sub/app.log"), None);
        assert_eq!(role(&names, "/l/app.txt"), None);
    }

    #[test]
    fn a_date_before_the_ending_is_understood_where_it_is_configured() {
        let names = names(&["/l/*.log"], &["/l/*-[0-9]*.log", "/l/*-[0-9]*.log.gz"]);
        assert_eq!(role(&names, "/l/app-20260101.log"), Some(("/l/app.log".into(), true, false)));
        assert_eq!(role(&names, "/l/app-20260101.log.gz"), Some(("/l/app.log".into(), true, true)));
        assert_eq!(role(&names, "/l/app.log"), Some(("/l/app.log".into(), false, false)));
    }

    #[test]
    fn a_containers_folder_is_one_partition() {
        let folder = || "/var/log/pods/ns_pod_uid/app".to_owned();
        for include in ["/var/log/pods/*/*/*.log*", "/var/log/pods/*/*/*.log"] {
            let include = [include.to_owned()];
            let exclude = ["/var/log/pods/kube-system_*/*/*.log".to_owned()];
            let names = Names::new(&include, &exclude, &[], Path::new(PODS)).unwrap();
            assert_eq!(role(&names, "/var/log/pods/ns_pod_uid/app/0.log"), Some((folder(), false, false)));
            assert_eq!(role(&names, "/var/log/pods/ns_pod_uid/app/0.log.20260101-1"), Some((folder(), true, false)));
            assert_eq!(role(&names, "/var/log/pods/ns_pod_uid/app/0.log.20260101-1.gz"), Some((folder(), true, true)));
            assert_eq!(role(&names, "/var/log/pods/ns_pod_uid/app/0.log.20260101-1.tmp"), None);
            for name in ["0.log", "0.log.20260101-1", "0.log.20260101-1.gz"] {
                assert_eq!(role(&names, &format!("/var/log/pods/kube-system_pod_uid/app/{name}")), None, "{name}");
            }
        }
        let fields = pod_fields(Path::new(&folder()), Path::new(PODS));
        assert_eq!(fields.iter().map(|(_, v)| v.as_str()).collect::<Vec<_>>(), ["ns", "pod", "uid", "app"]);
    }

    #[test]
    fn folders_are_entered_only_where_a_match_may_lie() {
        let deep = Pattern::new("/a/*/c/**/x.log").unwrap();
        assert_eq!(deep.root(), Path::new("/a"));
        for (path, reaches) in [("/a", true), ("/a/b", true), ("/a/b/d", false), ("/a/b/c/d/e", true), ("/z", false)] {
            assert_eq!(deep.reaches_below(Path::new(path)), reaches, "{path}");
        }
        assert!(deep.matches(Path::new("/a/b/c/x.log")) && deep.matches(Path::new("/a/b/c/d/e/x.log")));
        assert!(matches!(Pattern::new("a/*.log"), Err(PatternError::Relative(_))));
        assert!(matches!(Pattern::new("/a/[.log"), Err(PatternError::Syntax { .. })));
    }
}
