//! Stacks that were sampled or counted, and how they are told: a flame graph, a pprof profile, collapsed stacks, the functions that have the most.

use std::collections::HashMap;
use std::fmt::Write as _;

use crate::flamegraph::{self, Node};
use crate::pprof::{Names, compressed, finished};
use crate::protobuf::Message;
use crate::stacks::shown;
use crate::table::{
    Align::{Left, Right},
    Column, row,
};
use crate::{collapsed, units};

/// Stacks of functions, and what each weighs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StackProfile {
    /// What it is a profile of: the first line of what is told.
    pub title: String,
    /// What stacks weigh.
    pub weight: Weight,
    /// How long was looked.
    pub wall_ns: u64,
    /// Functions by the index that stacks name.
    pub functions: Vec<Function>,
    /// The stacks.
    pub stacks: Vec<Stack>,
}

/// What stacks weigh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weight {
    /// Nanoseconds of processor time.
    #[default]
    ProcessorTime,
    /// Bytes that were allocated.
    Allocations,
}

/// A function.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Function {
    /// Its path.
    pub name: String,
    /// Where it stands.
    pub file: String,
}

/// What was seen with one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    /// Whose stack it is: the root of the picture.
    pub thread: String,
    /// Indices of functions, the outermost first.
    pub functions: Vec<u32>,
    /// See [`Weight`].
    pub weight: u64,
    /// Samples or allocations.
    pub count: u64,
}

/// What a function has, of all stacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share<'a> {
    /// The function.
    pub function: &'a Function,
    /// Where it was the innermost.
    pub own: u64,
    /// Where it was on the stack.
    pub total: u64,
}

impl Weight {
    /// What is counted, and what is weighed with its unit, by the names that pprof has for them.
    fn types(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::ProcessorTime => [("samples", "count"), ("cpu", "nanoseconds")],
            Self::Allocations => [("alloc_objects", "count"), ("alloc_space", "bytes")],
        }
    }

    fn amount(self, weight: u64) -> String {
        match self {
            Self::ProcessorTime => units::duration(weight as f64),
            Self::Allocations => units::bytes(weight as f64),
        }
    }
}

impl StackProfile {
    /// What all stacks weigh.
    pub fn whole(&self) -> u64 {
        self.stacks.iter().map(|stack| stack.weight).sum()
    }

