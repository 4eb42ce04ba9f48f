//! How much of the program itself is resident. A start runs through half of it, and each page that is touched brings its neighbours
//! along; what runs from then on is a small part. The rest is let go: whatever is needed again comes back from the page cache.
#![allow(unsafe_code)]

use std::time::Duration;

use rustix::mm::{Advice, madvise};

use super::runtime;

/// The start is over by then.
const FIRST: Duration = Duration::from_secs(2);
/// A reload, or a plugin that is compiled, runs through much of the program again.
const EVERY: Duration = Duration::from_secs(60);

/// Lets pages of the program go again and again.
pub async fn keep_few() {
    tokio::time::sleep(FIRST).await;
    loop {
        if let Err(error) = runtime::aside(let_go).await.flatten() {
            tracing::debug!(%error, "pages of the program stay resident");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Lets all pages of the program's code and constants go that are as they are in its file.
fn let_go() -> std::io::Result<()> {
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    for (start, bytes) in unchanged(&maps, let_go as *const () as usize) {
        // SAFETY: these addresses belong to the executable as long as the process lives, nobody writes to them, and no page of them
        // differs from the file: reading one brings the same bytes back.
        unsafe { madvise(std::ptr::without_provenance_mut(start), bytes, Advice::LinuxDontNeed)? };
    }
    Ok(())
}

/// A line of `smaps` that begins a mapping.
struct Mapping<'a> {
    start: usize,
    end: usize,
    is_constant: bool,
    path: &'a str,
}

impl<'a> Mapping<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        let (start, end, rights) = (address(start)?, address(end)?, words.next()?);
        let path = line.find('/').map_or("", |at| &line[at..]);
        Some(Self {
            start,
            end,
            is_constant: rights.starts_with('r') && rights.ends_with("p") && !rights.contains('w'),
            path,
        })
    }
}

/// Start and size of the mappings of that file which holds the address `code`, where they can't be written to and hold no page of the
/// process's own: a debugger's breakpoint, or an address that the loader has mended.
fn unchanged(maps: &str, code: usize) -> Vec<(usize, usize)> {
    let mut mappings: Vec<(Mapping<'_>, bool)> = Vec::new();
    for line in maps.lines() {
        if let Some(mapping) = Mapping::parse(line) {
            mappings.push((mapping, false));
        } else if let (Some((_, is_unchanged)), Some(size)) = (mappings.last_mut(), line.strip_prefix("Anonymous:")) {
            *is_unchanged = size.trim() == "0 kB";
        }
    }
    let own = mappings.iter().find(|(mapping, _)| (mapping.start..mapping.end).contains(&code));
    let Some(path) = own.map(|(mapping, _)| mapping.path).filter(|path| !path.is_empty()) else { return Vec::new() };
    let constant = mappings.iter().filter(|(m, is_unchanged)| m.path == path && m.is_constant && *is_unchanged);
    constant.map(|(mapping, _)| (mapping.start, mapping.end - mapping.start)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MAPS: &str = "\
1000-3000 r--p 00000000 fe:00 12 /opt/saw log
Rss:                   8 kB
Anonymous:             0 kB
3000-9000 r-xp 00002000 fe:00 12 /opt/saw log
Rss:                  24 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
9000-a000 r--p 00008000 fe:00 12 /opt/saw log
Anonymous:             4 kB
a000-b000 rw-p 00009000 fe:00 12 /opt/saw log
Anonymous:             0 kB
b000-c000 rw-p 00000000 00:00 0
Anonymous:             0 kB
c000-d000 r-xp 00000000 fe:00 13 /lib/libc.so.6
Anonymous:             0 kB
";

    #[test]
    fn only_what_of_the_program_itself_is_as_in_its_file_is_let_go() {
        assert_eq!(unchanged(MAPS, 0x3004), [(0x1000, 0x2000), (0x3000, 0x6000)]);
        assert_eq!(unchanged(MAPS, 0xc000), [(0xc000, 0x1000)]);
        assert!(unchanged(MAPS, 0xb000).is_empty() && unchanged(MAPS, 0xf000).is_empty());
        let touched = MAPS.replace("24 kB\nAnonymous:             0", "24 kB\nAnonymous:             4");
        assert_eq!(unchanged(&touched, 0x3004), [(0x1000, 0x2000)]);
    }

    #[test]
    fn the_program_goes_on_with_fewer_pages() {
        let resident = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let code = let_go as *const () as usize;
            let own = maps.lines().skip_while(|line| {
                !Mapping::parse(line).is_some_and(|mapping| (mapping.start..mapping.end).contains(&code))
            });
            let size = own.take(12).find_map(|line| line.strip_prefix("Rss:")).unwrap().trim().strip_suffix(" kB");
            size.unwrap().parse::<u64>().unwrap()
        };
        let before = resident();
        let_go().unwrap();
        assert!(resident() < before);
    }
}
