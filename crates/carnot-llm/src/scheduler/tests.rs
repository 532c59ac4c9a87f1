//! The books of the scheduler, whatever is asked of it.

use proptest::prelude::*;

use super::*;

fn job(prompt: Vec<u32>, max_tokens: usize, priority: u8) -> Job {
    Job {
        prompt,
        max_tokens,
        priority,
        ..Job::default()
    }
}

fn sequence(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|at| seed + at).collect()
}

/// Computes a step, generates a token where one is wanted, and ends what has all of its tokens.
fn work(scheduler: &mut Scheduler, step: &Step) {
    for chunk in &step.chunks {
        scheduler.computed(chunk);
        if chunk.samples && !scheduler.push(chunk.id, 9) {
            scheduler.finish(chunk.id);
        }
    }
    scheduler.check_integrity();
}

fn run_to_the_end(scheduler: &mut Scheduler) -> usize {
    let mut steps = 0;
    while !scheduler.is_idle() {
        let step = scheduler.plan(Duration::from_millis(steps as u64));
        work(scheduler, &step);
        steps += 1;
        assert!(steps < 100_000, "it comes to an end");
    }
    steps
}

#[test]
fn a_step_mixes_what_decodes_with_what_begins() {
    let mut scheduler = Scheduler::new(Policy::default(), 100);
    let first = scheduler.submit(job(sequence(0, 20), 8, 5), Duration::ZERO);
    let step = scheduler.plan(Duration::ZERO);
    assert_eq!(step.chunks.len(), 1);
    work(&mut scheduler, &step);
    let second = scheduler.submit(job(sequence(1000, 20), 8, 5), Duration::ZERO);
    let step = scheduler.plan(Duration::from_millis(1));
    let kinds: Vec<_> = step
        .chunks
        .iter()
        .map(|chunk| (chunk.id, chunk.positions.clone(), chunk.is_prefill))
        .collect();
    assert_eq!(kinds, [(first, 20..21, false), (second, 0..20, true)]);
    work(&mut scheduler, &step);
    run_to_the_end(&mut scheduler);
}

#[test]
fn a_long_prompt_is_cut_into_chunks() {
    let policy = Policy {
        max_prompt_tokens: 64,
        ..Policy::default()
    };
    let mut scheduler = Scheduler::new(policy, 100);
    scheduler.submit(job(sequence(0, 150), 1, 5), Duration::ZERO);
    let mut lengths = Vec::new();
    while !scheduler.is_idle() {
        let step = scheduler.plan(Duration::ZERO);
        lengths.extend(
            step.chunks
                .iter()
                .map(|chunk| (chunk.positions.len(), chunk.samples)),
        );
        work(&mut scheduler, &step);
    }
    assert_eq!(lengths, [(64, false), (64, false), (22, true)]);
}

#[test]
fn a_prefix_is_computed_once_also_when_all_come_at_once() {
    let mut scheduler = Scheduler::new(Policy::default(), 200);
    let ids: Vec<RequestId> = (0..8)
        .map(|own| {
            let mut prompt = sequence(0, 100);
            prompt.extend(sequence(10_000 + 100 * own, 10));
            scheduler.submit(job(prompt, 3, 5), Duration::ZERO)
        })
        .collect();
    let (mut computed, mut copies, mut reused) = (0, 0, Vec::new());
    for at in 0.. {
        if scheduler.is_idle() {
            break;
        }
        let step = scheduler.plan(Duration::from_millis(at));
        copies += step.copies.len();
        let prompts = step.chunks.iter().filter(|chunk| chunk.is_prefill);
        computed += prompts.map(|chunk| chunk.positions.len()).sum::<usize>();
        let known = |id: &&RequestId| scheduler.sequences.contains_key(id);
        reused = ids
            .iter()
            .filter(known)
            .map(|&id| scheduler.account(id).reused)
            .max()
            .into_iter()
            .chain(reused)
            .collect();
        work(&mut scheduler, &step);
    }
    assert_eq!(
        computed,
        110 + 7 * 10,
        "the first whole, of the others their own"
    );
    assert_eq!(copies, 7, "100 tokens end within a block");
    assert_eq!(reused.into_iter().max(), Some(100));
}

