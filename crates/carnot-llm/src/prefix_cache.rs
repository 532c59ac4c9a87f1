//! The prefix cache: a radix tree over tokens whose edges hold the blocks with their keys and values.
//!
//! ```text
//! root ─ "def main(" ─┬─ "):\n    print" …         an edge is a run of tokens, and the blocks that cover its positions
//!                     └─ "arguments" …            children differ in their first token
//! ```
//!
//! Tokens themselves are compared, no hashes of them, so a match is never another's (after `RadixAttention`, Zheng et al., 2024).
//! A match may end anywhere, also within a block; then the last block is the caller's to copy, and all before it are shared. Where an
//! edge begins within a block, its first block holds the tokens before it too, so that of several blocks for the same
//! positions the one that lies deepest on a path is whole.
//!
//! A sequence pins its path while it runs. What nobody pins is evicted from the leaves upwards and from their ends, block by
//! block. Namespaces share blocks of memory, and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use carnot_kernels::kv::BLOCK_TOKENS;

use crate::blocks::{Block, blocks_for};

/// Which leaf is evicted first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// The one that was used longest ago.
    #[default]
    LeastRecentlyUsed,
    /// The one that was matched least often; of equals, the one that was used longest ago.
    LeastFrequentlyUsed,
}

/// Cached keys and values for the beginning of a sequence.
#[derive(Debug, Default)]
pub struct PrefixMatch {
    /// Tokens that are there.
    pub tokens: usize,
    /// The blocks that cover them. The last is not full where `tokens` is not a multiple of 16, and others write behind its tokens.
    pub blocks: Vec<Block>,
    /// Keeps them there.
    pub pin: Option<Pin>,
}

/// A path that must stay. Given back by [`PrefixCache::release`], or exchanged by [`PrefixCache::insert`].
#[derive(Debug)]
#[must_use = "what is pinned stays in memory until it is released"]
pub struct Pin(NodeId);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct NodeId(u32);

#[derive(Debug, Default)]
struct Node {
    /// None for the root of a namespace.
    parent: Option<NodeId>,
    namespace: Arc<str>,
    edge: Vec<u32>,
    /// Position of the edge's first token.
    start: usize,
    /// For the positions of the edge, from block `start / 16` of the sequence on.
    blocks: Vec<Block>,
    children: BTreeMap<u32, NodeId>,
    /// Pins of this node and of all below it.
    pins: usize,
    matches: u64,
    last_used: u64,
}

impl Node {
    fn end(&self) -> usize {
        self.start + self.edge.len()
    }

    fn first_block(&self) -> usize {
        self.start / BLOCK_TOKENS
    }
}

/// What is known of token sequences that were computed before.
#[derive(Debug, Default)]
pub struct PrefixCache {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    roots: HashMap<Arc<str>, NodeId>,
    /// Leaves without pins, those to evict first in front.
    candidates: BTreeSet<(u64, u64, NodeId)>,
    eviction: Eviction,
    clock: u64,
    tokens: usize,
    evictable: usize,
}

impl PrefixCache {
    /// An empty cache.
    pub fn new(eviction: Eviction) -> Self {
        Self {
            eviction,
            ..Self::default()
        }
    }

    /// Tokens that are cached, in all namespaces.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Edges of the tree.
    pub fn edges(&self) -> usize {
        self.nodes.len() - self.vacant.len() - self.roots.len()
    }

    /// Blocks that [`evict`](Self::evict) could free.
    pub fn evictable_blocks(&self) -> usize {
        self.evictable
    }

    /// How many of the first of `tokens` are cached. Cost: a comparison per token that is.
    pub fn matching(&self, namespace: &str, tokens: &[u32]) -> usize {
        let root = self.roots.get(namespace);
        root.map_or(0, |&root| self.descend(root, tokens).1)
    }

    /// Blocks that could be evicted now, and could not once the first of `tokens` are [acquired](Self::acquire).
    pub fn would_pin(&self, namespace: &str, tokens: &[u32]) -> usize {
        let Some(&root) = self.roots.get(namespace) else {
            return 0;
        };
        let (deepest, position) = self.descend(root, tokens);
        let path = self.path(deepest).into_iter();
        let evictable = path.filter(|&id| self.node(id).pins == 0);
        let blocks = evictable.map(|id| {
            let node = self.node(id);
            let covering = blocks_for(position.min(node.end())) - node.first_block();
            covering - usize::from(self.shares_first(node))
        });
        blocks.sum()
    }

