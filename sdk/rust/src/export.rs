//! Macros that make a component of a plugin. What they expand to is small, so that errors in a plugin show in the plugin.

/// Exports a [`Transform`](crate::Transform) as the plugin that this crate is.
#[macro_export]
macro_rules! export_transform {
    ($plugin:ty) => {
        // Natively, in unit tests, there is nobody to export to.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::__lifecycle!(Component, $plugin, transformer);
            $crate::bindings::transformer::export_world!(
                Component with_types_in $crate::bindings::transformer
            );
        };
    };
}

/// Exports a [`Stateful`](crate::Stateful) plugin as the plugin that this crate is.
#[macro_export]
macro_rules! export_stateful {
    ($plugin:ty) => {
        // Natively, in unit tests, there is nobody to export to.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;
            $crate::__lifecycle!(Component, $plugin, stateful);
            impl $crate::bindings::stateful::exports::sawlog::plugin::state::Guest for Component {
                fn snapshot() -> Vec<u8> {
                    with(|plugin| $crate::Stateful::snapshot(plugin))
                }
                fn restore(snapshot: Vec<u8>) -> Result<(), String> {
                    with(|plugin| $crate::Stateful::restore(plugin, &snapshot))
                }
                fn upgrade(version: u32, old: Vec<u8>) -> Result<(), String> {
                    with(|plugin| $crate::Stateful::upgrade(plugin, version, &old))
                }
                fn flush(now: i64) -> Result<Vec<$crate::Emitted>, $crate::bindings::types::Failure> {
                    with(|plugin| $crate::Stateful::flush(plugin, now))
                        .map_err($crate::bindings::types::Failure::Rejected)
                }
            }
    $crate::bindings::stateful::export_world!(Component with_types_in $crate::bindings::stateful);
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __lifecycle {
    ($component:ident, $plugin:ty, $world:ident) => {
        ::std::thread_local! {
            static PLUGIN: ::std::cell::RefCell<Option<$plugin>> = const { ::std::cell::RefCell::new(None) };
        }
        /// The host configures an instance before anything else.
        fn with<T>(call: impl FnOnce(&mut $plugin) -> T) -> T {
            PLUGIN.with_borrow_mut(|plugin| call(plugin.as_mut().expect("configured before anything else")))
        }
        impl $crate::bindings::$world::exports::sawlog::plugin::lifecycle::Guest for $component {
            fn configure(
                json: String,
                files: Vec<(String, Vec<u8>)>,
            ) -> Result<$crate::bindings::types::Registration, String> {
                let config = $crate::Config { json: &json, files: &files };
                let (plugin, registration) = <$plugin as $crate::Transform>::configure(config)?;
                PLUGIN.set(Some(plugin));
                Ok(registration.into())
            }
        }
        impl $crate::bindings::$world::exports::sawlog::plugin::transform::Guest for $component {
            fn process(
                batch: $crate::bindings::types::Batch,
            ) -> Result<$crate::bindings::types::Edits, $crate::bindings::types::Failure> {
                let batch = $crate::Batch::new(&batch);
                let mut edits = $crate::Edits::new(batch.len());
                with(|plugin| $crate::Transform::process(plugin, batch, &mut edits))
                    .map_err($crate::bindings::types::Failure::Rejected)?;
                Ok(edits.into_raw())
            }
        }
    };
}

/// Exports one function as a filter: `keep` sees a [`Row`](crate::Row) with the `columns` in their order.
#[macro_export]
macro_rules! filter {
    ($(#[$doc:meta])* name: $name:expr, columns: [$($column:expr),* $(,)?], keep: $keep:expr $(,)?) => {
        $(#[$doc])*
        pub struct Filter;
        impl $crate::Transform for Filter {
            fn configure(_: $crate::Config<'_>) -> Result<(Self, $crate::Registration), String> {
                let registration = $crate::Registration {
                    name: $name.into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    columns: vec![$($column.into()),*],
                    ..Default::default()
                };
                Ok((Self, registration))
            }
            fn process(&mut self, batch: $crate::Batch<'_>, edits: &mut $crate::Edits) -> Result<(), String> {
                let keep: fn($crate::Row<'_>) -> bool = $keep;
                edits.keep_each(batch.rows().map(keep));
                Ok(())
            }
        }
        $crate::export_transform!(Filter);
    };
}

impl From<crate::Registration> for crate::bindings::types::Registration {
    fn from(own: crate::Registration) -> Self {
        Self {
            name: own.name,
            version: own.version,
            columns: own.columns,
            timestamps: own.timestamps,
            routes: own.routes,
            drop_reasons: own.drop_reasons,
            state_version: own.state_version,
            lateness: own.lateness,
        }
    }
}
