//! The example of a plugin's page: a piece of a configuration, records in, outcomes out. What the page shows is what is tested.

use sawlog_chain::Allow;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// What the page shows.
pub struct Example {
    pub allow: Allow,
    pub config_json: String,
    pub files: Vec<(String, Vec<u8>)>,
    pub input: String,
    page: String,
}

#[derive(Deserialize)]
struct Document {
    plugins: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    source: String,
    #[serde(default)]
    allow: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default)]
    config: serde_json::Value,
}

/// What stands in the first block of `language`.
fn block<'p>(page: &'p str, language: &str) -> &'p str {
    let (_, rest) = page.split_once(&format!("```{language}\n")).unwrap_or_else(|| panic!("no block of {language}"));
    rest.split_once("```").expect("a block that ends").0
}

impl Example {
    /// Reads `README.md` of `folder`.
    pub fn read(folder: &Path) -> Self {
        let name = folder.file_name().unwrap().to_str().unwrap();
        let page = std::fs::read_to_string(folder.join("README.md")).unwrap();
        let document: Document = serde_saphyr::from_str(block(&page, "yaml")).unwrap();
        let entry = &document.plugins[name];
        assert_eq!(entry.source, format!("file:./plugins/{name}.wasm"));
        let allows = |word: &str| entry.allow.iter().any(|w| w == word);
        let file = |(name, path): (&String, &String)| (name.clone(), std::fs::read(folder.join(path)).unwrap());
        Self {
            allow: Allow { state: allows("state"), timers: allows("timers"), kernels: allows("kernels") },
            config_json: if entry.config.is_null() { "{}".into() } else { entry.config.to_string() },
            files: entry.files.iter().map(file).collect(),
            input: block(&page, "json").to_owned(),
            page,
        }
    }

    /// Holds the outcomes of a run (lines of `trial`) against the page, or writes them there.
    pub fn compare(&self, path: &Path, found: &[String], rewrite: bool) {
        let found: String = found.iter().map(|line| shown(line) + "\n").collect();
        let expected = block(&self.page, "text");
        if rewrite {
            let page = self.page.replacen(&format!("```text\n{expected}```"), &format!("```text\n{found}```"), 1);
            return std::fs::write(path, page).unwrap();
        }
        assert_eq!(found, expected, "{}", path.display());
    }
}

/// An outcome as a page shows it: the record alone, or the word of another fate.
fn shown(line: &str) -> String {
    let outcome: serde_json::Value = serde_json::from_str(line).unwrap();
    let word = |name: &str| outcome[name].as_str().unwrap_or_default().to_owned();
    if let Some((_, record)) = line.split_once(r#","record":"#) {
        let record = &record[..record.len() - 1];
        return match word("route").as_str() {
            "default" => record.to_owned(),
            route => format!("{route}: {record}"),
        };
    }
    if outcome.get("dropped").is_some() {
        return format!("dropped: {}", word("dropped"));
    }
    if outcome.get("dead").is_some() {
        return format!("dead letter: {}", word("reason"));
    }
    "absorbed".into()
}
