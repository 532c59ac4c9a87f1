//! Every piece once, whoever does it; panics, parking and the times that are recorded.

use std::sync::atomic::AtomicUsize;

use super::*;

/// Counts how often each of `count` numbers comes.
struct Tally(Vec<AtomicUsize>);

impl Tally {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| AtomicUsize::new(0)).collect())
    }

    fn add(&self, number: usize) {
        self.0[number].fetch_add(1, Ordering::Relaxed);
    }

    #[track_caller]
    fn assert_each_once(&self) {
        let counts: Vec<usize> = self.0.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert!(counts.iter().all(|&count| count == 1), "{counts:?}");
    }
}

#[test]
fn every_worker_runs_once() {
    for threads in 1..5 {
        let pool = Pool::new(threads);
        for _ in 0..200 {
            let tally = Tally::new(threads);
            pool.run(|worker| tally.add(worker));
            tally.assert_each_once();
        }
    }
}

#[test]
fn everything_is_divided_once() {
    for threads in 1..5 {
        let pool = Pool::new(threads);
        for count in [0, 1, 2, 3, 7, 64, 1000] {
            for pieces in [1, 2, 5, 16] {
                let tally = Tally::new(count);
                pool.divide(count, pieces, |range| range.for_each(|at| tally.add(at)));
                tally.assert_each_once();
                let tally = Tally::new(count);
                pool.each(count, |at| tally.add(at));
                tally.assert_each_once();
            }
        }
    }
}

#[test]
fn more_numbers_than_one_task_can_count_are_divided_too() {
    let pool = Pool::new(2);
    let count = (2 << COUNT_BITS) + 3;
    let tally = Tally::new(count);
    pool.each(count, |at| tally.add(at));
    tally.assert_each_once();
}

#[test]
fn tasks_of_all_kinds_follow_one_another() {
    let pool = Pool::new(3);
    for round in 0..3000 {
        let tally = Tally::new(40);
        match round % 3 {
            0 => pool.divide(40, 1 + round % 7, |range| {
                range.for_each(|at| tally.add(at));
            }),
            1 => pool.each(40, |at| tally.add(at)),
            _ => pool.run(|worker| share_of(40, worker, 3).for_each(|at| tally.add(at))),
        }
        tally.assert_each_once();
    }
}

/// Workers that sleep come too late for a moment's work.
#[test]
fn nobody_is_waited_for_who_has_not_come() {
    let pool = Pool::new(3);
    let caller = thread::current().id();
    for pieces in [1, 4] {
        let was_alone = (0..1000).any(|_| {
            let parks = pool.parks();
            pool.run(|_| ());
            wait_for_parks(&pool, parks + 2);
            let others = AtomicUsize::new(0);
            pool.divide(3, pieces, |_| {
                if thread::current().id() != caller {
                    others.fetch_add(1, Ordering::Relaxed);
                }
            });
            others.into_inner() == 0
        });
        assert!(was_alone, "workers were always waited for");
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_survives() {
    let pool = Pool::new(3);
    for bad in 0..3 {
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.run(|worker| assert!(worker != bad, "worker {worker} fails on purpose"));
        }));
        assert!(result.is_err());
        let tally = Tally::new(30);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.divide(30, 5, |range| {
                range.clone().for_each(|at| tally.add(at));
                assert!(!range.contains(&(bad * 10)), "{range:?} fails on purpose");
            });
        }));
        assert!(result.is_err());
        tally.assert_each_once();
    }
    let sum = AtomicUsize::new(0);
    pool.run(|worker| {
        sum.fetch_add(worker, Ordering::Relaxed);
    });
    assert_eq!(sum.into_inner(), 3);
}

fn wait_for_parks(pool: &Pool, count: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while pool.parks() < count {
        assert!(Instant::now() < deadline, "an idle worker never parked");
        thread::yield_now();
    }
}

#[test]
fn parked_workers_wake_up() {
    let pool = Pool::new(2);
    for round in 1..50 {
        wait_for_parks(&pool, round);
        let ran = AtomicUsize::new(0);
        pool.run(|_| {
            ran.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(ran.into_inner(), 2);
    }
}

/// A caller that waits longer than it spins is woken by the last piece.
#[test]
fn a_parked_caller_wakes_up() {
    let pool = Pool::new(2);
    for _ in 0..20 {
        pool.run(|worker| {
            if worker == 1 {
                let until = Instant::now() + JOIN_SPIN * 20;
                while Instant::now() < until {}
            }
        });
    }
}

/// Nanoseconds of processor time that the threads of this process have used, as Linux counts them.
#[cfg(target_os = "linux")]
fn worker_nanoseconds() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let used = threads.flatten().filter_map(|thread| {
        let read = |name| std::fs::read_to_string(thread.path().join(name)).ok();
        let is_worker = read("comm")?.starts_with("carnot-worker");
        let used = read("schedstat")?.split(' ').next()?.parse::<u64>().ok()?;
        is_worker.then_some(used)
    });
    used.sum()
}

#[test]
#[cfg(target_os = "linux")]
fn idle_workers_use_no_processor_time() {
    let pool = Pool::new(4);
    pool.run(|_| ());
    thread::sleep(Duration::from_millis(50));
    let before = worker_nanoseconds();
    thread::sleep(Duration::from_millis(200));
    let used = Duration::from_nanos(worker_nanoseconds() - before);
    // Other tests of this process may run at the same time where tests share one, each with workers of its own.
    if std::env::var_os("NEXTEST").is_some() {
        assert!(used < Duration::from_millis(1), "{used:?}");
    }
    assert!(pool.parks() >= 3, "all three have parked");
}

#[test]
fn busy_times_are_recorded_when_asked_for() {
    let pool = Pool::new(2);
    pool.run(|_| ());
    assert_eq!(pool.busy(1), Busy::default());
    pool.set_timing(true);
    pool.run(|_| ());
    let busy = pool.busy(1);
    assert!(busy.start > 0 && busy.start <= busy.end && pool.own_end() > 0);
    for _ in 0..1000 {
        let begin = ticks();
        pool.divide(8, 2, |_| ());
        let busy = pool.busy(1);
        assert!(begin <= busy.start && busy.start <= busy.end, "{busy:?}");
    }
}

#[test]
fn shares_cover_everything_once() {
    for count in [0, 1, 7, 64, 1000] {
        for workers in 1..9 {
            let all: Vec<usize> = (0..workers)
                .flat_map(|worker| share_of(count, worker, workers))
                .collect();
            assert_eq!(all, (0..count).collect::<Vec<_>>());
        }
    }
}
