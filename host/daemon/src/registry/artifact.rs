//! How a component lies in a registry: an OCI 1.1 image manifest, a configuration that says what the component imports and exports,
//! and the component as the only layer. The layout is the one that tools for WASM agree on. The same component gives the same bytes.

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;

/// Media type of the manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of the configuration.
pub const CONFIG_TYPE: &str = "application/vnd.wasm.config.v0+json";
/// Media type of the component.
pub const COMPONENT_TYPE: &str = "application/wasm";
/// The annotation by which tools know what to call the file.
const TITLE: &str = "org.opencontainers.image.title";
/// When it was made, which the layout demands and nobody may depend on: the same component is the same artifact.
const CREATED: &str = "1970-01-01T00:00:00Z";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    media_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// What a manifest says of a blob.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    created: &'a str,
    architecture: &'a str,
    os: &'a str,
    layer_digests: Vec<&'a str>,
    component: Interface<'a>,
}

#[derive(Serialize)]
struct Interface<'a> {
    exports: &'a [String],
    imports: &'a [String],
}

/// The texts that go with a component.
#[derive(Debug)]
pub struct Texts {
    /// The manifest; its digest is what pins the artifact.
    pub manifest: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
}

/// The texts for `component`, whose outermost names are `interface`, in a repository whose last part is `title`.
pub fn texts(
    component: &[u8],
    interface: &sawlog_componentize::Interface,
    title: &str,
) -> Result<Texts, serde_json::Error> {
    let digest = ContentDigest::of(component);
    let config = serde_json::to_vec(&Config {
        created: CREATED,
        architecture: "wasm",
        os: "wasip2",
        layer_digests: vec![digest.as_str()],
        component: Interface { exports: &interface.exports, imports: &interface.imports },
    })?;
    let title = [(TITLE.to_owned(), format!("{title}.wasm"))].into_iter().collect();
    let descriptor = |media_type: &str, bytes: &[u8], annotations| Descriptor {
        media_type: media_type.to_owned(),
        digest: ContentDigest::of(bytes).to_string(),
        size: bytes.len() as u64,
        annotations,
    };
    let manifest = serde_json::to_vec(&Manifest {
        schema_version: 2,
        media_type: Some(MANIFEST_TYPE.to_owned()),
        config: descriptor(CONFIG_TYPE, &config, Default::default()),
        layers: vec![descriptor(COMPONENT_TYPE, component, title)],
    })?;
    Ok(Texts { manifest, config })
}

/// The component that a manifest names: its digest, and its size in bytes. The error says what else it is.
pub fn component_of(manifest: &[u8]) -> Result<(ContentDigest, u64), String> {
    let read: Manifest =
        serde_json::from_slice(manifest).map_err(|error| format!("its manifest can't be read: {error}"))?;
    if let Some(other) = read.media_type.filter(|media_type| media_type != MANIFEST_TYPE) {
        return Err(format!("it is {other}, not {MANIFEST_TYPE}"));
    }
    let [layer] = read.layers.as_slice() else {
        return Err(format!("it has {} layers instead of one component", read.layers.len()));
    };
    if layer.media_type != COMPONENT_TYPE {
        return Err(format!("its layer is {}, not {COMPONENT_TYPE}", layer.media_type));
    }
    let digest = ContentDigest::parse(&layer.digest)
        .ok_or_else(|| format!("its layer has the digest `{}`, not sha256", layer.digest))?;
    Ok((digest, layer.size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_names_the_component_and_is_the_same_each_time() {
        let interface = sawlog_componentize::Interface {
            imports: vec!["sawlog:plugin/host@0.1.0".into()],
            exports: vec!["sawlog:plugin/transform@0.1.0".into()],
        };
        let texts = |title| super::texts(b"component", &interface, title).expect("texts");
        let written = texts("redact");
        assert_eq!(component_of(&written.manifest), Ok((ContentDigest::of(b"component"), 9)));
        assert_eq!(written.manifest, texts("redact").manifest);
        let config: serde_json::Value = serde_json::from_slice(&written.config).expect("JSON");
        let digest = ContentDigest::of(b"component");
        assert_eq!((&config["os"], &config["layerDigests"][0]), (&"wasip2".into(), &digest.as_str().into()));
        assert_eq!(config["component"]["exports"][0], "sawlog:plugin/transform@0.1.0");
    }

    #[test]
    fn another_artifact_is_told_for_what_it_is() {
        let layer =
            |media_type: &str, digest: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":1}}"#);
        let digest = ContentDigest::of(b"").to_string();
        let manifest = |layers: &str| {
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#, layer("application/x", &digest))
        };
        let tar = layer("application/vnd.oci.image.layer.v1.tar+gzip", &digest);
        let wasm = layer(COMPONENT_TYPE, &digest);
        for (text, why) in [
            (String::new(), "can't be read"),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), "can't be read"),
            (manifest(&tar), "its layer is application/vnd.oci.image.layer.v1.tar+gzip"),
            (manifest(""), "has 0 layers"),
            (manifest(&format!("{wasm},{wasm}")), "has 2 layers"),
            (manifest(&layer(COMPONENT_TYPE, "sha512:00")), "`sha512:00`, not sha256"),
            (
                manifest(&wasm)
                    .replace("{\"schemaVersion\"", "{\"mediaType\":\"application/x.index\",\"schemaVersion\""),
                "it is application/x.index",
            ),
        ] {
            let error = component_of(text.as_bytes()).expect_err(&text);
            assert!(error.contains(why), "{text}: {error}");
        }
        assert!(component_of(manifest(&wasm).as_bytes()).is_ok());
    }
}
