//! The scheduler under traffic, with a formula for the model and a number for the clock.

use std::sync::Arc;
use std::time::Duration;

use carnot_llm::scheduler::{Dropped, Job, Policy};
use carnot_llm::simulator::{Arrival, Costs, Simulator, Story};

/// About a model of a billion weights on two cores.
const COSTS: Costs = Costs {
    step: Duration::from_millis(30),
    decode: Duration::from_micros(500),
    prompt: Duration::from_millis(4),
};

/// Numbers from 0 to 1 that are the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() * end as f64) as usize
    }
}

fn prompt(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32)
        .map(|at| seed.wrapping_mul(31_337).wrapping_add(at))
        .collect()
}

fn arrival(at: Duration, seed: u32, (length, max_tokens): (usize, usize), priority: u8) -> Arrival {
    Arrival {
        at,
        job: Job {
            prompt: prompt(seed, length),
            max_tokens,
            priority,
            ..Job::default()
        },
        cancelled_at: None,
    }
}

fn quantile(mut values: Vec<Duration>, share: f64) -> Duration {
    values.sort_unstable();
    values[((values.len() - 1) as f64 * share) as usize]
}

fn first_tokens<'a>(stories: impl IntoIterator<Item = &'a Story>) -> Vec<Duration> {
    stories
        .into_iter()
        .filter_map(Story::time_to_first_token)
        .collect()
}

/// 100,000 requests of three tenants, with shared beginnings, priorities, deadlines and cancellations, on too small a machine.
#[test]
fn a_day_of_traffic_ends_with_every_block_free() {
    let mut random = Random(1);
    let mut at = Duration::ZERO;
    let arrivals: Vec<Arrival> = (0..100_000)
        .map(|_| {
            at += Duration::from_secs_f64(-0.020 * random.next().max(1e-9).ln());
            let mut tokens = prompt(random.below(4) as u32, 64 * random.below(4));
            tokens.extend(prompt(
                100 + random.below(1_000_000) as u32,
                1 + random.below(40),
            ));
            let mut sometimes = |share, most: f64| {
                (random.next() < share).then(|| at + Duration::from_secs_f64(most * random.next()))
            };
            let (deadline, cancelled_at) = (sometimes(0.5, 60.0), sometimes(0.05, 10.0));
            Arrival {
                at,
                job: Job {
                    prompt: tokens,
                    max_tokens: random.below(20),
                    tenant: ["a", "b", "c"][random.below(3)].into(),
                    priority: random.below(11) as u8,
                    deadline,
                    is_whole: false,
                },
                cancelled_at,
            }
        })
        .collect();
    let costs = Costs {
        step: Duration::from_millis(10),
        decode: Duration::from_micros(200),
        prompt: Duration::from_micros(200),
    };
    let mut simulator = Simulator::new(Policy::default(), 120, costs);
    let mut steps = 0_u64;
    let stories = simulator.run(arrivals, |simulator| {
        steps += 1;
        if steps.is_multiple_of(1000) {
            simulator.scheduler.check_integrity();
        }
    });
    assert_eq!(stories.len(), 100_000);
    assert!(
        stories.iter().all(|story| story.ended >= story.arrived),
        "all have ended"
    );
    let dropped = |why| {
        stories
            .iter()
            .filter(|story| story.dropped == Some(why))
            .count()
    };
    assert!(
        dropped(Dropped::Cancelled) > 1000 && dropped(Dropped::Late) > 1000,
        "the machine is too small"
    );
    assert!(simulator.scheduler.census().preemptions > 100);
    simulator.scheduler.check_integrity();
    simulator.scheduler.flush();
    assert_eq!(simulator.scheduler.census().free_blocks, 120);
}

/// Twice as much as the machine can do, most of it with a high priority.
#[test]
fn nothing_starves_under_a_flood_of_higher_priorities() {
    let policy = Policy {
        max_running: 4,
        ageing: Duration::from_secs(10),
        ..Policy::default()
    };
    let mut arrivals = vec![arrival(Duration::from_secs(5), 7, (32, 8), 0)];
    arrivals.extend((0..2000).map(|index| {
        arrival(
            Duration::from_millis(100 * u64::from(index)),
            100 + index,
            (32, 8),
            9,
        )
    }));
    arrivals.sort_by_key(|arrival| arrival.at);
    let lowest = arrivals
        .iter()
        .position(|arrival| arrival.job.priority == 0)
        .unwrap();
    let stories = Simulator::new(policy, 400, COSTS).run(arrivals, |_| ());
    let waited = stories[lowest].time_to_first_token().unwrap();
    // Ten levels of ten seconds make it equal, and then it is the oldest.
    assert!(
        waited > Duration::from_secs(10) && waited < Duration::from_secs(110),
        "{waited:?}"
    );
}

