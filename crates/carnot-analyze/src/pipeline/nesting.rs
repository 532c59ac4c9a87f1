//! Which span lies in which, and how their times add up, while they stream by.
//!
//! Threads record a span when it ends, so that children come before their parents:
//!
//! ```text
//! parent         |-----------------------|      comes third, and takes what began after it off the stack
//! a, b             |----|    |--------|         came first and second, and wait on the stack of their thread
//! ```
//!
//! What is taken is merged by name into the parent's subtree, so that memory grows with the number of different paths and of spans that still
//! wait, and not with the number of spans.

use std::collections::HashMap;

/// Of one thread no more wait than this; past it the older half is joined into one, which a parent takes whole or not at all.
const MOST_WAITING: usize = 1 << 20;
/// Deeper is no deeper.
const DEEPEST: usize = 60;

/// The number of a name with its kind.
pub(super) type Group = u32;

/// What ran under one path, all of it together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Node {
    pub count: u64,
    pub total_ns: u64,
    /// The total without what lies within.
    pub self_ns: u64,
    pub items: u64,
    pub flops: u64,
    pub bytes: u64,
    pub floor_ns: u64,
    pub children: Children,
}

/// What lies within, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Children(Vec<(Group, Node)>);

impl Children {
    pub fn iter(&self) -> impl Iterator<Item = (Group, &Node)> {
        self.0.iter().map(|(group, node)| (*group, node))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    #[cfg(test)]
    pub fn get(&self, group: Group) -> Option<&Node> {
        self.iter()
            .find(|(known, _)| *known == group)
            .map(|(_, node)| node)
    }

    /// Few names lie within one: they are looked for one after the other.
    fn entry(&mut self, group: Group) -> &mut Node {
        let at = self.0.iter().position(|(known, _)| *known == group);
        let at = at.unwrap_or_else(|| {
            self.0.push((group, Node::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    pub fn merge(&mut self, group: Group, other: Node) {
        self.merge_at(group, other, 0);
    }

    fn merge_at(&mut self, group: Group, other: Node, depth: usize) {
        let node = self.entry(group);
        node.count += other.count;
        node.total_ns += other.total_ns;
        node.self_ns += other.self_ns;
        node.items += other.items;
        node.flops = node.flops.saturating_add(other.flops);
        node.bytes = node.bytes.saturating_add(other.bytes);
        node.floor_ns += other.floor_ns;
        if depth >= DEEPEST {
            let within = other.children.iter().map(|(_, child)| child.total_ns);
            node.self_ns += within.sum::<u64>();
            return;
        }
        for (group, child) in other.children.0 {
            node.children.merge_at(group, child, depth + 1);
        }
    }
}

/// A span that ended.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended {
    pub group: Group,
    pub start_ns: u64,
    pub end_ns: u64,
    pub items: u64,
    pub flops: u64,
    pub bytes: u64,
    pub floor_ns: u64,
}

impl Ended {
    fn length(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// One that waits for its parent, or several that do so together.
#[derive(Debug)]
struct Waiting {
    start_ns: u64,
    end_ns: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Nothing lies within it.
    Leaf(Ended),
    Tree(Group, Box<Node>),
    Joined(Box<Children>),
}

impl What {
    fn into(self, children: &mut Children) {
        match self {
            Self::Leaf(span) => {
                let node = children.entry(span.group);
                add(node, &span, span.length());
            }
            Self::Tree(group, node) => children.merge(group, *node),
            Self::Joined(joined) => {
                for (group, node) in joined.0 {
                    children.merge(group, node);
                }
            }
        }
    }
}

fn add(node: &mut Node, span: &Ended, self_ns: u64) {
    node.count += 1;
    node.total_ns += span.length();
    node.self_ns += self_ns;
    node.items += span.items;
    node.flops = node.flops.saturating_add(span.flops);
    node.bytes = node.bytes.saturating_add(span.bytes);
    node.floor_ns += span.floor_ns;
}

/// The threads, each with what waits.
#[derive(Debug, Default)]
pub(super) struct Nesting {
    threads: HashMap<u32, Vec<Waiting>>,
    /// Spans that began within others which were joined already, so that what lies within them is not known.
    pub torn: u64,
}

impl Nesting {
    /// Takes a span in; returns what lies within it, which is complete, if anything does.
    pub fn end(&mut self, thread: u32, span: &Ended) -> Option<&Children> {
        let stack = self.threads.entry(thread).or_default();
        if stack.len() >= MOST_WAITING {
            join(stack);
        }
        // One that comes after its parent, as a recorder of several threads may have it, is the parent's all the same.
        if let Some(last) = stack.last_mut()
            && last.start_ns <= span.start_ns
            && span.end_ns < last.end_ns
        {
            late(last, span);
            return None;
        }
        let mut children = Children::default();
        let mut within_ns = 0;
        while let Some(last) = stack.pop_if(|last| last.start_ns >= span.start_ns) {
            within_ns += last.end_ns - last.start_ns;
            last.what.into(&mut children);
        }
        if let Some(last) = stack.last()
            && last.end_ns > span.start_ns
        {
            self.torn += 1;
        }
        let what = if children.is_empty() {
            What::Leaf(*span)
        } else {
            let mut node = Node::default();
            add(&mut node, span, span.length().saturating_sub(within_ns));
            node.children = children;
            What::Tree(span.group, Box::new(node))
        };
        stack.push(Waiting {
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            what,
        });
        match &stack.last()?.what {
            What::Tree(_, node) => Some(&node.children),
            _ => None,
        }
    }

    /// What nothing lies around, by thread.
    pub fn finish(self) -> (HashMap<u32, Children>, u64) {
        let roots = |stack: Vec<Waiting>| {
            let mut children = Children::default();
            stack
                .into_iter()
                .for_each(|waiting| waiting.what.into(&mut children));
            children
        };
        let threads = self.threads.into_iter();
        (
            threads
                .map(|(thread, stack)| (thread, roots(stack)))
                .collect(),
            self.torn,
        )
    }
}

/// Puts `span` into the one that ended before it and lies around it.
fn late(around: &mut Waiting, span: &Ended) {
    let what = std::mem::replace(&mut around.what, What::Joined(Box::default()));
    let (group, mut node) = match what {
        What::Leaf(parent) => {
            let mut node = Node::default();
            add(&mut node, &parent, parent.length());
            (parent.group, Box::new(node))
        }
        What::Tree(group, node) => (group, node),
        What::Joined(mut joined) => {
            What::Leaf(*span).into(&mut joined);
            around.what = What::Joined(joined);
            return;
        }
    };
    node.self_ns = node.self_ns.saturating_sub(span.length());
    What::Leaf(*span).into(&mut node.children);
    around.what = What::Tree(group, node);
}

/// Joins the older half, the length of what they covered kept as their own.
fn join(stack: &mut Vec<Waiting>) {
    let younger = stack.split_off(stack.len() / 2);
    let (start_ns, mut covered) = (stack[0].start_ns, 0);
    let mut joined = Children::default();
    for waiting in stack.drain(..) {
        covered += waiting.end_ns - waiting.start_ns;
        waiting.what.into(&mut joined);
    }
    stack.push(Waiting {
        start_ns,
        // Not where the last ended: what is between them is not theirs.
        end_ns: start_ns + covered,
        what: What::Joined(Box::new(joined)),
    });
    stack.extend(younger);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(group: Group, start_ns: u64, end_ns: u64) -> Ended {
        Ended {
            group,
            start_ns,
            end_ns,
            ..Ended::default()
        }
    }

    fn tree(spans: &[(Group, u64, u64)]) -> Children {
        let mut nesting = Nesting::default();
        for &(group, start_ns, end_ns) in spans {
            nesting.end(0, &ended(group, start_ns, end_ns));
        }
        nesting.finish().0.remove(&0).unwrap()
    }

    #[test]
    fn times_of_a_worked_example_add_up() {
        // 1 holds 2 twice, of which the second holds 3; beside it another 2.
        let spans = [
            (2, 10, 20),
            (3, 32, 35),
            (2, 30, 40),
            (1, 0, 100),
            (2, 200, 210),
        ];
        let tree = tree(&spans);
        let one = tree.get(1).unwrap();
        assert_eq!((one.count, one.total_ns, one.self_ns), (1, 100, 80));
        let two = one.children.get(2).unwrap();
        assert_eq!((two.count, two.total_ns, two.self_ns), (2, 20, 17));
        assert_eq!(two.children.get(3).unwrap().total_ns, 3);
        assert_eq!(tree.get(2).unwrap().total_ns, 10);
    }

    #[test]
    fn a_child_that_comes_late_is_its_parents() {
        let tree = tree(&[(2, 10, 20), (1, 0, 100), (3, 50, 60)]);
        let one = tree.get(1).unwrap();
        assert_eq!(
            (one.self_ns, one.children.get(3).unwrap().total_ns),
            (80, 10)
        );
    }

    #[test]
    fn what_waits_is_bounded_and_nothing_is_lost() {
        let mut nesting = Nesting::default();
        let count = MOST_WAITING as u64 * 2 + 17;
        for at in 0..count {
            nesting.end(0, &ended(1, 10 + at * 10, 15 + at * 10));
            assert!(nesting.threads[&0].len() <= MOST_WAITING);
        }
        let within = nesting.end(0, &ended(2, 0, 20 + count * 10));
        assert_eq!(within.unwrap().get(1).unwrap().count, count);
        let (roots, torn) = nesting.finish();
        let root = roots[&0].get(2).unwrap();
        assert_eq!((root.self_ns + count * 5, torn), (20 + count * 10, 0));
    }

    #[test]
    fn depth_is_bounded() {
        let deep: Vec<_> = (0..20_000_u64)
            .rev()
            .map(|depth| (1, depth, 100_000 - depth))
            .collect();
        let tree = tree(&deep);
        let (mut node, mut self_ns, mut depth) = (tree.get(1), 0, 0);
        while let Some(below) = node {
            (node, self_ns, depth) = (below.children.get(1), self_ns + below.self_ns, depth + 1);
        }
        assert!(depth <= DEEPEST + 2, "{depth}");
        assert_eq!((tree.get(1).unwrap().total_ns, self_ns), (100_000, 100_000));
    }
}
