//! The queue against what it promises, on made-up traffic.

use std::collections::{BTreeSet, HashMap};

use proptest::prelude::*;

use super::*;

const MOST: usize = 40;

/// Something that happens to a queue.
#[derive(Clone, Copy, Debug)]
enum Action {
    Push {
        group: usize,
        rows: usize,
        priority: u8,
        tenant: usize,
        wait_us: Option<u64>,
    },
    Cancel(u64),
    Pass(u64),
    Next,
    Ran,
}

fn action() -> impl Strategy<Value = Action> {
    let push = (0..3_usize, 1..5_usize, 0..=MAX_PRIORITY, 0..3_usize);
    let wait = proptest::option::of(0..3_000_u64);
    let push = (push, wait).prop_map(|((group, rows, priority, tenant), wait_us)| Action::Push {
        group,
        rows,
        priority,
        tenant,
        wait_us,
    });
    prop_oneof![
        4 => push,
        1 => (0..80_u64).prop_map(Action::Cancel),
        2 => (0..2_000_u64).prop_map(Action::Pass),
        3 => Just(Action::Next),
        1 => Just(Action::Ran),
    ]
}

fn group(index: usize) -> Arc<Group> {
    Arc::new(Group {
        shapes: vec![vec![index]],
        outputs: None,
    })
}

fn waiting(id: u64, rows: usize, arrived: Duration) -> Waiting<()> {
    Waiting {
        id,
        group: group(0),
        rows,
        priority: 5,
        tenant: "a".into(),
        arrived,
        deadline: None,
        payload: (),
    }
}

fn learnt() -> Costs {
    let mut costs = Costs::default();
    costs.observe(1, Duration::from_millis(1));
    costs.observe(8, Duration::from_micros(1_200));
    costs
}

/// A queue, and beside it what is known to be in it.
struct Watched {
    queue: Queue<()>,
    batching: Batching,
    inside: HashMap<u64, Waiting<()>>,
    late: BTreeSet<u64>,
    running: usize,
    now: Duration,
    next: u64,
}

impl Watched {
    fn new(batching: Batching) -> Self {
        Self {
            queue: Queue::new(batching.clone(), MOST),
            batching,
            inside: HashMap::new(),
            late: BTreeSet::new(),
            running: 0,
            now: Duration::from_secs(1),
            next: 0,
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Push {
                group: index,
                rows,
                priority,
                tenant,
                wait_us,
            } => {
                let request = Waiting {
                    group: group(index),
                    priority,
                    tenant: format!("tenant {tenant}").into(),
                    deadline: wait_us.map(|wait| self.now + Duration::from_micros(wait)),
                    ..waiting(self.next, rows, self.now)
                };
                self.next += 1;
                let taken = self.queue.push(request.clone()).is_ok();
                assert_eq!(taken, self.inside.len() < MOST);
                if taken {
                    self.inside.insert(request.id, request);
                }
            }
            Action::Cancel(id) => {
                let cancelled = self.queue.cancel(id).map(|waiting| waiting.id);
                assert_eq!(cancelled, self.inside.remove(&id).map(|waiting| waiting.id));
                self.late.remove(&id);
            }
            Action::Pass(micros) => self.now += Duration::from_micros(micros),
            Action::Ran => {
                self.queue.ran();
                self.running = self.running.saturating_sub(1);
            }
            Action::Next => self.next(),
        }
        assert_eq!(self.queue.len(), self.inside.len());
    }

