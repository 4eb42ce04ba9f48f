//! World `transformer` and the types that all worlds share, generated. A crate of its own because the generated export
//! macros live at the root of their crate, and two worlds would clash there.

wit_bindgen::generate!({
    path: "../../../../wit/0.1.0",
    world: "transformer",
    pub_export_macro: true,
    export_macro_name: "export_world",
    default_bindings_module: "sawlog_plugin::bindings::transformer",
    generate_all,
    additional_derives: [PartialEq, Clone],
});
