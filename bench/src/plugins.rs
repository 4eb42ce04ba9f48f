//! Row B: records of a level dropped, a field added, e-mail addresses in the message redacted. By WASM plugins, once with a byte loop
//! inside WASM and once with the host's kernels, beside the floor and beside the same steps natively in the same program
//! (`bench/native`), all in turn.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::Options;
use crate::agent::Agent;
use crate::check::{self, Number};
use crate::data::{self, Form};
use crate::measure::{self, Cost};
use crate::rows::{FLOOR_MAX, floor};
use crate::table::Figures;

/// Records come out of here.
pub const LAST: &str = "clean";
/// What an address is, for the host's regular expressions: as the plugin `redact` says it.
const ADDRESS: &str = r"[A-Za-z0-9._%+-]*[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-][A-Za-z0-9.-]*\.[A-Za-z]{2,}";
/// The field that is added, as a member of a row.
const ADDED: &[u8] = b",\"cluster\":\"eu-1\"";

/// Who does the steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steps {
    /// Native code in the place of the plugins.
    Native,
    /// Plugins, of which `redact` looks at every byte itself.
    Within,
    /// Plugins, of which `redact-pattern` has the host look.
    Kernels,
}

const ALL: [Steps; 3] = [Steps::Native, Steps::Within, Steps::Kernels];

impl Steps {
    /// Plugins and transforms of a configuration whose parser is called `parsed`.
    pub fn config(self, plugins: &Path, isolation: &str) -> String {
        let folder = plugins.display();
        let redact = match self {
            Self::Native => return String::new(),
            Self::Within => "redact.wasm\", config: { fields: [message], cards: false }".to_owned(),
            Self::Kernels => format!(
                "redact-pattern.wasm\", allow: [kernels], config: {{ fields: [message], rules: [{{ pattern: '{ADDRESS}', with: \"[email]\" }}] }}"
            ),
        };
        format!(
            "plugins:\n  level: {{ source: \"file:{folder}/level-filter.wasm\", config: {{ at_least: info }}, {isolation} }}\n  \
             redact: {{ source: \"file:{folder}/{redact}, {isolation} }}\n  \
             mark: {{ source: \"file:{folder}/fields.wasm\", config: {{ add: {{ cluster: eu-1 }} }}, {isolation} }}\n\
             {PARSE}  {LAST}: {{ type: wasm, inputs: [parsed], chain: [level, redact, mark] }}\n"
        )
    }

    fn name(self) -> &'static str {
        match self {
            Self::Native => "tail → JSON → drop half, redact e-mails, add a field, natively → file",
            Self::Within => "the same by 3 WASM plugins, a byte loop inside WASM",
            Self::Kernels => "the same by 3 WASM plugins with the host's kernels",
        }
    }
}

const PARSE: &str = "transforms:\n  parsed: { type: parse, inputs: [app], try: [json, text] }\n";

/// The rows, of runs in turn: the floor, then each of the three, another one first each time.
pub fn rows(options: &Options, folder: &Path) -> Result<Vec<Figures>> {
    let input = folder.join("input.log");
    let (records, bytes) = data::write(Form::Json, &input, options.megabytes * 1_000_000)?;
    let (mut floors, mut agents) = (Vec::new(), [const { Vec::new() }; ALL.len()]);
    for run in 0..options.runs {
        let out = folder.join("floor.out");
        floors.push(measure::run(&mut floor(&["floor", "--work", "redact"], &[&input, &out])?, FLOOR_MAX)?);
        check::exactly_once(&out, records, Number::Seq, is_kept).context("the floor's own rows")?;
        fs::remove_file(&out)?;
        for turn in 0..ALL.len() {
            let at = (run + turn) % ALL.len();
            let cost = agent(ALL[at], options, (folder, &input), records);
            agents[at].push(cost.with_context(|| ALL[at].name())?);
        }
    }
    let gigabytes = bytes as f64 / 1e9;
    let mut rows = Vec::new();
    for (steps, costs) in ALL.into_iter().zip(&agents) {
        let mut figures = Figures::beside(steps.name(), bytes, &floors, costs);
        if steps != Steps::Native {
            let native = measure::median(agents[0].iter().map(|cost| cost.cpu_seconds).collect()) / gigabytes;
            figures.note = format!("{:.2} × native, which takes {native:.2}", measure::ratio(&agents[0], costs));
        }
        rows.push(figures);
    }
    Ok(rows)
}

fn agent(steps: Steps, options: &Options, (folder, input): (&Path, &PathBuf), records: u64) -> Result<Cost> {
    let native = steps == Steps::Native;
    let binary = if native { &options.native } else { &options.agent };
    let agent = Agent { binary, folder: folder.join(format!("{steps:?}").to_lowercase()) };
    let sources = format!(
        "sources:\n  app: {{ type: file, include: [\"{}\"], read_from: beginning }}\n{}",
        input.display(),
        if native { PARSE.to_owned() } else { steps.config(&options.plugins, "isolation: none") }
    );
    agent.prepare(&sources, if native { "parsed" } else { LAST })?;
    let cost = agent.until_eof()?;
    check::exactly_once(&agent.output(), records, Number::Seq, is_kept)?;
    check::each_is(&agent.output(), input, records, changed)?;
    fs::remove_dir_all(agent.output())?;
    Ok(cost)
}

/// Whether record `number` is of a level that is kept.
pub fn is_kept(number: u64) -> bool {
    !data::is_debug(number)
}

/// How the row of a record begins, up to what the agent says of it; `None` where it is none of those that are changed.
fn changed(number: u64, line: &[u8]) -> Option<Vec<u8>> {
    if !is_kept(number) || data::is_malformed(number) {
        return None;
    }
    let at = memchr::memmem::find(line, data::ADDRESS.0.as_bytes())?;
    let end = at + memchr::memmem::find(&line[at..], data::ADDRESS.1.as_bytes())? + data::ADDRESS.1.len();
    let parts: [&[u8]; 4] = [&line[..at], b"[email]", &line[end..line.len() - 1], ADDED];
    Some(parts.concat())
}
