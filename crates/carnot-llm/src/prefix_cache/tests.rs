//! The tree against a model that knows nothing of trees: what every slot of every block holds.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::blocks::{BlockPool, BlockTable};

/// A cache with its pool, and what sequences wrote where.
struct World {
    pool: BlockPool,
    cache: PrefixCache,
    /// The tokens up to and with the one whose keys and values lie in (block, slot).
    written: HashMap<(u32, usize), Vec<u32>>,
}

/// A sequence that is computed.
struct Running {
    namespace: Arc<str>,
    tokens: Vec<u32>,
    table: BlockTable,
    pin: Option<Pin>,
}

impl World {
    fn new(blocks: usize, eviction: Eviction) -> Self {
        Self {
            pool: BlockPool::new(blocks),
            cache: PrefixCache::new(eviction),
            written: HashMap::new(),
        }
    }

    /// Computes `tokens` as an engine does: takes what is cached, copies the block that is not full, writes the rest.
    fn run(&mut self, namespace: &str, tokens: &[u32]) -> Option<Running> {
        let PrefixMatch {
            tokens: cached,
            mut blocks,
            pin,
        } = self.cache.acquire(namespace, tokens);
        self.hold(&blocks, &tokens[..cached]);
        let mut running = Running {
            namespace: namespace.into(),
            tokens: tokens[..cached].to_vec(),
            table: BlockTable::default(),
            pin,
        };
        let partial = (!cached.is_multiple_of(BLOCK_TOKENS))
            .then(|| blocks.pop())
            .flatten();
        blocks
            .into_iter()
            .for_each(|block| running.table.push(block));
        if !self.grow(&mut running, tokens.len()) {
            self.end(running);
            return None;
        }
        if let Some(from) = partial {
            let to = running.table.numbers()[cached / BLOCK_TOKENS];
            for slot in 0..cached % BLOCK_TOKENS {
                let copied = self.written[&(from.number(), slot)].clone();
                self.written.insert((to, slot), copied);
            }
        }
        self.compute(&mut running, &tokens[cached..]);
        Some(running)
    }

    /// Covers `tokens` tokens with blocks, if there are enough.
    fn grow(&mut self, running: &mut Running, tokens: usize) -> bool {
        let lacking = running.table.missing(tokens);
        let lacking = lacking.saturating_sub(self.pool.free_blocks());
        let (evictable, freed) = (self.cache.evictable_blocks(), self.cache.evict(lacking));
        assert_eq!(freed, lacking.min(evictable), "evicts what it says it can");
        running.table.grow(&self.pool, tokens).is_ok()
    }

    /// Writes more tokens to where there are blocks for them, and enters all.
    fn compute(&mut self, running: &mut Running, more: &[u32]) {
        for &token in more {
            let position = running.tokens.len();
            running.tokens.push(token);
            let block = running.table.numbers()[position / BLOCK_TOKENS];
            let place = (block, position % BLOCK_TOKENS);
            self.written.insert(place, running.tokens.clone());
        }
        running.pin = self.cache.insert(
            &running.namespace,
            &running.tokens,
            running.table.held(),
            running.pin.take(),
        );
    }

    fn end(&mut self, running: Running) {
        if let Some(pin) = running.pin {
            self.cache.release(pin);
        }
    }

    /// Every slot holds what was computed for these tokens, and for all that come before.
    fn hold(&self, blocks: &[Block], tokens: &[u32]) {
        assert_eq!(blocks.len(), blocks_for(tokens.len()));
        for position in 0..tokens.len() {
            let place = (
                blocks[position / BLOCK_TOKENS].number(),
                position % BLOCK_TOKENS,
            );
            assert_eq!(self.written[&place], tokens[..=position], "at {position}");
        }
    }

    /// Nothing is cached or held that nobody knows of.
    fn check(&self, running: &[Running]) {
        self.cache.check_integrity();
        if running.is_empty() {
            let cached = self.cache.evictable_blocks();
            assert_eq!(self.pool.free_blocks() + cached, self.pool.blocks());
        }
    }
}

/// Few tokens, so that sequences share beginnings of any length.
fn tokens() -> impl Strategy<Value = Vec<u32>> {
    let short = prop::collection::vec(0..3_u32, 0..5);
    let runs = prop::collection::vec((0..3_u32, 1..40_usize), 0..4);
    (short, runs).prop_map(|(mut tokens, runs)| {
        for (token, length) in runs {
            tokens.extend(std::iter::repeat_n(token, length));
        }
        tokens
    })
}

#[derive(Clone, Debug)]
enum Action {
    Run(bool, Vec<u32>),
    GoOn(prop::sample::Index, Vec<u32>),
    End(prop::sample::Index),
    Evict(usize),
    Flush,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        6 => (any::<bool>(), tokens()).prop_map(|(other, tokens)| Action::Run(other, tokens)),
        4 => (any::<prop::sample::Index>(), tokens()).prop_map(|(index, tokens)| Action::GoOn(index, tokens)),
        4 => any::<prop::sample::Index>().prop_map(Action::End),
        2 => (0..6_usize).prop_map(Action::Evict),
        1 => Just(Action::Flush),
    ]
}

