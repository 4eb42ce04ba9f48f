//! The SDKs and templates, carried in this program: a new plugin needs nothing from elsewhere but its language's own tools.

use clap::ValueEnum;

/// The folder of a plugin that holds the SDK it was made with.
pub const FOLDER: &str = ".sawlog";

/// A file's path and content.
pub type File = (&'static str, &'static str);

/// A language with a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// Rust.
    Rust,
    /// Go, with the standard toolchain.
    Go,
    /// C.
    C,
    /// C++20, by the header of C.
    Cpp,
    /// Python, with componentize-py.
    Python,
    /// JavaScript, with componentize-js; TypeScript too.
    Javascript,
}

impl Language {
    /// The files of its SDK, which go below [`FOLDER`].
    pub fn sdk(self) -> &'static [File] {
        match self {
            Self::Rust => RUST,
            Self::Go => GO,
            Self::C | Self::Cpp => C,
            Self::Python => PYTHON,
            Self::Javascript => JAVASCRIPT,
        }
    }

    /// The files of its template, in which `NAME` stands for the plugin's name.
    pub fn template(self) -> &'static [File] {
        match self {
            Self::Rust => &[
                ("Cargo.toml", include_str!("template/rust/Cargo.toml.txt")),
                ("src/lib.rs", include_str!("template/rust/src/lib.rs.txt")),
            ],
            Self::Go => &[
                ("go.mod", include_str!("template/go/go.mod.txt")),
                ("main.go", include_str!("template/go/main.go.txt")),
                ("main_test.go", include_str!("template/go/main_test.go.txt")),
            ],
            Self::C => &[("plugin.c", include_str!("template/c/plugin.c.txt"))],
            Self::Cpp => &[("plugin.cpp", include_str!("template/cpp/plugin.cpp.txt"))],
            Self::Python => &[
                ("app.py", include_str!("template/python/app.py.txt")),
                ("test_app.py", include_str!("template/python/test_app.py.txt")),
            ],
            Self::Javascript => &[
                ("package.json", include_str!("template/javascript/package.json.txt")),
                ("plugin.js", include_str!("template/javascript/plugin.js.txt")),
                ("plugin.test.js", include_str!("template/javascript/plugin.test.js.txt")),
            ],
        }
    }
}

/// What every plugin has, whatever its language.
pub const SHARED: &[File] = &[
    ("schema.json", include_str!("template/schema.json")),
    ("golden/usual/config.json", include_str!("template/golden/config.json")),
    ("golden/usual/input.ndjson", include_str!("template/golden/input.ndjson")),
    ("golden/usual/output.ndjson", include_str!("template/golden/output.ndjson")),
    (".gitignore", include_str!("template/gitignore")),
];

