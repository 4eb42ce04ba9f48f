//! World `stateful-transformer`, generated, over the types of `transformer`.

wit_bindgen::generate!({
    path: "../../../../wit/0.1.0",
    world: "stateful-transformer",
    pub_export_macro: true,
    export_macro_name: "export_world",
    default_bindings_module: "sawlog_plugin::bindings::stateful",
    with: {
        "sawlog:plugin/types@0.1.0": sawlog_plugin_transformer::sawlog::plugin::types,
        "sawlog:plugin/host@0.1.0": sawlog_plugin_transformer::sawlog::plugin::host,
        "sawlog:plugin/kernels@0.1.0": sawlog_plugin_transformer::sawlog::plugin::kernels,
    },
    generate_all,
});
