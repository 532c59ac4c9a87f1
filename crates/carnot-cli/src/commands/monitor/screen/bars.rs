//! Rows of a panel: a name, a bar where there is a share to show, and words.

use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};

use crate::commands::monitor::figures::UNKNOWN;

/// Columns of a name.
const NAME: usize = 13;
/// Columns of a bar.
const BAR: usize = 18;
/// The parts of a column that can be filled.
const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// Eight heights.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a full bar means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// There is no more: red when it is near.
    Scarce,
    /// As it should be.
    Good,
    /// Neither.
    Plain,
}

impl Full {
    fn colour(self, share: f64) -> Color {
        match self {
            Self::Scarce if share >= 0.9 => Color::Red,
            Self::Scarce if share >= 0.7 => Color::Yellow,
            Self::Scarce | Self::Good => Color::Green,
            Self::Plain => Color::Cyan,
        }
    }
}

/// A name and words.
pub fn row(name: &str, text: impl Into<String>) -> Line<'static> {
    Line::from(vec![label(name), value(text.into())])
}

/// A name, a bar of `share`, and words.
pub fn bar(name: &str, share: Option<f64>, full: Full, text: impl Into<String>) -> Line<'static> {
    let mut spans = vec![label(name)];
    let share = share.map(|share| share.clamp(0.0, 1.0));
    let (filled, colour) = match share {
        None => (String::new(), Color::Reset),
        Some(share) => (blocks(share, BAR), full.colour(share)),
    };
    let rest = BAR - filled.chars().count();
    spans.push(Span::styled(filled, Style::new().fg(colour)));
    spans.push("·".repeat(rest).dark_gray());
    spans.push(Span::raw("  "));
    spans.push(value(text.into()));
    Line::from(spans)
}

/// Each share as a column of some height; `–` where it is not known.
pub fn columns(name: &str, shares: &[Option<f64>]) -> Line<'static> {
    let column = |share: &Option<f64>| match share {
        None => Span::raw(UNKNOWN).dark_gray(),
        Some(share) => {
            let height = (share * 7.0).round().clamp(0.0, 7.0) as usize;
            let colour = Full::Scarce.colour(*share);
            Span::styled(HEIGHTS[height].to_string(), Style::new().fg(colour))
        }
    };
    let mut spans = vec![label(name)];
    spans.extend(shares.iter().map(column));
    Line::from(spans)
}

/// Words over a group of rows.
pub fn heading(text: &str) -> Line<'static> {
    Line::from(text.to_owned().dark_gray())
}

fn label(name: &str) -> Span<'static> {
    let name: String = name.chars().take(NAME - 1).collect();
    format!("{name:<NAME$}").dark_gray()
}

fn value(text: String) -> Span<'static> {
    if text == UNKNOWN {
        text.dark_gray()
    } else {
        Span::raw(text)
    }
}

/// `width` columns of which `share` is filled, to an eighth of a column.
fn blocks(share: f64, width: usize) -> String {
    let eighths = (share * (8 * width) as f64).round() as usize;
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_filled_to_an_eighth() {
        assert_eq!(blocks(0.0, 4), "");
        assert_eq!(blocks(0.5, 4), "██");
        assert_eq!(blocks(0.53, 4), "██▏");
        assert_eq!(blocks(1.0, 4), "████");
    }

    #[test]
    fn every_bar_has_the_same_width() {
        let width = |share| bar("cpu", share, Full::Scarce, "").width();
        assert_eq!(width(None), NAME + BAR + 2);
        for share in [0.0, 0.013, 0.5, 0.999, 1.0, 3.0] {
            assert_eq!(width(Some(share)), NAME + BAR + 2, "{share}");
        }
    }
}
