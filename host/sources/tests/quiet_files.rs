//! Ten thousand quiet files cost little: at most 60 MB resident and 1 % of a core, told by the kernel's own figures of
//! this process, which holds nothing else.

#![allow(clippy::unwrap_used)]

use futures_util::FutureExt;
use sawlog_core::identity::Grain;
use sawlog_core::memory::Pool;
use sawlog_core::ports::{ReadLimits, Source, SourceEvent};
use sawlog_sources::file::frame::Framing;
use sawlog_sources::file::options::FileOptions;
use sawlog_sources::file::pattern::Names;
use sawlog_sources::file::source::FileSource;
use sawlog_sources::file::watch::Kernel;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: usize = 10_000;
const LINES: usize = 40;

fn options(folder: &Path) -> FileOptions {
    let include = [format!("{}/*/*.log", folder.display())];
    FileOptions {
        agent_id: "agent".into(),
        source_id: "quiet".into(),
        names: Names::new(&include, &[], &[], Path::new("/var/log/pods")).unwrap(),
        roots: Vec::new(),
        framing: Framing { cri: false, encoding: None, line_bytes_max: 1 << 20, multiline: None },
        from_end: false,
        until_eof: false,
        rotate_wait: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(5),
        poll_interval: Duration::from_millis(500),
        deliver_identical_small: false,
        open_files_max: 512,
        unpacked: Pool::new(1 << 30),
        scratch: folder.to_owned(),
        grain: Grain::DEFAULT,
        boot_id: String::new(),
        pods: "/var/log/pods".into(),
    }
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Time on a core, in ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

fn follow(source: &FileSource, lines: &mut usize, duration: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < duration {
        let Some(event) = source.event().now_or_never() else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let SourceEvent::Available { generation, end } = event else { continue };
        let limits = ReadLimits { bytes_max: 1 << 20, records_max: 10_000 };
        let input = source.read(generation, 0, end, limits).now_or_never().unwrap().unwrap();
        *lines += input.records.len();
        source.trim(generation, end).now_or_never().unwrap();
    }
}

#[test]
fn ten_thousand_quiet_files_cost_little() {
    if std::env::var_os("SAWLOG_TEST_FULL").is_none() {
        println!(
            "NOT RUN: ten_thousand_quiet_files_cost_little: it takes two minutes; `cargo xtask test --full` runs it"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for file in 0..FILES {
        let path = folder.path().join(format!("app{}", file % 100));
        std::fs::create_dir_all(&path).unwrap();
        let line =
            |n| format!("2026-11-24T12:00:00 file {file:05} line {n:03} of an application that has little to say\n");
        std::fs::write(path.join(format!("{file}.log")), (0..LINES).map(line).collect::<String>()).unwrap();
    }
    let before = resident_kib();
    for notices in [true, false] {
        let source = FileSource::new(options(folder.path()), notices.then(Kernel::default)).unwrap();
        source.restore(Vec::new()).now_or_never().unwrap();
        let (mut lines, begun) = (0, Instant::now());
        while lines < FILES * LINES {
            assert!(begun.elapsed() < Duration::from_secs(120), "{lines} lines only: {:?}", source.status());
            follow(&source, &mut lines, Duration::from_millis(50));
        }
        let took = begun.elapsed();
        follow(&source, &mut lines, Duration::from_secs(30));
        let (ticks, measured) = (cpu_ticks(), Instant::now());
        follow(&source, &mut lines, Duration::from_secs(21));
        let percent = (cpu_ticks() - ticks) as f64 / measured.elapsed().as_secs_f64();
        let resident = resident_kib().saturating_sub(before);
        println!(
            "{FILES} files, notices {notices}: read in {took:?}, {resident} KiB more resident, {percent:.2} % of a core, {} open",
            source.status().open_files
        );
        assert_eq!(lines, FILES * LINES);
        assert!(resident <= 60_000, "{resident} KiB for {FILES} quiet files");
        assert!(percent <= 1.0, "{percent:.2} % of a core for {FILES} quiet files");
    }
}
