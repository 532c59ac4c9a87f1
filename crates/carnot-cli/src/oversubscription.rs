//! What more threads than cores cost: said before a run that asks for them.

use std::time::Duration;

use carnot_kernels::InstructionSet;
use carnot_kernels::ceiling::relative_speed;
use carnot_samplers::cores;

/// What more threads than cores do to the speed, measured in a fifth of a second; `None` where there are no more.
pub fn warning(threads: usize, set: InstructionSet) -> Option<String> {
    const TIME: Duration = Duration::from_millis(20);
    let cores = cores::usable();
    (threads > cores).then(|| {
        let speed = relative_speed(set, (threads, cores), TIME, 5);
        format!(
            "{threads} threads on {cores} core{} wait for one another: measured {speed:.2} × the speed of {cores}",
            if cores == 1 { "" } else { "s" }
        )
    })
}
