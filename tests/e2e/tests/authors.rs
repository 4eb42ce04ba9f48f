//! What authors of plugins do, on the real binary: a new plugin builds and passes its test in every language that is built here, a
//! spoiled golden file fails it, and the other verbs say what they should.
#![allow(clippy::unwrap_used)]

use sawlog_e2e::service;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// A build from nothing, on a busy machine.
const BUILD_MAX: Duration = Duration::from_secs(180);

fn sawlog(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("SAWLOG_TEST_BINARY").unwrap());
    command.arg("plugin").args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Whether it succeeded, and all that it said.
fn plugin(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output = sawlog(folder, arguments).output().unwrap();
    (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[track_caller]
fn done(folder: &Path, arguments: &[&str]) -> String {
    let (is_done, said) = plugin(folder, arguments);
    assert!(is_done, "{arguments:?}: {said}");
    said
}

/// The one golden case of a template.
fn golden(plugin: &Path) -> PathBuf {
    let cases = std::fs::read_dir(plugin.join("golden")).unwrap();
    cases.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap()
}

fn a_new_plugin_works(language: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(done(folder, &["new", "mine", "--lang", language]).contains("sawlog plugin test mine"));
    let said = done(folder, &["test", "mine"]);
    let native = match language {
        "rust" => "native: ok, cargo test\n",
        "go" => "native: ok, go test\n",
        "python" => "native: ok, python3 -m unittest\n",
        "javascript" => "native: ok, node --test\n",
        _ => "native: not run: ",
    };
    let passed = 1 + usize::from(native.contains("ok"));
    assert!(said.contains(native) && said.contains(" under every cut\n"), "{language}: {said}");
    assert!(said.trim_end().ends_with(&format!("{passed} passed, 0 failed")), "{language}: {said}");
    let case = golden(&folder.join("mine"));
    let (input, output) = (case.join("input.ndjson"), case.join("output.ndjson"));
    let input = input.to_str().unwrap();
    let expected = std::fs::read_to_string(&output).unwrap();
    let config = std::fs::read_to_string(case.join("config.json")).unwrap();

    let component = "mine/target/plugin/mine.wasm";
    assert_eq!(done(folder, &["run", component, "--input", input, "--config", &config]), expected, "{language}");
    let told = done(folder, &["inspect", component]);
    for line in ["world    ", "allow    []", "digest   sha256:", "sawlog:plugin/lifecycle@0.1.0", "config   {"] {
        assert!(told.contains(line), "{language}: {line} in {told}");
    }
    let told = done(folder, &["bench", component, "--input", input, "--config", &config]);
    assert!(told.contains("MB/s") && told.contains("fuel") && told.contains("memory"), "{language}: {told}");

    std::fs::write(&output, expected.replacen("\"row\":", "\"rows\":", 1)).unwrap();
    let (is_done, said) = plugin(folder, &["test", "mine", "--no-native"]);
    assert!(!is_done && said.contains("line 1 is") && said.contains("0 passed, 1 failed"), "{language}: {said}");
    std::fs::write(&output, expected).unwrap();
}

/// What a plugin's own tests refuse fails the test even where the golden files hold.
fn a_failing_native_test_fails(language: &str, file: &str, from: &str, to: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["new", "mine", "--lang", language]);
    let path = folder.join("mine").join(file);
    let source = std::fs::read_to_string(&path).unwrap();
    assert!(source.contains(from));
    std::fs::write(&path, source.replacen(from, to, 1)).unwrap();
    let (is_done, said) = plugin(folder, &["test", "mine"]);
    assert!(!is_done && said.contains("native: FAILED: "), "{language}: {said}");
    assert!(said.trim_end().ends_with("1 passed, 1 failed"), "{language}: {said}");
}

/// A plugin that counts over a batch passes its golden file, which is one batch, and is caught by the other cuts.
#[test]
fn an_output_that_depends_on_the_cut_is_caught() {
    if service("an output that depends on the cut", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    done(folder, &["new", "mine", "--lang", "go"]);
    let path = folder.join("mine/main.go");
    let source = std::fs::read_to_string(&path).unwrap();
    let counting = source.replacen(
        "func keep(r sawlog.Row) bool {",
        "var seen = 0\n\nfunc keep(r sawlog.Row) bool {\n\tif seen++; seen > 3 {\n\t\treturn true\n\t}",
        1,
    );
    assert_ne!(counting, source);
    std::fs::write(&path, counting).unwrap();
    let case = golden(&folder.join("mine"));
    std::fs::write(case.join("input.ndjson"), "{\"level\":\"debug\"}\n".repeat(40)).unwrap();
    done(folder, &["build", "mine"]);
    let (_, said) = plugin(folder, &["test", "mine", "--no-native", "--write"]);
    assert!(said.contains("FAILED: the output depends on where batches are cut"), "{said}");
}

#[test]
fn a_new_plugin_in_rust_works() {
    if service("a new plugin in Rust", "SAWLOG_TEST_BINARY").is_some() {
        a_new_plugin_works("rust");
        a_failing_native_test_fails("rust", "src/lib.rs", "[0b110]", "[0b111]");
    }
}

#[test]
fn a_new_plugin_in_go_works() {
    if service("a new plugin in Go", "SAWLOG_TEST_BINARY").is_some() {
        a_new_plugin_works("go");
        a_failing_native_test_fails("go", "main_test.go", "{\"debug\", false}", "{\"debug\", true}");
    }
}

#[test]
fn a_new_plugin_in_c_works() {
    if service("a new plugin in C", "SAWLOG_WASM_CC").is_some() {
        a_new_plugin_works("c");
    }
}

#[test]
fn a_new_plugin_in_cpp_works() {
    if service("a new plugin in C++", "SAWLOG_WASM_CC").is_some() {
        a_new_plugin_works("cpp");
    }
}

#[test]
fn a_new_plugin_in_python_works() {
    if service("a new plugin in Python, with `--full`", "SAWLOG_COMPONENTIZE_PY").is_some() {
        a_new_plugin_works("python");
        a_failing_native_test_fails("python", "test_app.py", "0b110", "0b111");
    }
}

#[test]
fn a_new_plugin_in_javascript_works() {
    if service("a new plugin in JavaScript, with `--full`", "SAWLOG_COMPONENTIZE_JS").is_some() {
        a_new_plugin_works("javascript");
        a_failing_native_test_fails("javascript", "plugin.test.js", "[false, true, true]", "[true, true, true]");
    }
}

/// The table of a folder of plugins, and what it says of one that was not built.
#[test]
fn a_folder_of_plugins_is_measured() {
    let Some(components) = service("a table of plugins", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path();
    for name in ["level-filter", "not-built"] {
        let case = plugins.join(name).join("golden/usual");
        std::fs::create_dir_all(&case).unwrap();
        std::fs::write(plugins.join(name).join("schema.json"), "{}").unwrap();
        std::fs::write(case.join("config.json"), r#"{"at_least":"warn"}"#).unwrap();
        std::fs::write(case.join("input.ndjson"), "{\"level\":\"info\"}\n{\"level\":\"warn\"}\n").unwrap();
    }
    let built = plugins.join("target/components");
    std::fs::create_dir_all(&built).unwrap();
    std::fs::copy(Path::new(&components).join("level-filter.wasm"), built.join("level-filter.wasm")).unwrap();
    let (is_done, said) = plugin(plugins, &["bench", "--all", ".", "--seconds", "1"]);
    assert!(!is_done && said.contains("| not-built | not measured: "), "{said}");
    let row: Vec<&str> =
        said.lines().find(|line| line.starts_with("| level-filter | usual | 17 |")).unwrap().split('|').collect();
    assert!(row[4..8].iter().all(|figure| figure.trim().parse::<f64>().unwrap() > 0.0), "{said}");
    std::fs::remove_dir_all(plugins.join("not-built")).unwrap();
    done(plugins, &["bench", "--all", ".", "--seconds", "1"]);
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_there_are_refused() {
    if service("names of plugins", "SAWLOG_TEST_BINARY").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let long = "a".repeat(65);
    for name in ["../mine", "Mine", "1st", "a/b", "", &long] {
        let (is_done, said) = plugin(folder, &["new", name]);
        assert!(!is_done && said.contains("no name for a plugin"), "{name}: {said}");
    }
    std::fs::create_dir(folder.join("mine")).unwrap();
    let (is_done, said) = plugin(folder, &["new", "mine"]);
    assert!(!is_done && said.contains("is there already"), "{said}");
    let (is_done, said) = plugin(folder, &["test", "mine"]);
    assert!(!is_done && said.contains("no sources of a plugin"), "{said}");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 1, "something was written");
}

#[test]
fn a_watched_plugin_runs_again_when_its_input_changes() {
    let Some(plugins) = service("a watched plugin", "SAWLOG_TEST_PLUGINS") else { return };
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input.ndjson");
    let line = |n: u64| format!("{{\"level\":\"error\",\"n\":{n}}}\n");
    std::fs::write(&input, line(1)).unwrap();
    let component = format!("{plugins}/level-filter.wasm");
    let config = "{\"at_least\":\"info\"}";
    let arguments = ["run", &component, "--watch", "--input", input.to_str().unwrap(), "--config", config];
    let mut child = sawlog(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (lines, said) = mpsc::channel();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| lines.send(line).is_ok()));
    let next = || said.recv_timeout(BUILD_MAX).unwrap();
    assert!(next().contains("\"n\":1"));
    // A mistake ends nothing.
    std::fs::write(&input, "no record\n").unwrap();
    std::thread::sleep(Duration::from_millis(700));
    std::fs::write(&input, line(2) + &line(3)).unwrap();
    assert!(next().contains("\"n\":2") && next().contains("\"n\":3"));
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    let (is_done, told) = plugin(folder.path(), &["run", &component, "--watch"]);
    assert!(!is_done && told.contains("--input"), "{told}");
}
