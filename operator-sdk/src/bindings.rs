//! What wit-bindgen makes of `wit/`, on the types of `columns`.
//!
//! The worlds of `wit/` are taken apart into what all kinds share and what each kind adds: wit-bindgen exports a macro
//! for each interface, so a crate can generate `lifecycle` once only. When a component is linked, the halves that its
//! operator exports are put together again.

/// The life cycle, and the imports that all kinds share.
pub mod lifecycle {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world lifecycle {
                import dirigo:operator/host@0.2.0;
                export dirigo:operator/lifecycle@0.2.0;
            }
        ",
        with: { "dirigo:operator/types@0.2.0": crate::columns },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "dirigo_operator::bindings::lifecycle",
    });
}

/// What the kind `map` adds.
pub mod map {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world mapping {
                export dirigo:operator/%map@0.2.0;
            }
        ",
        with: { "dirigo:operator/types@0.2.0": crate::columns },
        pub_export_macro: true,
        export_macro_name: "export_map",
        default_bindings_module: "dirigo_operator::bindings::map",
    });
}

/// What the kind `filter` adds.
pub mod filter {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world filtering {
                export dirigo:operator/filter@0.2.0;
            }
        ",
        with: { "dirigo:operator/types@0.2.0": crate::columns },
        pub_export_macro: true,
        export_macro_name: "export_filter",
        default_bindings_module: "dirigo_operator::bindings::filter",
    });
}

/// How a reduce lays out what it keeps.
pub mod state {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world stating {
                export dirigo:operator/state@0.2.0;
            }
        ",
        pub_export_macro: true,
        export_macro_name: "export_state",
        default_bindings_module: "dirigo_operator::bindings::state",
    });
}

/// What settings an operator has.
pub mod settings {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world setting {
                export dirigo:operator/settings@0.2.0;
            }
        ",
        pub_export_macro: true,
        export_macro_name: "export_settings",
        default_bindings_module: "dirigo_operator::bindings::settings",
    });
}

/// What the kind `reduce` adds, with what it says of merging.
pub mod reduce {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world reducing {
                export dirigo:operator/reduce@0.2.0;
                export dirigo:operator/merging@0.2.0;
            }
        ",
        with: { "dirigo:operator/types@0.2.0": crate::columns },
        pub_export_macro: true,
        export_macro_name: "export_reduce",
        default_bindings_module: "dirigo_operator::bindings::reduce",
    });
}

/// What the kind `process` adds, with its named outputs.
pub mod process {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world processing {
                export dirigo:operator/process@0.2.0;
                export dirigo:operator/named-outputs@0.2.0;
            }
        ",
        with: { "dirigo:operator/types@0.2.0": crate::columns },
        pub_export_macro: true,
        export_macro_name: "export_process",
        default_bindings_module: "dirigo_operator::bindings::process",
    });
}

/// What a process keeps besides its state.
pub mod items {
    wit_bindgen::generate!({
        path: "../wit",
        inline: "
            package dirigo:sdk;
            world keeping {
                import dirigo:operator/items@0.2.0;
            }
        ",
        generate_all,
    });
}
