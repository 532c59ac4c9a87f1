//! Ctrl-C: the first asks the work to end, the second ends the process.

use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// Exit status of a process that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// From now on an interrupt is noted instead of ending the process.
pub fn listen() {
    let handler = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
    };
    // Only a second handler is refused, and there is one call of this a process.
    let _ = ctrlc::set_handler(handler);
}

/// As if an interrupt had come.
pub fn ask() {
    ASKED.store(true, Ordering::SeqCst);
}

/// Whether an interrupt came.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
