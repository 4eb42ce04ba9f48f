//! Paths that begin with `./` start from the folder of the config; here they become absolute, so that nobody who is handed a
//! config has to know where it came from. It touches no file.

use std::path::{Path, PathBuf};

use sawlog_settings::checked::NameTemplate;
use sawlog_sinks::registry::SinkOptions;
use sawlog_sources::registry::SourceOptions;

use super::validated::Config;

/// Makes every path of the config absolute.
pub fn make_absolute(config: &mut Config) {
    // A config named without a folder lies in the present one.
    let written = if config.folder.as_os_str().is_empty() { Path::new(".") } else { config.folder.as_path() };
    let folder = std::path::absolute(written).unwrap_or_else(|_| config.folder.clone());
    let from_folder = |path: &mut PathBuf| *path = join(&folder, path);
    config.sections.data_dir = join(&folder, &config.sections.data_dir);
    if let Some(tls) = &mut config.sections.api.tls {
        from_folder(&mut tls.cert);
        from_folder(&mut tls.key);
        tls.client_ca.iter_mut().for_each(from_folder);
    }
    config.sections.checkpoint.backup.iter_mut().filter_map(|backup| backup.path.as_mut()).for_each(from_folder);
    config
        .plugins
        .values_mut()
        .flat_map(|plugin| plugin.files.values_mut().chain(&mut plugin.signed_by))
        .for_each(from_folder);
    for source in config.sources.values_mut() {
        match &mut source.options {
            SourceOptions::File(file) => {
                let patterns = file.include.iter_mut().chain(&mut file.exclude).chain(&mut file.rotated);
                patterns.for_each(|pattern| *pattern = text(&folder, pattern));
                file.roots.iter_mut().for_each(from_folder);
            }
            SourceOptions::Http(http) => {
                if let Some(tls) = &mut http.tls {
                    from_folder(&mut tls.cert);
                    from_folder(&mut tls.key);
                    tls.client_ca.iter_mut().for_each(from_folder);
                }
            }
            SourceOptions::Kafka(_) => {}
        }
    }
    for sink in config.sinks.values_mut() {
        if let SinkOptions::File(file) = &mut sink.options
            && file.path.starts_with("./")
        {
            // A folder's name may hold a brace, which a template writes twice.
            let escaped = folder.display().to_string().replace('{', "{{").replace('}', "}}");
            let path = text(Path::new(&escaped), &file.path);
            file.path = NameTemplate::parse(&path).unwrap_or_else(|_| file.path.clone());
        }
    }
    config.folder = folder;
}

/// Textual, because `Path` would drop what a pattern or template says by its form.
fn text(folder: &Path, written: &str) -> String {
    match written.strip_prefix("./") {
        Some(rest) => format!("{}/{rest}", folder.display()),
        None => written.to_owned(),
    }
}

fn join(folder: &Path, path: &Path) -> PathBuf {
    path.strip_prefix(".").map_or_else(|_| folder.join(path), |rest| folder.join(rest))
}
