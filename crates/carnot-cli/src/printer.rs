//! The one door for output: results on standard output, everything else on standard error.
#![expect(clippy::print_stderr, reason = "this is the door")]

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use carnot_report::text::Colour;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Prints.
pub struct Printer {
    colour: Colour,
}

#[expect(
    clippy::unused_self,
    reason = "who may print is who was handed the printer"
)]
impl Printer {
    /// Colour where standard output is a terminal and `NO_COLOR` is not set.
    pub fn new() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = if io::stdout().is_terminal() && !plain {
            Colour::Always
        } else {
            Colour::Never
        };
        Self { colour }
    }

    /// Whether reports are coloured.
    pub fn colour(&self) -> Colour {
        self.colour
    }

    /// Whether results go to a terminal.
    pub fn is_terminal(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Writes a result at once, so that streams are seen as they come.
    pub fn result(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Says something about the work.
    pub fn note(&self, text: &str) {
        eprintln!("{text}");
    }

    /// Says why the command failed, with the causes that add something.
    pub fn error(&self, error: &anyhow::Error) {
        let mut text = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        eprintln!("carnot: {text}");
    }

    /// A progress bar on standard error; nothing where that is no terminal.
    pub fn progress(&self, label: &str, unit: Unit) -> ProgressBar {
        let template = match unit {
            Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes} {eta}",
            Unit::Steps => "{msg} {wide_bar} {pos}/{len} {eta}",
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        bar.set_message(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}

/// What a progress bar counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Layers, chunks, measurements.
    Steps,
}

/// Whether the reader of standard output has gone, which is no failure of ours.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
