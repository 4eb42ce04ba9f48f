//! The types and exports of the plugin contract, generated from `wit/`. Knows nothing of what calls mean.
#![allow(missing_docs, clippy::all)]

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    // One world with everything: which exports a component really has is looked up when it is loaded.
    inline: "
        package sawlog:host;
        world everything {
            import sawlog:plugin/host@0.1.0;
            import sawlog:plugin/kernels@0.1.0;
            export sawlog:plugin/lifecycle@0.1.0;
            export sawlog:plugin/transform@0.1.0;
            export sawlog:plugin/transform-records@0.1.0;
            export sawlog:plugin/state@0.1.0;
        }
    ",
    additional_derives: [PartialEq, Clone],
});