const RUST: &[File] = &[
    ("sdk/rust/Cargo.toml", include_str!("../../../../sdk/rust/Cargo.toml")),
    ("sdk/rust/bindings/stateful/Cargo.toml", include_str!("../../../../sdk/rust/bindings/stateful/Cargo.toml")),
    ("sdk/rust/bindings/stateful/src/lib.rs", include_str!("../../../../sdk/rust/bindings/stateful/src/lib.rs")),
    ("sdk/rust/bindings/transformer/Cargo.toml", include_str!("../../../../sdk/rust/bindings/transformer/Cargo.toml")),
    ("sdk/rust/bindings/transformer/src/lib.rs", include_str!("../../../../sdk/rust/bindings/transformer/src/lib.rs")),
    ("sdk/rust/src/batch.rs", include_str!("../../../../sdk/rust/src/batch.rs")),
    ("sdk/rust/src/bindings.rs", include_str!("../../../../sdk/rust/src/bindings.rs")),
    ("sdk/rust/src/edits.rs", include_str!("../../../../sdk/rust/src/edits.rs")),
    ("sdk/rust/src/export.rs", include_str!("../../../../sdk/rust/src/export.rs")),
    ("sdk/rust/src/hash.rs", include_str!("../../../../sdk/rust/src/hash.rs")),
    ("sdk/rust/src/host.rs", include_str!("../../../../sdk/rust/src/host.rs")),
    ("sdk/rust/src/kernels.rs", include_str!("../../../../sdk/rust/src/kernels.rs")),
    ("sdk/rust/src/keyed.rs", include_str!("../../../../sdk/rust/src/keyed.rs")),
    ("sdk/rust/src/lib.rs", include_str!("../../../../sdk/rust/src/lib.rs")),
    ("sdk/rust/src/plugin.rs", include_str!("../../../../sdk/rust/src/plugin.rs")),
    ("sdk/rust/src/record.rs", include_str!("../../../../sdk/rust/src/record.rs")),
    ("sdk/rust/src/testing.rs", include_str!("../../../../sdk/rust/src/testing.rs")),
    ("sdk/rust/src/watermark.rs", include_str!("../../../../sdk/rust/src/watermark.rs")),
    ("sdk/rust/src/windows.rs", include_str!("../../../../sdk/rust/src/windows.rs")),
    ("sdk/rust/src/windows/session.rs", include_str!("../../../../sdk/rust/src/windows/session.rs")),
    ("wit/0.1.0/host.wit", include_str!("../../../../wit/0.1.0/host.wit")),
    ("wit/0.1.0/lifecycle.wit", include_str!("../../../../wit/0.1.0/lifecycle.wit")),
    ("wit/0.1.0/types.wit", include_str!("../../../../wit/0.1.0/types.wit")),
    ("wit/0.1.0/worlds.wit", include_str!("../../../../wit/0.1.0/worlds.wit")),
];

const GO: &[File] = &[
    ("sdk/go/abi_wasip1.go", include_str!("../../../../sdk/go/abi_wasip1.go")),
    ("sdk/go/batch.go", include_str!("../../../../sdk/go/batch.go")),
    ("sdk/go/edits.go", include_str!("../../../../sdk/go/edits.go")),
    ("sdk/go/go.mod", include_str!("../../../../sdk/go/go.mod")),
    ("sdk/go/host.go", include_str!("../../../../sdk/go/host.go")),
    ("sdk/go/host_native.go", include_str!("../../../../sdk/go/host_native.go")),
    ("sdk/go/host_wasip1.go", include_str!("../../../../sdk/go/host_wasip1.go")),
    ("sdk/go/plugin.go", include_str!("../../../../sdk/go/plugin.go")),
    ("sdk/go/stateful/exports_wasip1.go", include_str!("../../../../sdk/go/stateful/exports_wasip1.go")),
    ("sdk/go/stateful/stateful.go", include_str!("../../../../sdk/go/stateful/stateful.go")),
    ("sdk/go/testing.go", include_str!("../../../../sdk/go/testing.go")),
    ("sdk/go/watermark.go", include_str!("../../../../sdk/go/watermark.go")),
    ("sdk/go/windows/kind.go", include_str!("../../../../sdk/go/windows/kind.go")),
    ("sdk/go/windows/ordered.go", include_str!("../../../../sdk/go/windows/ordered.go")),
    ("sdk/go/windows/session.go", include_str!("../../../../sdk/go/windows/session.go")),
    ("sdk/go/windows/windows.go", include_str!("../../../../sdk/go/windows/windows.go")),
];

const C: &[File] = &[("sdk/c/sawlog_plugin.h", include_str!("../../../../sdk/c/sawlog_plugin.h"))];

const PYTHON: &[File] = &[("sdk/python/sawlog.py", include_str!("../../../../sdk/python/sawlog.py"))];