    /// Takes what is cached of the first of `tokens`.
    pub fn acquire(&mut self, namespace: &str, tokens: &[u32]) -> PrefixMatch {
        let Some(&root) = self.roots.get(namespace) else {
            return PrefixMatch::default();
        };
        let (node, position) = self.descend(root, tokens);
        if position == 0 {
            return PrefixMatch::default();
        }
        let node = self.split(node, position);
        self.touch(node, true);
        self.pin(node);
        PrefixMatch {
            tokens: position,
            blocks: self.blocks_to(node),
            pin: Some(Pin(node)),
        }
    }

    /// Enters `tokens`, whose keys and values are in `blocks`, and pins them in place of what `pin` kept.
    ///
    /// What is there already keeps the blocks that it has.
    pub fn insert(
        &mut self,
        namespace: &Arc<str>,
        tokens: &[u32],
        blocks: &[Block],
        pin: Option<Pin>,
    ) -> Option<Pin> {
        if tokens.is_empty() {
            return pin;
        }
        let root = self.root(namespace);
        let (mut node, position) = self.descend(root, tokens);
        node = self.split(node, position);
        if position < tokens.len() {
            node = self.attach(node, tokens, blocks);
        }
        self.touch(node, false);
        self.pin(node);
        if let Some(before) = pin {
            self.release(before);
        }
        Some(Pin(node))
    }

    /// Lets what `pin` kept be evicted, unless others keep it.
    #[expect(clippy::needless_pass_by_value, reason = "a pin is given back once")]
    pub fn release(&mut self, pin: Pin) {
        let Pin(node) = pin;
        for id in self.path(node) {
            let node = self.node_mut(id);
            node.pins -= 1;
            if node.pins == 0 {
                self.evictable += self.owned(id);
                self.offer(id);
            }
        }
    }

    /// Frees `blocks` blocks, or as many as there are that nobody pins; returns how many.
    pub fn evict(&mut self, blocks: usize) -> usize {
        let mut freed = 0;
        while freed < blocks {
            let Some((.., leaf)) = self.candidates.pop_first() else {
                break;
            };
            freed += self.trim(leaf, blocks - freed);
        }
        freed
    }

    /// Forgets all that nobody pins; returns how many blocks that freed.
    pub fn flush(&mut self) -> usize {
        self.evict(usize::MAX)
    }

    fn node(&self, id: NodeId) -> &Node {
        let node = self.nodes[id.0 as usize].as_ref();
        node.expect("only nodes of the tree are named")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        let node = self.nodes[id.0 as usize].as_mut();
        node.expect("only nodes of the tree are named")
    }

    fn add(&mut self, node: Node) -> NodeId {
        if let Some(id) = self.vacant.pop() {
            self.nodes[id.0 as usize] = Some(node);
            return id;
        }
        self.nodes.push(Some(node));
        NodeId(self.nodes.len() as u32 - 1)
    }

    fn root(&mut self, namespace: &Arc<str>) -> NodeId {
        if let Some(&root) = self.roots.get(namespace) {
            return root;
        }
        let root = self.add(Node {
            namespace: Arc::clone(namespace),
            ..Node::default()
        });
        self.roots.insert(Arc::clone(namespace), root);
        root
    }

    /// The deepest node that `tokens` reach into, and how many of them are cached.
    fn descend(&self, root: NodeId, tokens: &[u32]) -> (NodeId, usize) {
        let mut at = root;
        loop {
            let node = self.node(at);
            let end = node.end();
            let child = tokens
                .get(end)
                .and_then(|token| node.children.get(token).copied());
            let Some(child) = child else {
                return (at, end);
            };
            let edge = &self.node(child).edge;
            let common = common_prefix(edge, &tokens[end..]);
            if common < edge.len() {
                return (child, end + common);
            }
            at = child;
        }
    }

