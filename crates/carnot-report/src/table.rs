//! Columns of text: aligned by characters, cut where they are too long, safe for a terminal.

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// One column: how it stands and how wide it may be.
pub(crate) type Column = (Align, usize);

/// One row, two spaces between columns, no spaces at the end.
pub(crate) fn row(columns: &[Column], cells: &[&str]) -> String {
    let mut line = String::new();
    for ((align, width), cell) in columns.iter().zip(cells) {
        if !line.is_empty() {
            line.push_str("  ");
        }
        let cell = cut(cell, *width);
        let space = " ".repeat(width.saturating_sub(cell.chars().count()));
        match align {
            Align::Left => line.extend([cell, space]),
            Align::Right => line.extend([space, cell]),
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// At most `width` characters of one line; what is left out shows as `…`. Characters that could move the
/// cursor, change colours or turn the direction of writing show as `�`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.chars().map(visible).collect();
    }
    let mut kept: String = text
        .chars()
        .map(visible)
        .take(width.saturating_sub(1))
        .collect();
    kept.push('…');
    kept
}

fn visible(character: char) -> char {
    let turns_direction = matches!(character, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if character.is_control() || turns_direction {
        char::REPLACEMENT_CHARACTER
    } else {
        character
    }
}

/// Breaks text at spaces into lines of at most `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let word = cut(word, width);
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            *line = word;
        } else if line.chars().count() + 1 + word.chars().count() <= width {
            line.push(' ');
            line.push_str(&word);
        } else {
            lines.push(word);
        }
    }
    lines
}

/// A bar of eighths of a character.
pub(crate) fn bar(share: f64, cells: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 1.0) * cells as f64 * 8.0).round() as usize;
    // What is there is seen.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    "█".repeat(eighths / 8) + EIGHTHS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_aligned_and_cut() {
        let columns = [(Align::Left, 4), (Align::Right, 6), (Align::Left, 3)];
        assert_eq!(row(&columns, &["ab", "1.0", "x"]), "ab       1.0  x");
        assert_eq!(row(&columns, &["abcdef", "\u{1b}[31m", ""]), "abc…   �[31m");
    }

    #[test]
    fn words_are_wrapped() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
    }

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(0.5, 4), "██");
        assert_eq!(bar(1.0, 2), "██");
        assert_eq!(bar(0.0001, 10), "▏");
        assert_eq!(bar(-1.0, 10), "");
    }
}