const JAVASCRIPT: &[File] = &[
    ("sdk/javascript/build/build.mjs", include_str!("../../../../sdk/javascript/build/build.mjs")),
    ("sdk/javascript/build/jco/index.js", include_str!("../../../../sdk/javascript/build/jco/index.js")),
    ("sdk/javascript/build/jco/package.json", include_str!("../../../../sdk/javascript/build/jco/package.json")),
    ("sdk/javascript/build/package-lock.json", include_str!("../../../../sdk/javascript/build/package-lock.json")),
    ("sdk/javascript/build/package.json", include_str!("../../../../sdk/javascript/build/package.json")),
    ("sdk/javascript/build/weval/index.js", include_str!("../../../../sdk/javascript/build/weval/index.js")),
    ("sdk/javascript/build/weval/package.json", include_str!("../../../../sdk/javascript/build/weval/package.json")),
    ("sdk/javascript/package.json", include_str!("../../../../sdk/javascript/package.json")),
    ("sdk/javascript/src/batch.js", include_str!("../../../../sdk/javascript/src/batch.js")),
    ("sdk/javascript/src/component.js", include_str!("../../../../sdk/javascript/src/component.js")),
    ("sdk/javascript/src/edits.js", include_str!("../../../../sdk/javascript/src/edits.js")),
    ("sdk/javascript/src/host_component.js", include_str!("../../../../sdk/javascript/src/host_component.js")),
    ("sdk/javascript/src/host_native.js", include_str!("../../../../sdk/javascript/src/host_native.js")),
    ("sdk/javascript/src/index.d.ts", include_str!("../../../../sdk/javascript/src/index.d.ts")),
    ("sdk/javascript/src/index.js", include_str!("../../../../sdk/javascript/src/index.js")),
    ("sdk/javascript/src/mask.js", include_str!("../../../../sdk/javascript/src/mask.js")),
    ("sdk/javascript/src/sealed.js", include_str!("../../../../sdk/javascript/src/sealed.js")),
    ("sdk/javascript/src/testing.d.ts", include_str!("../../../../sdk/javascript/src/testing.d.ts")),
    ("sdk/javascript/src/testing.js", include_str!("../../../../sdk/javascript/src/testing.js")),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Whether every file of `folder` that ends in `ending` is carried.
    fn carries(files: &[File], folder: &str, ending: &str) {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = 0;
        for entry in std::fs::read_dir(repository.join(folder)).expect("the repository") {
            let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
            if name.ends_with(ending) && !name.ends_with("_test.go") {
                let path = format!("{folder}/{name}");
                assert!(files.iter().any(|(carried, _)| *carried == path), "{path} is not carried");
                found += 1;
            }
        }
        assert!(found > 0, "{folder} has no {ending}");
    }

    /// The first example of an SDK's page is short, and what a new plugin holds, which the tests of authors build and run.
    #[test]
    fn the_first_example_of_every_page_is_whole() {
        for language in Language::value_variants() {
            let name = match language {
                Language::Cpp => continue, // a part of the page of C
                _ => language.to_possible_value().expect("a name").get_name().to_owned(),
            };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk").join(&name).join("README.md");
            let page = std::fs::read_to_string(path).expect("a page");
            let block = page.split("```").nth(1).expect("an example");
            let example = block.split_once('\n').expect("a language, and lines").1;
            assert!(example.lines().count() < 20, "{name}: {} lines", example.lines().count());
            let is_built = |(_, content): &File| content.replace("NAME", "no-debug").contains(example);
            assert!(language.template().iter().any(is_built), "{name}: not what the template holds:\n{example}");
        }
    }

    #[test]
    fn the_sdks_are_carried_whole() {
        carries(RUST, "sdk/rust/src", ".rs");
        carries(RUST, "sdk/rust/src/windows", ".rs");
        carries(RUST, "wit/0.1.0", ".wit");
        carries(GO, "sdk/go", ".go");
        carries(GO, "sdk/go/stateful", ".go");
        carries(GO, "sdk/go/windows", ".go");
        carries(JAVASCRIPT, "sdk/javascript/src", "s");
        for folder in ["build", "build/jco", "build/weval"] {
            carries(JAVASCRIPT, &format!("sdk/javascript/{folder}"), ".json");
            carries(JAVASCRIPT, &format!("sdk/javascript/{folder}"), "js");
        }
    }
}