    /// A node whose edge ends at `position`, which lies on the edge of `id`: its upper part, if it has to be cut.
    fn split(&mut self, id: NodeId, position: usize) -> NodeId {
        let node = self.node_mut(id);
        if position == node.end() {
            return id;
        }
        let lower = node.edge.split_off(position - node.start);
        let (first, cut) = (node.first_block(), position / BLOCK_TOKENS);
        let lower_blocks = node.blocks[cut - first..].to_vec();
        node.blocks.truncate(blocks_for(position) - first);
        let upper = Node {
            parent: node.parent,
            namespace: Arc::clone(&node.namespace),
            edge: std::mem::replace(&mut node.edge, lower),
            start: node.start,
            blocks: std::mem::replace(&mut node.blocks, lower_blocks),
            children: BTreeMap::from([(node.edge[0], id)]),
            pins: node.pins,
            matches: node.matches,
            last_used: node.last_used,
        };
        node.start = position;
        let (parent, token) = (upper.parent, upper.edge[0]);
        let upper = self.add(upper);
        self.node_mut(id).parent = Some(upper);
        let parent = parent.expect("a root has no edge to cut");
        self.node_mut(parent).children.insert(token, upper);
        upper
    }

    /// A leaf below `parent` for the rest of `tokens`.
    fn attach(&mut self, parent: NodeId, tokens: &[u32], blocks: &[Block]) -> NodeId {
        self.withdraw(parent);
        let above = self.node(parent);
        let start = above.end();
        let leaf = Node {
            parent: Some(parent),
            namespace: Arc::clone(&above.namespace),
            edge: tokens[start..].to_vec(),
            start,
            blocks: blocks[start / BLOCK_TOKENS..blocks_for(tokens.len())].to_vec(),
            ..Node::default()
        };
        self.tokens += leaf.edge.len();
        let leaf = self.add(leaf);
        self.node_mut(parent).children.insert(tokens[start], leaf);
        self.evictable += self.owned(leaf);
        self.offer(leaf);
        leaf
    }

    /// The node and those above it, the root left out.
    fn path(&self, id: NodeId) -> Vec<NodeId> {
        let up = std::iter::successors(Some(id), |&id| self.node(id).parent);
        up.filter(|&id| self.node(id).parent.is_some()).collect()
    }

    /// The blocks of a sequence that ends where the node ends.
    fn blocks_to(&self, id: NodeId) -> Vec<Block> {
        let mut blocks = vec![None; blocks_for(self.node(id).end())];
        for id in self.path(id) {
            let node = self.node(id);
            let places = &mut blocks[node.first_block()..];
            for (place, block) in places.iter_mut().zip(&node.blocks) {
                place.get_or_insert_with(|| block.clone());
            }
        }
        blocks.into_iter().flatten().collect()
    }

    fn pin(&mut self, id: NodeId) {
        for id in self.path(id) {
            if self.node(id).pins == 0 {
                self.evictable -= self.owned(id);
                self.withdraw(id);
            }
            self.node_mut(id).pins += 1;
        }
    }

    /// Blocks that are gone if the node is, given that those above it stay.
    fn owned(&self, id: NodeId) -> usize {
        let node = self.node(id);
        node.blocks.len() - usize::from(self.shares_first(node))
    }

    /// Whether a node above holds the first block of this one too. It need not be the next one: another sequence may have
    /// entered its own block for the positions between.
    fn shares_first(&self, node: &Node) -> bool {
        let begin = node.first_block() * BLOCK_TOKENS;
        let up = |node: &Node| node.parent.map(|parent| self.node(parent));
        let above = std::iter::successors(up(node), |node| up(node));
        let mut within = above.take_while(|above| above.end() > begin);
        node.blocks.first().is_some_and(|first| {
            within.any(|above| above.blocks.last().is_some_and(|last| last.is(first)))
        })
    }

    fn touch(&mut self, id: NodeId, is_match: bool) {
        self.clock += 1;
        let clock = self.clock;
        for id in self.path(id) {
            self.withdraw(id);
            let node = self.node_mut(id);
            node.last_used = clock;
            node.matches += u64::from(is_match);
            self.offer(id);
        }
    }