    fn next(&mut self) {
        let now = self.now;
        let is_late = |one: &&Waiting<()>| one.deadline.is_some_and(|deadline| deadline <= now);
        let late: BTreeSet<u64> = self
            .inside
            .values()
            .filter(is_late)
            .map(|one| one.id)
            .collect();
        let expired: BTreeSet<u64> = self.queue.expire(now).iter().map(|one| one.id).collect();
        match self.batching.on_timeout {
            TimeoutAction::Reject => {
                assert_eq!(expired, late);
                self.inside.retain(|id, _| !late.contains(id));
            }
            TimeoutAction::Delay => {
                assert!(expired.is_empty());
                self.late.extend(late);
            }
        }
        match self.queue.next(now, &learnt()) {
            Next::Run(batch) => {
                self.running += 1;
                self.check(&batch);
                for one in batch {
                    assert!(self.inside.remove(&one.id).is_some(), "it was there, once");
                    self.late.remove(&one.id);
                }
            }
            Next::Wait(until) => {
                assert!(
                    until.is_none_or(|until| until > now),
                    "it is not asked again at once"
                );
                let oldest = self.inside.values().map(|one| one.arrived).min();
                let is_held = self.batching.is_ordered && self.running > 0;
                let is_young = oldest.is_none_or(|oldest| now < oldest + self.batching.max_delay);
                assert!(
                    is_held || is_young,
                    "nobody waits for longer than allowed while an engine is free"
                );
            }
        }
    }

    fn check(&self, batch: &[Waiting<()>]) {
        let first = batch.first().expect("a run is of somebody");
        let rows: usize = batch.iter().map(|one| one.rows).sum();
        assert!(rows <= self.batching.max_rows || batch.len() == 1);
        assert!(batch.iter().all(|one| one.group == first.group));
        let highest = self.inside.values().map(|one| one.priority).max();
        assert_eq!(
            Some(first.priority),
            highest,
            "the highest priority goes first"
        );
        assert!(batch.is_sorted_by(|one, two| one.priority >= two.priority));
        if self.batching.is_ordered {
            assert_eq!(self.running, 1, "one run at a time");
        }
        for pair in batch.windows(2) {
            let is_same_line =
                pair[0].tenant == pair[1].tenant && pair[0].priority == pair[1].priority;
            let are_on_time = !self.late.contains(&pair[0].id) && !self.late.contains(&pair[1].id);
            if are_on_time
                && (is_same_line
                    || self.batching.is_ordered && pair[0].priority == pair[1].priority)
            {
                assert!(pair[0].id < pair[1].id, "in the order in which they came");
            }
        }
        // Who is first of a tenant goes before the tenant's others.
        let is_before = |one: &&Waiting<()>| {
            (&one.tenant, one.priority) == (&first.tenant, first.priority)
                && !self.late.contains(&one.id)
        };
        let oldest = self
            .inside
            .values()
            .filter(is_before)
            .map(|one| one.id)
            .min();
        if !self.late.contains(&first.id) {
            assert_eq!(Some(first.id), oldest);
        }
    }
}

fn batching() -> impl Strategy<Value = Batching> {
    let preferred = prop_oneof![Just(Vec::new()), Just(vec![2, 4]), Just(vec![3])];
    (
        1..9_usize,
        0..4_u64,
        preferred,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(max_rows, millis, preferred_rows, is_ordered, is_delayed)| Batching {
                max_rows,
                max_delay: Duration::from_millis(millis),
                preferred_rows,
                is_ordered,
                on_timeout: if is_delayed {
                    TimeoutAction::Delay
                } else {
                    TimeoutAction::Reject
                },
                ..Batching::default()
            },
        )
}

