//! The manifests in `deploy/` fit the Kubernetes API's strict schemas, and give the agent what its configuration and
//! `sawlog validate` say that it needs, and no more.
#![allow(clippy::unwrap_used, missing_docs)]

mod operator;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Version of the API whose schemas are asked.
const SCHEMAS: &str = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/kubernetes")
}

fn read(name: &str) -> Value {
    serde_saphyr::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

fn mebibytes(text: &str) -> u64 {
    text.strip_suffix("Mi").or_else(|| text.strip_suffix("MiB")).unwrap().parse().unwrap()
}

/// The report of `sawlog validate` on the configuration that the manifest mounts: `examples/`, where it has its secrets, links
/// to it.
fn report() -> Value {
    let config = folder().join("../../examples/kubernetes.yaml");
    assert_eq!(std::fs::canonicalize(&config).unwrap(), std::fs::canonicalize(folder().join("sawlog.yaml")).unwrap());
    let arguments = ["validate", "--format", "json", "-c"];
    let output = Command::new(env!("CARGO_BIN_EXE_sawlog")).args(arguments).arg(config).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn container(daemonset: &Value) -> &Value {
    &daemonset["spec"]["template"]["spec"]["containers"][0]
}

/// Whether `path` lies on a mount that may be written; `None` where nothing is mounted there.
fn is_writable(daemonset: &Value, path: &str) -> Option<bool> {
    let mounts = container(daemonset)["volumeMounts"].as_array().unwrap();
    let holds = |mount: &&Value| Path::new(path).starts_with(mount["mountPath"].as_str().unwrap());
    let closest = mounts.iter().filter(holds).max_by_key(|mount| mount["mountPath"].as_str().unwrap().len())?;
    Some(closest["readOnly"] != true)
}

/// Whether the volume mounted exactly at `path` is a folder or file of the node, which outlives the pod.
fn is_of_the_node(daemonset: &Value, path: &str) -> bool {
    let mounts = container(daemonset)["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["mountPath"] == path).unwrap();
    let volumes = daemonset["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
    volume["hostPath"]["path"] == path
}

#[test]
fn the_manifests_fit_the_strict_schemas_and_a_wrong_one_does_not() {
    let Some(schemas) = std::env::var_os("SAWLOG_TEST_KUBERNETES_SCHEMAS").map(|at| PathBuf::from(at).join(SCHEMAS))
    else {
        println!("NOT RUN: the_manifests_fit_the_strict_schemas: SAWLOG_TEST_KUBERNETES_SCHEMAS names no folder");
        return;
    };
    for (file, schema) in [
        ("daemonset.yaml", "daemonset-apps-v1.json"),
        ("service-account.yaml", "serviceaccount-v1.json"),
        ("namespace.yaml", "namespace-v1.json"),
    ] {
        let schema = serde_json::from_str(&std::fs::read_to_string(schemas.join(schema)).unwrap()).unwrap();
        let validator = jsonschema::options().with_retriever(Beside(schemas.clone())).build(&schema).unwrap();
        let manifest = read(file);
        let errors: Vec<String> =
            validator.iter_errors(&manifest).map(|error| format!("{} {error}", error.instance_path())).collect();
        assert_eq!(errors, Vec::<String>::new(), "{file}");
        let mut wrong = manifest.clone();
        wrong["metadata"]["no_such_field"] = json!(1);
        assert!(!validator.is_valid(&wrong), "{file}");
        if file == "daemonset.yaml" {
            let mut wrong = manifest;
            wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] =
                true.into();
            assert!(!validator.is_valid(&wrong), "a misspelt name deep inside");
        }
    }
}

/// Reads the schemas that a schema refers to from the folder that holds them all.
struct Beside(PathBuf);

impl jsonschema::Retrieve for Beside {
    fn retrieve(&self, uri: &jsonschema::Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        let name = uri.path().as_str().rsplit('/').next().unwrap_or_default();
        Ok(serde_json::from_str(&std::fs::read_to_string(self.0.join(name))?)?)
    }
}

/// Where the configuration of the manifest is when it is read here, and where in the pod.
fn in_the_pod(path: &str) -> PathBuf {
    let here = std::path::absolute(folder().join("../../examples")).unwrap();
    match Path::new(path).strip_prefix(here) {
        Ok(below) if below == Path::new("kubernetes.yaml") => PathBuf::from("/etc/sawlog/sawlog.yaml"),
        Ok(below) => Path::new("/etc/sawlog").join(below),
        Err(_) => PathBuf::from(path),
    }
}

/// What `sawlog validate` says of files: where they are in the pod, and whether they are written.
fn touched(report: &Value) -> Vec<(PathBuf, bool)> {
    let files = report["report"]["files"].as_array().unwrap().iter();
    files.map(|file| (in_the_pod(file["path"].as_str().unwrap()), file["access"] == "write")).collect()
}

/// What is wrong with the mounts: files that are on none, or on one that must not or must be written.
fn misplaced(daemonset: &Value, files: &[(PathBuf, bool)]) -> Vec<String> {
    let one = |(path, writes): &(PathBuf, bool)| {
        let path = path.to_str().unwrap();
        match is_writable(daemonset, path) {
            Some(is) if is == *writes => None,
            found => Some(format!("{path}: written {writes}, mounted to be written {found:?}")),
        }
    };
    files.iter().filter_map(one).collect()
}

#[test]
fn every_file_that_validate_names_is_mounted_as_it_must_be_and_no_other() {
    let (daemonset, files) = (read("daemonset.yaml"), touched(&report()));
    assert_eq!(misplaced(&daemonset, &files), Vec::<String>::new());
    for (path, is_of_the_node_too) in
        [("/var/lib/sawlog", true), ("/var/log/pods", true), ("/etc/machine-id", true), ("/etc/sawlog/secrets", false)]
    {
        assert!(files.iter().any(|(file, _)| file == Path::new(path)), "validate says nothing of {path}: {files:?}");
        assert_eq!(is_of_the_node(&daemonset, path), is_of_the_node_too, "{path}");
    }
    let mounts = container(&daemonset)["volumeMounts"].as_array().unwrap();
    for (number, mount) in mounts.iter().enumerate() {
        let path = mount["mountPath"].as_str().unwrap();
        let is_needed = files.iter().any(|(file, _)| file.starts_with(path));
        assert!(is_needed || path == "/tmp", "nobody needs {path}");
        // Without it, or with the other right, something is wrong.
        if is_needed {
            let mut spoilt = daemonset.clone();
            let list = spoilt["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].as_array_mut().unwrap();
            list[number]["readOnly"] = (mount["readOnly"] != true).into();
            assert_ne!(misplaced(&spoilt, &files), Vec::<String>::new(), "{path} with the other right");
        }
    }
    let names: Vec<&str> =
        container(&daemonset)["env"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["SAWLOG_NODE_NAME"]);
}

#[test]
fn every_address_that_others_reach_is_a_port_of_the_pod() {
    let (daemonset, report) = (read("daemonset.yaml"), report());
    let listens = report["report"]["listens"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    let outer = listens.filter(|line| !line.starts_with("127.")).map(|line| line.split_once(" (").unwrap());
    let outer: Vec<(&str, &str)> = outer.map(|(address, what)| (address.rsplit_once(':').unwrap().1, what)).collect();
    let ports = container(&daemonset)["ports"].as_array().unwrap().iter();
    let ports: Vec<(String, String)> =
        ports.map(|port| (port["containerPort"].to_string(), format!("{})", port["name"].as_str().unwrap()))).collect();
    let outer: Vec<(String, String)> =
        outer.into_iter().map(|(port, what)| (port.to_owned(), what.to_owned())).collect();
    assert_eq!(ports, outer);
}

#[test]
fn the_rights_are_those_that_validate_names_and_no_more() {
    let (daemonset, report) = (read("daemonset.yaml"), report());
    let needs = report["report"]["rights"].to_string();
    let context = &container(&daemonset)["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let added = context["capabilities"]["add"].as_array().unwrap();
    assert_eq!(added.len(), 1, "{added:?}");
    let capability = format!("CAP_{}", added[0].as_str().unwrap());
    assert!(needs.contains(&capability), "{capability} is not in what validate names: {needs}");
    // A capability that is added to a container has no effect for another user than root.
    assert_eq!(context["runAsUser"], 0);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(daemonset["spec"]["template"]["spec"]["automountServiceAccountToken"], false);
    assert!(context.get("privileged").is_none());
}

#[test]
fn the_ends_of_time_and_memory_fit_one_another() {
    let (daemonset, config) = (read("daemonset.yaml"), read("sawlog.yaml"));
    let grace = seconds(config["shutdown"]["grace"].as_str().unwrap());
    let pod = daemonset["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let drain = container(&daemonset)["lifecycle"]["preStop"]["exec"]["command"].as_array().unwrap();
    // The agent knows these words.
    let words = drain.iter().skip(1).map(|word| word.as_str().unwrap());
    let help = Command::new(env!("CARGO_BIN_EXE_sawlog")).args(words).arg("--help").output().unwrap();
    assert!(help.status.success(), "{}", String::from_utf8_lossy(&help.stderr));
    let at = drain.iter().position(|word| word == "--timeout").unwrap();
    let drain = seconds(drain[at + 1].as_str().unwrap());
    assert!(pod > drain + grace, "{pod} s are less than {drain} s of draining and {grace} s of grace");
    let limit = mebibytes(container(&daemonset)["resources"]["limits"]["memory"].as_str().unwrap());
    let memory = mebibytes(config["limits"]["memory"].as_str().unwrap());
    assert!(limit > memory, "the pod is killed at {limit} MiB, before the agent's own limit of {memory} MiB");
}

/// What the kubelet does to a pod: the command before the end, then SIGTERM, and the time that both may take.
#[test]
fn the_command_before_the_end_drains_a_live_agent() {
    let daemonset = read("daemonset.yaml");
    let command = container(&daemonset)["lifecycle"]["preStop"]["exec"]["command"].as_array().unwrap();
    let grace = daemonset["spec"]["template"]["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    let config = container(&daemonset)["args"].as_array().unwrap().last().unwrap();
    let node = operator::Node::new("");
    node.write_lines(500);
    let mut agent = node.start();
    agent.wait_until(|| agent.get("api.listen", "/v1/loss").1.contains("\"delivered\":500"));
    let own = node.folder().join("sawlog.yaml").display().to_string();
    let words = command.iter().skip(1).map(|word| if word == config { own.as_str() } else { word.as_str().unwrap() });
    let words: Vec<&str> = words.collect();
    assert!(words.contains(&own.as_str()), "{words:?}");
    let began = Instant::now();
    let said = node.verb(&words).unwrap();
    assert!(said.contains("everything that was planned is delivered"), "{said}");
    assert_eq!(agent.get("api.listen", "/livez").0, 200, "it waits for SIGTERM");
    agent.terminate();
    assert!(began.elapsed() < Duration::from_secs(grace), "{:?}", began.elapsed());
}

#[test]
fn probes_and_scrapes_ask_the_address_that_the_configuration_opens() {
    let (daemonset, config) = (read("daemonset.yaml"), read("sawlog.yaml"));
    let address = config["telemetry"]["metrics"].as_str().unwrap();
    let port: u64 = address.rsplit(':').next().unwrap().parse().unwrap();
    // The kubelet and Prometheus come from outside the pod.
    assert!(address.starts_with("0.0.0.0:"), "{address}");
    let container = container(&daemonset);
    let ports = container["ports"].as_array().unwrap();
    assert_eq!(ports.iter().find(|one| one["name"] == "metrics").unwrap()["containerPort"], port);
    for (probe, path) in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({ "path": path, "port": "metrics" }));
    }
    let annotations = &daemonset["spec"]["template"]["metadata"]["annotations"];
    assert_eq!(annotations["prometheus.io/port"], port.to_string());
}

/// A sink that fails, or the level `debug`, would feed on what the agent says of it.
#[test]
fn the_agents_own_log_is_none_of_its_inputs() {
    let (daemonset, config) = (read("daemonset.yaml"), read("sawlog.yaml"));
    let logs = "/var/log/pods";
    let namespace = daemonset["metadata"]["namespace"].as_str().unwrap();
    let own = format!("{logs}/{namespace}_*/*/*.log");
    let sources = config["sources"].as_object().unwrap().values();
    let of_pods = |source: &&Value| source["include"].to_string().contains(logs);
    let of_pods: Vec<&Value> = sources.filter(of_pods).collect();
    assert!(!of_pods.is_empty(), "nothing reads {logs}");
    for source in of_pods {
        let excluded = source["exclude"].as_array().unwrap();
        assert!(excluded.iter().any(|pattern| pattern == own.as_str()), "{own} is not in {excluded:?}");
    }
}

#[test]
fn the_image_is_built_from_what_the_repository_has() {
    let root = folder().join("../..");
    let text = std::fs::read_to_string(folder().join("../Dockerfile")).unwrap();
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let version = text.split("FROM rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}")), "the image builds with Rust {version}");
    for plugin in text.split("components/").skip(1).map(|rest| rest.split(".wasm").next().unwrap()) {
        assert!(root.join("plugins").join(plugin).is_dir(), "no plugin {plugin}");
    }
    let kustomization = read("kustomization.yaml");
    let mut keys: Vec<&String> = kustomization.as_object().unwrap().keys().collect();
    keys.sort();
    assert_eq!(keys, ["apiVersion", "configMapGenerator", "kind", "namespace", "resources"], "what kustomize knows");
    assert_eq!(
        (&kustomization["apiVersion"], &kustomization["kind"]),
        (&json!("kustomize.config.k8s.io/v1beta1"), &json!("Kustomization"))
    );
    for name in kustomization["resources"].as_array().unwrap() {
        let resource = read(name.as_str().unwrap());
        let place = if resource["kind"] == "Namespace" { "name" } else { "namespace" };
        assert_eq!(resource["metadata"][place], kustomization["namespace"], "{name}");
    }
    let generated = &kustomization["configMapGenerator"][0];
    let mounted = generated["files"][0].as_str().unwrap();
    assert!(folder().join(mounted).is_file(), "{mounted}");
    let daemonset = read("daemonset.yaml");
    let sources = &daemonset["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"];
    assert_eq!(sources[0]["configMap"]["name"], generated["name"]);
    let run = container(&daemonset)["args"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(run, format!("/etc/sawlog/{mounted}"));
}