/// A tenant that asks for ten times as much gets no more than its share while another waits.
#[test]
fn a_greedy_tenant_does_not_slow_a_meek_one() {
    let policy = Policy {
        max_running: 4,
        ..Policy::default()
    };
    let of = |tenant: &str, at: u64, seed: u32| {
        let mut arrival = arrival(Duration::from_millis(at), seed, (64, 16), 5);
        arrival.job.tenant = Arc::from(tenant);
        arrival
    };
    let mut arrivals: Vec<Arrival> = (0..600).map(|index| of("greedy", 0, index)).collect();
    arrivals.extend((0..60).map(|index| of("meek", 2000 * u64::from(index), 10_000 + index)));
    arrivals.sort_by_key(|arrival| arrival.at);
    let is_meek: Vec<bool> = arrivals
        .iter()
        .map(|arrival| &*arrival.job.tenant == "meek")
        .collect();
    let stories = Simulator::new(policy, 400, COSTS).run(arrivals, |_| ());
    let of = |meek| {
        stories
            .iter()
            .zip(&is_meek)
            .filter(move |(_, is)| **is == meek)
            .map(|(story, _)| story)
    };
    let meek = quantile(first_tokens(of(true)), 0.9);
    let greedy = quantile(first_tokens(of(false)), 0.5);
    assert!(meek < Duration::from_secs(3), "{meek:?}");
    assert!(greedy > 10 * meek, "{greedy:?} against {meek:?}");
}

/// Sequences that together want four times the memory.
#[test]
fn a_storm_of_preemptions_comes_to_an_end() {
    for prefix_cache in [true, false] {
        let policy = Policy {
            prefix_cache,
            ..Policy::default()
        };
        let arrivals: Vec<Arrival> = (0..64)
            .map(|index| arrival(Duration::ZERO, index, (100, 300), 5))
            .collect();
        let mut simulator = Simulator::new(policy, 100, COSTS);
        let stories = simulator.run(arrivals, |simulator| simulator.scheduler.check_integrity());
        assert!(
            stories
                .iter()
                .all(|story| story.tokens == 300 && story.dropped.is_none())
        );
        let census = simulator.scheduler.census();
        assert!(census.preemptions > 0, "{census:?}");
        let worst = stories
            .iter()
            .map(|story| story.account.preemptions)
            .max()
            .unwrap();
        assert!(worst <= 8, "no sequence makes room all the time: {worst}");
        let again: usize = stories.iter().map(|story| story.account.recomputed).sum();
        assert!(again < 64 * 400 / 2, "{again} tokens computed again");
    }
}

/// Streams run, and a prompt of 4,000 tokens arrives.
#[test]
fn a_long_prompt_does_not_stop_the_streams() {
    let streams = (0..8).map(|index| arrival(Duration::ZERO, index, (40, 400), 5));
    let undisturbed: Vec<Arrival> = streams.clone().collect();
    let mut disturbed = undisturbed.clone();
    disturbed.push(arrival(Duration::from_secs(4), 99, (4000, 8), 5));
    let gap = |arrivals| {
        let stories = Simulator::new(Policy::default(), 600, COSTS).run(arrivals, |_| ());
        let of_streams = stories[..8]
            .iter()
            .map(|story| story.longest_gap)
            .max()
            .unwrap();
        (
            of_streams,
            stories.last().unwrap().time_to_first_token().unwrap(),
        )
    };
    let ((alone, _), (with, first)) = (gap(undisturbed), gap(disturbed));
    // The longest gap of the first steps, when nothing is known of costs, is in both.
    assert!(
        with <= alone.max(Duration::from_millis(34 * 2)),
        "{with:?} against {alone:?}"
    );
    assert!(
        first < Duration::from_secs(45),
        "the prompt gets on: {first:?}"
    );
}

/// Sixteen come at once, with a beginning that they share: they are soon together, not one after another.
#[test]
fn many_at_once_do_not_trickle_in() {
    let costs = Costs {
        step: Duration::from_millis(7),
        decode: Duration::from_millis(1),
        prompt: Duration::from_millis(1),
    };
    let wall = |policy| {
        let arrivals = (0..16).map(|index| arrival(Duration::ZERO, index, (150, 64), 5));
        let mut simulator = Simulator::new(policy, 600, costs);
        simulator.run(arrivals.collect(), |_| ());
        simulator.now
    };
    let careless = Policy {
        step_target: Some(Duration::from_secs(100)),
        ..Policy::default()
    };
    let (careful, careless) = (wall(Policy::default()), wall(careless));
    assert!(
        careful < careless.mul_f64(1.35),
        "{careful:?}, and {careless:?} where nobody minds waiting"
    );
}

/// The higher the priority, the shorter the wait, at twice the load that the machine can take.
#[test]
fn the_highest_priority_keeps_its_latency_under_overload() {
    let policy = Policy {
        max_running: 8,
        ageing: Duration::from_mins(5),
        ..Policy::default()
    };
    let mixed = |load: f64| -> (Vec<Arrival>, Vec<bool>) {
        let mut random = Random(9);
        let mut at = Duration::ZERO;
        let arrivals: Vec<Arrival> = (0..3000)
            .map(|index| {
                at += Duration::from_secs_f64(-0.200 / load * random.next().max(1e-9).ln());
                let priority = if random.next() < 0.1 { 10 } else { 5 };
                arrival(at, index, (40, 16), priority)
            })
            .collect();
        let is_high = arrivals
            .iter()
            .map(|arrival| arrival.job.priority == 10)
            .collect();
        (arrivals, is_high)
    };
    let high = |load| {
        let (arrivals, is_high) = mixed(load);
        let stories = Simulator::new(policy, 400, COSTS).run(arrivals, |_| ());
        let high = stories
            .iter()
            .zip(is_high)
            .filter(|(_, high)| *high)
            .map(|(story, _)| story);
        quantile(first_tokens(high), 0.5)
    };
    let (calm, overload) = (high(0.5), high(2.0));
    assert!(overload < 2 * calm, "{overload:?} against {calm:?}");
}
