//! Replaces what patterns match, with the host's own regular expressions over whole columns: native speed, no byte of the
//! column crosses but the changed rows.

use sawlog_plugin::kernels::{Pattern, replace};
use sawlog_plugin::{Batch, Config, Edits, Registration, Transform};
use serde::Deserialize;

#[derive(Deserialize)]
struct Rule {
    pattern: String,
    with: String,
}

#[derive(Deserialize)]
struct Settings {
    #[serde(default = "body")]
    fields: Vec<String>,
    rules: Vec<Rule>,
}

fn body() -> Vec<String> {
    vec!["body".into()]
}

/// The plugin.
pub struct RedactPattern {
    fields: usize,
    rules: Vec<(Pattern, String)>,
}

impl Transform for RedactPattern {
    fn configure(config: Config<'_>) -> Result<(Self, Registration), String> {
        let settings: Settings = config.parse()?;
        let compile = |rule: Rule| match Pattern::new(&rule.pattern) {
            Ok(pattern) => Ok((pattern, rule.with)),
            Err(e) => Err(format!("pattern {:?}: {e}", rule.pattern)),
        };
        let rules = settings.rules.into_iter().map(compile).collect::<Result<_, _>>()?;
        let fields = settings.fields.len();
        let registration = Registration {
            name: "redact-pattern".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            columns: settings.fields,
            ..Default::default()
        };
        Ok((Self { fields, rules }, registration))
    }

    fn process(&mut self, _: Batch<'_>, edits: &mut Edits) -> Result<(), String> {
        for update in (0..self.fields).filter_map(|column| replace(&self.rules, column)) {
            edits.update_raw(update);
        }
        Ok(())
    }
}

sawlog_plugin::export_transform!(RedactPattern);
