//! Colour, which says nothing that the words do not say.

use carnot_analyze::{LossKind, Severity};

/// Whether a report is coloured. The caller knows whether a terminal reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    #[default]
    Never,
    /// ANSI escape sequences.
    Always,
}

impl Colour {
    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn floor(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn loss(self, kind: LossKind, text: &str) -> String {
        let code = match kind {
            LossKind::Kernel => "33",
            LossKind::Wait => "31",
            LossKind::Engine => "34",
            LossKind::Probe => "35",
        };
        self.paint(code, text)
    }

    pub(super) fn severity(self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Critical => "1;31",
            Severity::High => "31",
            Severity::Medium => "33",
            Severity::Low => "36",
            Severity::Unstable => "35",
        };
        self.paint(code, text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always if text.is_empty() => String::new(),
            Self::Always => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}