    /// All functions, those with the most of their own first.
    pub fn shares(&self) -> Vec<Share<'_>> {
        let start = |function| Share {
            function,
            own: 0,
            total: 0,
        };
        let mut shares: Vec<Share> = self.functions.iter().map(start).collect();
        // A function that calls itself counts once.
        let mut counted = vec![usize::MAX; shares.len()];
        for (index, stack) in self.stacks.iter().enumerate() {
            for &function in &stack.functions {
                let function = function as usize;
                if counted[function] != index {
                    counted[function] = index;
                    shares[function].total += stack.weight;
                }
            }
            if let Some(&innermost) = stack.functions.last() {
                shares[innermost as usize].own += stack.weight;
            }
        }
        shares.sort_by(|a, b| b.own.cmp(&a.own).then(b.total.cmp(&a.total)));
        shares
    }

    /// The flame graph as the text of an `.svg` file.
    pub fn flamegraph(&self) -> String {
        let tree = self.tree();
        let whole = self.whole().max(1) as f64;
        let nodes: Vec<Node> = tree
            .iter()
            .map(|node| Node {
                name: shown(node.name),
                short: end(shown(node.name)),
                class: class(node),
                parent: node.parent,
                depth: node.depth,
                total: node.total as f64,
                hint: format!(
                    "{}{}: {} ({}), {} itself",
                    shown(node.name),
                    node.file
                        .map(|file| format!(" ({file})"))
                        .unwrap_or_default(),
                    self.weight.amount(node.total),
                    units::percent(node.total as f64 / whole),
                    self.weight.amount(node.own),
                ),
            })
            .collect();
        flamegraph::draw(&self.title, &nodes)
    }

    /// Paths of functions, put together.
    fn tree(&self) -> Vec<TreeNode<'_>> {
        let mut order: Vec<&Stack> = self.stacks.iter().collect();
        order.sort_by_key(|stack| (&stack.thread, &stack.functions));
        let mut nodes: Vec<TreeNode> = Vec::new();
        let mut known: HashMap<(Option<u32>, &str, Option<u32>), u32> = HashMap::new();
        for stack in order {
            let mut parent = None;
            let calls = stack.functions.iter().map(|&index| Some(index));
            for function in std::iter::once(None).chain(calls) {
                let thread = if function.is_none() {
                    &*stack.thread
                } else {
                    ""
                };
                let next = nodes.len() as u32;
                let index = *known.entry((parent, thread, function)).or_insert(next);
                if index == next {
                    let function = function.map(|index| &self.functions[index as usize]);
                    nodes.push(TreeNode {
                        name: function.map_or(thread, |function| &function.name),
                        file: function.map(|function| &*function.file),
                        parent,
                        depth: parent.map_or(0, |parent: u32| nodes[parent as usize].depth + 1),
                        own: 0,
                        total: 0,
                    });
                }
                nodes[index as usize].total += stack.weight;
                parent = Some(index);
            }
            if let Some(innermost) = parent {
                nodes[innermost as usize].own += stack.weight;
            }
        }
        nodes
    }

    /// Collapsed stacks: `thread;outer;inner 1234`, a line for each stack.
    pub fn collapsed(&self) -> String {
        let line = |stack: &Stack| {
            let names = stack.functions.iter();
            let names = names.map(|&index| collapsed::frame(&self.functions[index as usize].name));
            let path: Vec<String> = std::iter::once(collapsed::frame(&stack.thread))
                .chain(names)
                .collect();
            format!("{} {}\n", path.join(";"), stack.weight)
        };
        self.stacks.iter().map(line).collect()
    }

    /// A pprof profile as bytes of a `.pb.gz` file; the thread is a label.
    pub fn pprof(&self) -> Vec<u8> {
        let mut names = Names::new();
        let mut profile = Message::new();
        for (kind, unit) in self.weight.types() {
            profile.append(1, &names.value_type(kind, unit));
        }
        for stack in &self.stacks {
            let leaf_first = stack
                .functions
                .iter()
                .rev()
                .map(|&index| u64::from(index) + 1);
            let (label, thread) = (names.index("thread"), names.index(&stack.thread));
            let sample = Message::new()
                .packed(1, leaf_first)
                .packed(2, [stack.count, stack.weight])
                .message(3, &Message::new().number(1, label).number(2, thread));
            profile.append(2, &sample);
        }
        let [_, shown_first] = self.weight.types();
        let functions = self.functions.iter();
        let functions = functions.map(|function| (&*function.name, &*function.file));
        let (wall_ns, title) = (self.wall_ns, &self.title);
        compressed(finished(
            profile,
            names,
            functions,
            shown_first,
            wall_ns,
            title,
        ))
    }

    /// The functions that have the most, as text: at most `count` of them.
    pub fn hotspots(&self, count: usize) -> String {
        const COLUMNS: [Column; 5] = [(Right, 8), (Right, 8), (Right, 11), (Left, 72), (Left, 60)];
        let whole = self.whole().max(1) as f64;
        let mut lines = vec![row(
            &COLUMNS,
            &["self", "total", "self", "function", "file"],
        )];
        let shares = self.shares();
        let told = shares.iter().filter(|share| share.own > 0).take(count);
        lines.extend(told.map(|share| {
            let [own, total] =
                [share.own, share.total].map(|value| units::percent(value as f64 / whole));
            let amount = self.weight.amount(share.own);
            let Function { name, file } = share.function;
            row(&COLUMNS, &[&own, &total, &amount, shown(name), file])
        }));
        let mut text = lines.join("\n") + "\n";
        let rest = shares.iter().filter(|share| share.own > 0).skip(count);
        let (rest, left) = rest.fold((0, 0), |(n, sum), share| (n + 1, sum + share.own));
        if rest > 0 {
            let share = units::percent(left as f64 / whole);
            let _ = writeln!(text, "{share:>8}  in {rest} others");
        }
        text
    }
}

/// The last two parts of a path, such as `Pool::divide`, or the last of a trait's method: those before them stand under the pointer.
fn end(name: &str) -> &str {
    if name.starts_with('<') {
        return name.rsplit("::").next().unwrap_or(name);
    }
    let path = name.split('<').next().unwrap_or(name);
    let parted = path.rmatch_indices("::").nth(1);
    &name[parted.map_or(0, |(at, parting)| at + parting.len())..]
}

/// All stacks that begin alike.
struct TreeNode<'a> {
    name: &'a str,
    /// `None` for a thread.
    file: Option<&'a str>,
    parent: Option<u32>,
    depth: u32,
    own: u64,
    total: u64,
}

/// The colours of the other flame graphs: kernels as operations, engines as engines, the system and libraries as phases.
fn class(node: &TreeNode) -> &'static str {
    let is_of = |prefixes: &[&str]| {
        let name = node.name.trim_start_matches('<');
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    match node.file {
        None => "thread",
        Some(_) if is_of(&["carnot_kernels::pool"]) => "wait",
        Some(_) if is_of(&["carnot_kernels"]) => "operation",
        Some(_) if is_of(&["carnot"]) => "engine",
        Some(_) => "phase",
    }
}

#[cfg(test)]
mod tests {
    use super::end;

    #[test]
    fn the_end_of_a_path_keeps_what_it_is_generic_over() {
        assert_eq!(end("carnot_kernels::pool::Pool::divide"), "Pool::divide");
        assert_eq!(
            end("carnot_kernels::matmul::tile<a::b::C>"),
            "matmul::tile<a::b::C>"
        );
        assert_eq!(end("<a::B as c::D>::step"), "step");
        assert_eq!(end("syscall"), "syscall");
    }
}
