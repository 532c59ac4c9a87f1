//! Collapsed stacks: `thread;phase;step;operation 1234`, a line for each path, weighed by its own nanoseconds.

use carnot_analyze::Analysis;

use crate::stacks::shown;

/// The stacks of an analysis.
pub fn render(analysis: &Analysis) -> String {
    let tree = &analysis.call_tree;
    let own = tree
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.self_ns > 0);
    let line = |index: usize, self_ns: u64| {
        let frames: Vec<String> = tree.path(index).into_iter().map(frame).collect();
        format!("{} {self_ns}\n", frames.join(";"))
    };
    own.map(|(index, node)| line(index, node.self_ns)).collect()
}

/// A name without what the format is made of: semicolons, line ends, and `#` where a comment would begin.
pub(crate) fn frame(name: &str) -> String {
    let safe = |c: char| match c {
        ';' => ':',
        c if c.is_control() => ' ',
        c => c,
    };
    let name: String = shown(name).chars().map(safe).collect();
    let name = name.trim();
    match name.strip_prefix('#') {
        Some(rest) => format!("№{rest}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::frame;

    #[test]
    fn names_cannot_break_the_format() {
        assert_eq!(frame("a;b\n1"), "a:b 1");
        assert_eq!(frame("#1"), "№1");
        assert_eq!(frame(""), "(unnamed)");
    }
}