#[test]
fn a_higher_priority_takes_the_place_of_a_lower_one_and_gives_it_back() {
    let policy = Policy {
        max_running: 1,
        ..Policy::default()
    };
    let mut scheduler = Scheduler::new(policy, 100);
    let low = scheduler.submit(job(sequence(0, 40), 30, 2), Duration::ZERO);
    for at in 0..5 {
        let step = scheduler.plan(Duration::from_millis(at));
        work(&mut scheduler, &step);
    }
    let equal = scheduler.submit(job(sequence(500, 4), 2, 2), Duration::ZERO);
    let high = scheduler.submit(job(sequence(900, 4), 2, 9), Duration::ZERO);
    let step = scheduler.plan(Duration::from_millis(5));
    assert_eq!(
        step.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(),
        [high]
    );
    work(&mut scheduler, &step);
    assert_eq!(scheduler.account(low).preemptions, 1);
    let mut order = Vec::new();
    let mut again = 0;
    while !scheduler.is_idle() {
        let step = scheduler.plan(Duration::from_millis(6));
        order.extend(step.chunks.iter().map(|chunk| chunk.id));
        again += scheduler
            .sequences
            .get(&low)
            .map_or(0, |_| scheduler.account(low).recomputed);
        work(&mut scheduler, &step);
    }
    order.dedup();
    assert_eq!(order, [high, low, equal], "it has its old place again");
    assert_eq!(again, 0, "its tokens were still cached");
}

#[test]
fn ageing_does_not_make_two_sequences_push_each_other_out() {
    let policy = Policy {
        max_running: 1,
        ageing: Duration::from_secs(1),
        ..Policy::default()
    };
    let mut scheduler = Scheduler::new(policy, 100);
    scheduler.submit(job(sequence(0, 4), 200, 0), Duration::ZERO);
    let step = scheduler.plan(Duration::ZERO);
    work(&mut scheduler, &step);
    scheduler.submit(job(sequence(900, 4), 200, 5), Duration::from_mins(1));
    let mut at = 60;
    while !scheduler.is_idle() {
        let step = scheduler.plan(Duration::from_secs(at));
        work(&mut scheduler, &step);
        at += 1;
    }
    assert!(
        scheduler.census().preemptions <= 2,
        "{:?}",
        scheduler.census()
    );
}

#[test]
fn when_blocks_run_out_the_lowest_priority_makes_room() {
    let mut scheduler = Scheduler::new(Policy::default(), 16);
    let low = scheduler.submit(job(sequence(0, 40), 150, 1), Duration::ZERO);
    let high = scheduler.submit(job(sequence(1000, 40), 150, 8), Duration::ZERO);
    let mut preempted = Vec::new();
    let mut ended = Vec::new();
    for at in 0.. {
        if scheduler.is_idle() {
            break;
        }
        let step = scheduler.plan(Duration::from_millis(at));
        for id in [low, high] {
            match scheduler.sequences.get(&id) {
                Some(sequence) => preempted.push((id, sequence.account.preemptions)),
                None if !ended.contains(&id) => ended.push(id),
                None => (),
            }
        }
        work(&mut scheduler, &step);
    }
    assert!(preempted.contains(&(low, 1)) && !preempted.contains(&(high, 1)));
    assert_eq!(ended.first(), Some(&high));
}

#[test]
fn what_is_late_or_cancelled_gives_everything_back_at_the_next_step() {
    let mut scheduler = Scheduler::new(Policy::default(), 20);
    let deadline = Some(Duration::from_secs(1));
    let late = scheduler.submit(
        Job {
            deadline,
            ..job(sequence(0, 40), 100, 5)
        },
        Duration::ZERO,
    );
    let cancelled = scheduler.submit(job(sequence(700, 40), 100, 5), Duration::ZERO);
    let step = scheduler.plan(Duration::ZERO);
    work(&mut scheduler, &step);
    scheduler.cancel(cancelled);
    scheduler.cancel(RequestId(77));
    let step = scheduler.plan(Duration::from_millis(999));
    assert_eq!(
        step.dropped
            .iter()
            .map(|ended| (ended.id, ended.why))
            .collect::<Vec<_>>(),
        [(cancelled, Dropped::Cancelled)]
    );
    work(&mut scheduler, &step);
    let step = scheduler.plan(Duration::from_secs(1));
    assert_eq!(
        step.dropped
            .iter()
            .map(|ended| (ended.id, ended.why))
            .collect::<Vec<_>>(),
        [(late, Dropped::Late)]
    );
    assert!(step.chunks.is_empty() && scheduler.is_idle());
    scheduler.check_integrity();
    scheduler.flush();
    assert_eq!(scheduler.census().free_blocks, 20);
}

