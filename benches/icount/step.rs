//! Counts instructions by stepping a process one at a time: exact, whatever the instructions are, and where no performance counter is.
//!
//! Decides: which steps belong to which count: those between two stops that the process makes itself. Given: a body that marks what it wants counted, or another
//! program that stops itself likewise. Refuses: time, threads, and anything but Linux. A system call is one instruction.
//!
//! JUSTIFICATION: valgrind cannot run AVX-512 and SHA code and virtual machines hide the counters; ptrace and fork are only there as raw calls.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// What a body marks with.
#[derive(Debug)]
pub struct Marks(());

impl Marks {
    /// Counts the instructions of `run`.
    pub fn counted<T>(&mut self, run: impl FnOnce() -> T) -> T {
        stop();
        let value = run();
        stop();
        value
    }
}

/// Stops this process until its tracer lets it go on.
fn stop() {
    // SAFETY: raising a signal in the own process touches no memory of it.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// Has the kernel give out the same addresses in every run, from the next `exec` on: copies may take other ways at other alignments.
pub fn fix_addresses() -> bool {
    // SAFETY: takes numbers only; a kernel that refuses changes nothing.
    unsafe { libc::personality(libc::ADDR_NO_RANDOMIZE as libc::c_ulong) >= 0 }
}

/// Runs `body` in a child and returns the instructions of each marked part, in order; what the marks themselves take is taken off.
pub fn count(body: impl FnOnce(&mut Marks)) -> io::Result<Vec<u64>> {
    // SAFETY: this process has one thread, so the child is a whole copy of it; it leaves by `_exit` and never returns from here.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                // SAFETY: asks to be traced by the parent; no pointer is read.
                if unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) } == 0 {
                    let mut marks = Marks(());
                    // The price of the marks, twice: the first stop binds what is bound late.
                    marks.counted(|| ());
                    marks.counted(|| ());
                    body(&mut marks);
                }
            }));
            // SAFETY: ends the child at once, without running what the parent left to be run at exit.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        child => child,
    };
    let mut counts = follow(child)?;
    if counts.len() < 2 {
        return Err(io::Error::other("the child was not traced: is ptrace forbidden here?"));
    }
    let price = counts[1];
    Ok(counts.drain(2..).map(|count| count.saturating_sub(price)).collect())
}

/// As [`count`], of another program that stops itself (SIGSTOP) before and behind each part; the first part must be empty.
pub fn count_command(command: &mut Command) -> io::Result<Vec<u64>> {
    // SAFETY: between fork and exec the child makes one system call that reads no memory.
    unsafe {
        command.pre_exec(|| match libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
    let child = command.spawn()?;
    let mut counts = follow(child.id() as libc::pid_t)?;
    if counts.is_empty() {
        return Err(io::Error::other("the program marked nothing"));
    }
    let price = counts[0];
    Ok(counts.drain(1..).map(|count| count.saturating_sub(price)).collect())
}

/// Lets `child` run to its end, counting its steps between an odd stop and the next even one.
fn follow(child: libc::pid_t) -> io::Result<Vec<u64>> {
    let mut counts = Vec::new();
    let mut counting: Option<u64> = None;
    loop {
        let mut status = 0;
        // SAFETY: `status` is a place for the answer.
        if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFSTOPPED(status) {
            let well = libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0;
            return if well { Ok(counts) } else { Err(io::Error::other("the counted process failed")) };
        }
        // A signal that is none of ours is passed on.
        let mut pass_on = 0;
        match libc::WSTOPSIG(status) {
            libc::SIGTRAP => counting = counting.map(|steps| steps + 1),
            libc::SIGSTOP => match counting.take() {
                Some(steps) => counts.push(steps),
                None => counting = Some(0),
            },
            other => pass_on = other,
        }
        let request = if counting.is_some() { libc::PTRACE_SINGLESTEP } else { libc::PTRACE_CONT };
        // SAFETY: `child` is stopped and traced by us; address and data are numbers.
        if unsafe { libc::ptrace(request, child, 0, pass_on) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
}