proptest! {
    #[test]
    fn slots_hold_what_is_matched_whatever_happens(
        actions in prop::collection::vec(action(), 1..60),
        blocks in 1..40_usize,
        by_frequency in any::<bool>(),
    ) {
        let eviction = if by_frequency { Eviction::LeastFrequentlyUsed } else { Eviction::LeastRecentlyUsed };
        let mut world = World::new(blocks, eviction);
        let mut running: Vec<Running> = Vec::new();
        for action in actions {
            match action {
                Action::Run(other, tokens) => running.extend(world.run(if other { "other" } else { "" }, &tokens)),
                Action::GoOn(..) | Action::End(_) if running.is_empty() => (),
                Action::GoOn(index, more) => {
                    let this = index.index(running.len());
                    let tokens = running[this].tokens.len() + more.len();
                    if world.grow(&mut running[this], tokens) {
                        world.compute(&mut running[this], &more);
                    }
                }
                Action::End(index) => {
                    let ended = running.swap_remove(index.index(running.len()));
                    world.end(ended);
                }
                Action::Evict(blocks) => {
                    world.cache.evict(blocks);
                }
                Action::Flush => {
                    world.cache.flush();
                    prop_assert_eq!(world.cache.evictable_blocks(), 0);
                }
            }
            world.check(&running);
        }
        running.drain(..).for_each(|ended| world.end(ended));
        world.check(&[]);
        world.cache.flush();
        prop_assert_eq!(world.pool.free_blocks(), blocks);
        prop_assert_eq!((world.cache.tokens(), world.cache.edges()), (0, 0));
    }

    #[test]
    fn without_eviction_the_longest_common_prefix_is_found(
        entered in prop::collection::vec((any::<bool>(), tokens()), 1..20),
        (other, wanted) in (any::<bool>(), tokens()),
    ) {
        let mut world = World::new(2000, Eviction::default());
        let name = |other| if other { "other" } else { "" };
        for (other, tokens) in &entered {
            let running = world.run(name(*other), tokens).unwrap();
            world.end(running);
        }
        let longest = entered.iter().filter(|(theirs, _)| *theirs == other);
        let longest = longest.map(|(_, tokens)| common_prefix(tokens, &wanted)).max();
        prop_assert_eq!(world.cache.matching(name(other), &wanted), longest.unwrap_or(0));
    }
}

fn sequence(seed: u32, length: usize) -> Vec<u32> {
    (0..length as u32).map(|at| seed + at).collect()
}

#[test]
fn namespaces_share_nothing() {
    let mut world = World::new(8, Eviction::default());
    let tokens = sequence(0, 40);
    let running = world.run("a", &tokens).unwrap();
    world.end(running);
    assert_eq!(world.cache.matching("a", &tokens), 40);
    assert_eq!(world.cache.matching("b", &tokens), 0);
    assert_eq!(world.cache.acquire("b", &tokens).tokens, 0);
}

#[test]
fn what_is_pinned_stays_and_the_least_recently_used_goes_first() {
    let mut world = World::new(9, Eviction::default());
    let sequences = [sequence(0, 48), sequence(1000, 48), sequence(2000, 48)];
    let pinned = world.run("", &sequences[0]).unwrap();
    for tokens in &sequences[1..] {
        let running = world.run("", tokens).unwrap();
        world.end(running);
    }
    let touched = world.cache.acquire("", &sequences[1]);
    world.cache.release(touched.pin.unwrap());
    assert_eq!(world.cache.evictable_blocks(), 6);
    assert_eq!(world.cache.evict(4), 4);
    let left = sequences.map(|tokens| world.cache.matching("", &tokens));
    assert_eq!(
        left,
        [48, 32, 0],
        "from the ends, the oldest first, the pinned never"
    );
    assert_eq!(world.cache.evict(9), 2);
    world.end(pinned);
    assert_eq!(world.cache.flush(), 3);
}

#[test]
fn the_least_frequently_used_goes_first_if_asked() {
    let mut world = World::new(8, Eviction::LeastFrequentlyUsed);
    let (often, late) = (sequence(0, 16), sequence(1000, 16));
    for tokens in [&often, &often, &often, &late] {
        let running = world.run("", tokens).unwrap();
        world.end(running);
    }
    assert_eq!(world.cache.evict(1), 1);
    assert_eq!(world.cache.matching("", &often), 16);
    assert_eq!(world.cache.matching("", &late), 0);
}

#[test]
fn an_edge_is_cut_where_sequences_part_even_within_a_block() {
    let mut world = World::new(16, Eviction::default());
    let long = sequence(0, 40);
    let mut other = sequence(0, 20);
    other.extend(sequence(5000, 20));
    let first = world.run("", &long).unwrap();
    let second = world.run("", &other).unwrap();
    assert_eq!(
        world.cache.edges(),
        3,
        "what they share, and a rest of each"
    );
    assert_eq!(first.table.numbers()[0], second.table.numbers()[0]);
    assert_ne!(first.table.numbers()[1], second.table.numbers()[1]);
    assert_eq!(world.pool.free_blocks(), 16 - 3 - 2);
    world.check(&[first, second]);
}