proptest! {
    #[test]
    fn it_keeps_what_it_promises(
        batching in batching(),
        actions in proptest::collection::vec(action(), 1..200),
    ) {
        let mut watched = Watched::new(batching);
        for action in actions {
            watched.act(action);
        }
        // Nobody is forgotten: all that wait run in the end.
        for _ in 0..2 * MOST {
            watched.act(Action::Ran);
            watched.act(Action::Pass(10_000));
            watched.act(Action::Next);
        }
        prop_assert!(watched.inside.is_empty(), "{:?}", watched.inside);
    }

    #[test]
    fn tenants_on_one_priority_get_as_many_rows(
        rows in proptest::collection::vec((0..3_usize, 1..4_usize), 60..90),
    ) {
        let mut queue = Queue::new(Batching { max_rows: 4, ..Batching::default() }, usize::MAX);
        let mut left = [0; 3];
        for (id, (tenant, rows)) in rows.iter().enumerate() {
            left[*tenant] += rows;
            let request = Waiting { tenant: format!("{tenant}").into(), ..waiting(id as u64, *rows, Duration::ZERO) };
            prop_assert!(queue.push(request).is_ok());
        }
        let mut given = [0; 3];
        while let Next::Run(batch) = queue.next(Duration::from_secs(1), &Costs::default()) {
            for one in batch {
                let tenant: usize = one.tenant.parse().unwrap();
                given[tenant] += one.rows;
                left[tenant] -= one.rows;
            }
            // While all have something to run, nobody is ahead by more than a request and what fitted beside others.
            if left.iter().all(|rows| *rows > 0) {
                let ahead = given.iter().max().unwrap() - given.iter().min().unwrap();
                prop_assert!(ahead <= 6, "{given:?}");
            }
        }
        prop_assert_eq!(queue.len(), 0);
    }
}

#[test]
fn it_waits_while_that_pays_and_no_longer() {
    let mut queue = Queue::new(Batching::default(), MOST);
    let micros = |micros| Duration::from_micros(micros);
    for id in 0..16 {
        queue.push(waiting(id, 1, micros(100 * id))).unwrap();
        if id < 15 {
            queue.cancel(id);
        }
    }
    // Requests come every 100 µs, and a second row costs 29 µs of the first's 1,000.
    let now = micros(1_500);
    let Next::Wait(Some(until)) = queue.next(now, &learnt()) else {
        panic!("it would pay to wait")
    };
    assert_eq!(until.as_micros(), 1_500 + 471);
    let again = queue.next(micros(1_700), &learnt());
    assert!(
        matches!(again, Next::Wait(Some(same)) if same == until),
        "{again:?}"
    );
    let Next::Run(batch) = queue.next(until, &learnt()) else {
        panic!("nobody came")
    };
    assert_eq!(batch.len(), 1);
}

#[test]
fn who_waits_alone_runs_at_once() {
    let mut queue = Queue::new(Batching::default(), MOST);
    for second in 1..5 {
        queue
            .push(waiting(second, 1, Duration::from_secs(second)))
            .unwrap();
        let next = queue.next(Duration::from_secs(second), &learnt());
        assert!(
            matches!(next, Next::Run(batch) if batch.len() == 1),
            "requests come once a second"
        );
    }
}

#[test]
fn sizes_that_are_preferred_are_made_or_waited_for() {
    let batching = Batching {
        preferred_rows: vec![2, 4],
        ..Batching::default()
    };
    let mut queue = Queue::new(batching, MOST);
    let now = Duration::from_secs(1);
    (0..5).for_each(|id| queue.push(waiting(id, 1, now)).unwrap());
    let sizes = |next| match next {
        Next::Run(batch) => batch.len(),
        Next::Wait(_) => 0,
    };
    assert_eq!(sizes(queue.next(now, &Costs::default())), 4);
    assert_eq!(sizes(queue.next(now, &Costs::default())), 0);
    let later = now + Duration::from_millis(5);
    assert_eq!(sizes(queue.next(later, &Costs::default())), 1);
}

#[test]
fn a_request_of_more_rows_than_a_run_may_have_runs_alone() {
    let mut queue = Queue::new(Batching::default(), MOST);
    queue.push(waiting(0, 20, Duration::ZERO)).unwrap();
    queue.push(waiting(1, 1, Duration::ZERO)).unwrap();
    let Next::Run(batch) = queue.next(Duration::ZERO, &Costs::default()) else {
        panic!("it runs")
    };
    assert_eq!(batch.iter().map(|one| one.rows).collect::<Vec<_>>(), [20]);
}