#[test]
fn a_paused_sequence_keeps_its_blocks_and_does_nothing() {
    let mut scheduler = Scheduler::new(Policy::default(), 20);
    let id = scheduler.submit(job(sequence(0, 20), 4, 5), Duration::ZERO);
    let step = scheduler.plan(Duration::ZERO);
    work(&mut scheduler, &step);
    scheduler.pause(id, true);
    assert!(scheduler.plan(Duration::ZERO).chunks.is_empty());
    assert_eq!(scheduler.blocks(id).len(), 2);
    scheduler.pause(id, false);
    run_to_the_end(&mut scheduler);
}

#[derive(Clone, Debug)]
enum Action {
    Submit {
        tokens: Vec<u32>,
        max_tokens: usize,
        priority: u8,
        tenant: u8,
        late: Option<u64>,
    },
    Cancel(prop::sample::Index),
    Pause(prop::sample::Index, bool),
    Steps(usize),
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    let tokens = prop::collection::vec(0..3_u32, 1..90);
    let submit = (
        tokens,
        0..40_usize,
        0..=12_u8,
        0..3_u8,
        prop::option::of(0..200_u64),
    );
    prop_oneof![
        5 => submit.prop_map(|(tokens, max_tokens, priority, tenant, late)| Action::Submit { tokens, max_tokens, priority, tenant, late }),
        1 => any::<prop::sample::Index>().prop_map(Action::Cancel),
        1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(index, paused)| Action::Pause(index, paused)),
        5 => (1..20_usize).prop_map(Action::Steps),
        1 => Just(Action::Flush),
    ]
}

proptest! {
    #[test]
    fn everything_ends_and_every_block_comes_back(
        actions in prop::collection::vec(action(), 1..40),
        blocks in 8..30_usize,
        max_running in 1..6_usize,
        max_prompt_tokens in 1..80_usize,
        prefix_cache in any::<bool>(),
    ) {
        let policy = Policy { max_running, max_prompt_tokens, prefix_cache, ageing: Duration::from_millis(20), ..Policy::default() };
        let mut scheduler = Scheduler::new(policy, blocks);
        let mut at = 0;
        for action in actions {
            let mut ids: Vec<RequestId> = scheduler.sequences.keys().copied().collect();
            ids.sort_unstable();
            match action {
                Action::Submit { tokens, max_tokens, priority, tenant, late } if tokens.len() < scheduler.context() => {
                    let deadline = late.map(|late| Duration::from_millis(at + late));
                    let tenant = tenant.to_string().into();
                    scheduler.submit(Job { prompt: tokens, max_tokens, tenant, priority, deadline, is_whole: false }, Duration::from_millis(at));
                }
                Action::Cancel(index) if !ids.is_empty() => scheduler.cancel(*index.get(&ids)),
                Action::Pause(index, paused) if !ids.is_empty() => scheduler.pause(*index.get(&ids), paused),
                Action::Steps(steps) => for _ in 0..steps {
                    at += 1;
                    let step = scheduler.plan(Duration::from_millis(at));
                    let rows: usize = step.chunks.iter().map(|chunk| chunk.positions.len()).sum();
                    prop_assert!(rows <= max_running + max_prompt_tokens);
                    work(&mut scheduler, &step);
                },
                Action::Flush => { scheduler.flush(); }
                _ => (),
            }
            scheduler.check_integrity();
        }
        let ids: Vec<RequestId> = scheduler.sequences.keys().copied().collect();
        ids.into_iter().for_each(|id| scheduler.pause(id, false));
        run_to_the_end(&mut scheduler);
        scheduler.flush();
        prop_assert_eq!(scheduler.census().free_blocks, blocks);
    }
}