    fn rank(&self, id: NodeId) -> (u64, u64, NodeId) {
        let node = self.node(id);
        match self.eviction {
            Eviction::LeastRecentlyUsed => (0, node.last_used, id),
            Eviction::LeastFrequentlyUsed => (node.matches, node.last_used, id),
        }
    }

    /// Makes a node a candidate for eviction, if it can be one.
    fn offer(&mut self, id: NodeId) {
        let node = self.node(id);
        if node.parent.is_some() && node.children.is_empty() && node.pins == 0 {
            self.candidates.insert(self.rank(id));
        }
    }

    fn withdraw(&mut self, id: NodeId) {
        let rank = self.rank(id);
        self.candidates.remove(&rank);
    }

    /// Takes blocks from the end of a leaf until `blocks` are free, and the leaf away if none is left.
    fn trim(&mut self, leaf: NodeId, blocks: usize) -> usize {
        let shares_first = self.shares_first(self.node(leaf));
        let node = self.node_mut(leaf);
        let (before, first_token) = (node.edge.len(), node.edge[0]);
        let mut freed = 0;
        while freed < blocks && node.blocks.pop().is_some() {
            let end = (node.first_block() + node.blocks.len()) * BLOCK_TOKENS;
            node.edge.truncate(end.saturating_sub(node.start));
            freed += usize::from(!(shares_first && node.blocks.is_empty()));
        }
        let left = node.edge.len();
        self.tokens -= before - left;
        self.evictable -= freed;
        if left == 0 {
            self.remove(leaf, first_token);
        } else {
            self.offer(leaf);
        }
        freed
    }

    /// Takes an empty leaf away, and the root above it if it was the last.
    fn remove(&mut self, leaf: NodeId, first_token: u32) {
        let node = self.nodes[leaf.0 as usize].take();
        self.vacant.push(leaf);
        let Some(parent) = node.and_then(|node| node.parent) else {
            return;
        };
        let above = self.node_mut(parent);
        above.children.remove(&first_token);
        if above.parent.is_none() && above.children.is_empty() {
            let namespace = Arc::clone(&above.namespace);
            self.roots.remove(&namespace);
            self.nodes[parent.0 as usize] = None;
            self.vacant.push(parent);
        } else {
            self.offer(parent);
        }
    }

    /// Holds the tree to what it promises; for tests, and for whoever suspects it.
    ///
    /// # Panics
    /// If anything is not as it has to be.
    pub fn check_integrity(&self) {
        let (mut tokens, mut evictable, mut leaves, mut nodes) = (0, 0, BTreeSet::new(), 0);
        let mut ids: Vec<NodeId> = self.roots.values().copied().collect();
        while let Some(id) = ids.pop() {
            let node = self.node(id);
            nodes += 1;
            tokens += node.edge.len();
            assert_eq!(
                node.edge.is_empty(),
                node.parent.is_none(),
                "an edge has tokens"
            );
            let covering = blocks_for(node.end()) - node.first_block();
            let covering = if node.parent.is_some() { covering } else { 0 };
            assert_eq!(node.blocks.len(), covering, "blocks cover the edge");
            let below: usize = node.children.values().map(|&id| self.node(id).pins).sum();
            assert!(node.parent.is_none() || node.pins >= below, "pins reach up");
            for (&token, &child) in &node.children {
                let below = self.node(child);
                assert_eq!((below.parent, below.start), (Some(id), node.end()));
                assert_eq!(below.edge.first(), Some(&token), "a child's first token");
            }
            if node.parent.is_some() && node.pins == 0 {
                evictable += self.owned(id);
                if node.children.is_empty() {
                    leaves.insert(self.rank(id));
                }
            }
            ids.extend(node.children.values());
        }
        assert_eq!(tokens, self.tokens, "tokens in the tree");
        assert_eq!(evictable, self.evictable, "blocks that can be evicted");
        assert_eq!(leaves, self.candidates, "leaves that can be evicted");
        assert_eq!(
            nodes,
            self.nodes.len() - self.vacant.len(),
            "no node is lost"
        );
    }
}

/// How many first tokens two sequences share.
pub(crate) fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests;
