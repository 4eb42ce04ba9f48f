//! What a process that a plugin runs in gives up before code of the plugin runs in it, for good.
//!
//! Two steps. [`leave`] at once: namespaces of its own, an end with the agent, no file but the stream. [`give_up`] after the code is
//! loaded: limits of memory, no new files, and a filter of system calls that ends the process at the first one beyond reading,
//! writing and memory. Nothing can be mapped executable from then on.

use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::io;

/// Memory beyond that of instances: messages, answers twice, regular expressions, tables; bytes.
const OVERHEAD_BYTES: u64 = 768 << 20;

/// Leaves what the agent has and a plugin needs nothing of. Says why it has no namespaces of its own where it has none: some
/// machines allow none, and the filter of system calls refuses a socket all the same.
pub fn leave() -> io::Result<Option<String>> {
    let without_namespaces = unshare().err().map(|error| error.to_string());
    // After the namespaces: a change of credentials would undo it. Whoever died before this closed the stream.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    limit(Resource::Core, 0)?;
    close_others()?;
    Ok(without_namespaces)
}

/// Gives up everything but reading and writing the stream and memory for instances of `memory_bytes_max` each.
pub fn give_up(memory_bytes_max: usize) -> io::Result<()> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: Vec<u64> = statm.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let (Some(mapped), Some(data)) = (pages.first(), pages.get(5)) else {
        return Err(io::Error::other("/proc/self/statm is not what it was"));
    };
    let page = rustix::param::page_size() as u64;
    let instances = u64::from(super::crew::INSTANCES_MAX).saturating_mul(memory_bytes_max as u64);
    // The address space of instances is mapped by now, and becomes memory as they grow.
    limit(Resource::As, mapped * page + OVERHEAD_BYTES)?;
    limit(Resource::Data, (data * page).saturating_add(OVERHEAD_BYTES).saturating_add(instances))?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Nproc, 0)?;
    limit(Resource::Nofile, 0)?;
    seccompiler::apply_filter_all_threads(&filter().map_err(io::Error::other)?).map_err(io::Error::other)
}

/// Sets a limit so that it can't be raised again. One that is lower already stays.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let lower = |limit: Option<u64>| Some(limit.map_or(most, |limit| limit.min(most)));
    let both = lower(now.maximum);
    Ok(rustix::process::setrlimit(resource, Rlimit { current: both, maximum: both })?)
}

#[allow(unsafe_code, reason = "no safe wrapper of these calls is among the dependencies; see the SAFETY comment")]
fn unshare() -> io::Result<()> {
    let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWNET | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;
    // SAFETY: neither call takes memory of ours, and neither changes what other threads of this process share.
    let done = unsafe { libc::unshare(flags) } == 0 || unsafe { libc::unshare(libc::CLONE_NEWNET) } == 0;
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Closes every file but standard input, whoever opened it.
#[allow(
    unsafe_code,
    reason = "files that nobody in this process knows of have no owner to drop; see the SAFETY comment"
)]
fn close_others() -> io::Result<()> {
    // SAFETY: this process has just begun: nothing in it owns a file, and standard output and error are written through
    // their numbers, which then name nothing.
    let done = unsafe { libc::close_range(1, libc::c_uint::MAX, 0) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// System calls that a plugin's process may make; at any other it ends.
const ALLOWED: [libc::c_long; 24] = [
    libc::SYS_read,
    libc::SYS_write,
    // Memory; `mmap` and `mprotect` below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Locks, and waiting a moment for one.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // A trap of WASM code arrives as a signal.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    // Who and when, and seeds of hash maps.
    libc::SYS_clock_gettime,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getcpu,
    libc::SYS_getrandom,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

fn filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let not_executable = || {
        let executable = SeccompCmpOp::MaskedEq(libc::PROT_EXEC as u64);
        SeccompRule::new(vec![SeccompCondition::new(2, SeccompCmpArgLen::Dword, executable, 0)?])
    };
    let itself = u64::from(std::process::id());
    let to_itself = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, itself)?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_mmap, vec![not_executable()?]);
    rules.insert(libc::SYS_mprotect, vec![not_executable()?]);
    // How a process gives up.
    rules.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![to_itself])?]);
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}
