//! Which edges of our crates an input went through, and which values they compared.
//!
//! Given: the counters and calls that LLVM's SanitizerCoverage pass puts into the crates that `fuzz/rustc.sh` compiles (both flags are stable). Decides:
//! whether an input did something new. Refuses: to count this runner, the dependencies and the standard library, which are compiled without the pass.
//!
//! JUSTIFICATION: the pass hands out raw pointers, and there is no other way to read its counters on a stable compiler. Guided by them, a minute finds what
//! hours of blind mutation do not.

use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering::Relaxed};

static START: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// Values that differed in a comparison, the latest ones.
static COMPARED: [(AtomicU64, AtomicU64); COMPARED_MAX] = [const { (AtomicU64::new(0), AtomicU64::new(0)) }; COMPARED_MAX];
static COMPARISONS: AtomicUsize = AtomicUsize::new(0);
/// One frame's worth of branches; older ones are of less use than newer ones.
const COMPARED_MAX: usize = 1_024;

/// The edges seen since the start, each with the classes of its counts.
pub struct Coverage {
    seen: Vec<u8>,
    counters: &'static mut [u8],
}

impl Coverage {
    /// Takes the counters of this process; there is one taker.
    pub fn take() -> Self {
        let (start, bytes) = (START.swap(std::ptr::null_mut(), Relaxed), BYTES.load(Relaxed));
        assert!(!start.is_null(), "no counters: this binary was not compiled by fuzz/rustc.sh, or they were taken before");
        // SAFETY: start and length are those of one section of this binary, as the pass told before main; it lives as long as the process, u8 has no invalid
        // value, and START is taken once, so there is no second slice. Instrumented code writes to it only inside of a fuzz body, on this thread or on one
        // that the body has joined, never while `count` reads.
        let counters = unsafe { std::slice::from_raw_parts_mut(start, bytes) };
        Self { seen: vec![0; counters.len()], counters }
    }

    /// Forgets what was seen: everything is new again.
    pub fn forget(&mut self) {
        self.seen.fill(0);
    }

    /// Before each run.
    pub fn clear(&mut self) {
        self.counters.fill(0);
        COMPARISONS.store(0, Relaxed);
    }

    /// Whether something ran since `clear` that never ran before, or never that often.
    pub fn is_new(&mut self) -> bool {
        let mut is_new = false;
        for (counts, seen) in self.counters.chunks(64).zip(self.seen.chunks_mut(64)) {
            if counts.iter().fold(0, |all, &count| all | count) == 0 {
                continue;
            }
            for (&count, seen) in counts.iter().zip(seen) {
                let class = class(count);
                is_new |= *seen & class != class;
                *seen |= class;
            }
        }
        is_new
    }

    /// Edges that ran at least once, and edges there are.
    pub fn edges(&self) -> (usize, usize) {
        (self.seen.iter().filter(|&&seen| seen != 0).count(), self.seen.len())
    }

    /// One of the latest pairs of values that were compared and differed; `pick` chooses.
    pub fn compared(&self, pick: usize) -> Option<(u64, u64)> {
        let count = COMPARISONS.load(Relaxed).min(COMPARED_MAX);
        let (a, b) = &COMPARED[pick.checked_rem(count)?];
        Some((a.load(Relaxed), b.load(Relaxed)))
    }
}

/// Counts that mean the same: one, two, three, a few, many.
fn class(count: u8) -> u8 {
    match count {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        _ => 128,
    }
}

fn compare(a: u64, b: u64) {
    if a != b {
        let at = COMPARISONS.fetch_add(1, Relaxed) % COMPARED_MAX;
        COMPARED[at].0.store(a, Relaxed);
        COMPARED[at].1.store(b, Relaxed);
    }
}

/// Told before main, by each unit of code, where the counters of the whole binary lie.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, end: *mut u8) {
    START.store(start, Relaxed);
    BYTES.store(end as usize - start as usize, Relaxed);
}

macro_rules! comparisons {
    ($($name:ident: $type:ty),*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(a: $type, b: $type) {
            compare(u64::from(a), u64::from(b));
        }
    )*};
}

comparisons!(
    __sanitizer_cov_trace_cmp1: u8, __sanitizer_cov_trace_cmp2: u16, __sanitizer_cov_trace_cmp4: u32, __sanitizer_cov_trace_cmp8: u64,
    __sanitizer_cov_trace_const_cmp1: u8, __sanitizer_cov_trace_const_cmp2: u16, __sanitizer_cov_trace_const_cmp4: u32,
    __sanitizer_cov_trace_const_cmp8: u64
);

/// A `match` on a number: the cases it might have been.
///
/// # Safety
///
/// `cases` points to a count, a width, and that many values; only code made by the pass calls this.
#[unsafe(no_mangle)]
unsafe extern "C" fn __sanitizer_cov_trace_switch(value: u64, cases: *const u64) {
    // SAFETY: the layout is that of the pass: count, bits of the value, values.
    let cases = unsafe { std::slice::from_raw_parts(cases.add(2), *cases as usize) };
    cases.iter().take(16).for_each(|&case| compare(value, case));
}
