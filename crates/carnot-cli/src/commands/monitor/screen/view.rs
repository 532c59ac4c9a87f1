//! What is on the screen, and where: the machine left, the server right, the process under the machine, the past at the bottom.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Sparkline, SparklineBar};

use super::panels;
use crate::commands::monitor::figures::{UNKNOWN, share, tokens};
use crate::monitor::sample::Sample;

/// Samples of the past that are kept: more than a terminal has columns.
const PAST: usize = 512;
/// Below so many columns, panels stand under one another.
const WIDE: u16 = 100;
/// Rows of the past: with fewer there is nothing to see, and more show nothing more.
const LEAST_PAST: u16 = 6;
const MOST_PAST: u16 = 12;

/// The screen at a moment.
pub struct View {
    /// What came last.
    pub sample: Option<Sample>,
    /// Since the beginning.
    pub elapsed: Duration,
    duration: Duration,
    cpu: VecDeque<Option<f64>>,
    tokens: VecDeque<Option<f64>>,
}

impl View {
    /// With nothing on it; a duration of 0 has no end.
    pub fn new(duration: Duration) -> Self {
        Self {
            sample: None,
            elapsed: Duration::ZERO,
            duration,
            cpu: VecDeque::new(),
            tokens: VecDeque::new(),
        }
    }

    /// Takes a sample into the present and the past.
    pub fn push(&mut self, sample: Sample) {
        let server = sample.server.as_ref().and_then(|of| of.told.as_ref().ok());
        let rate = server.and_then(|of| of.tokens_per_s);
        for (past, value) in [(&mut self.cpu, sample.host.cpu), (&mut self.tokens, rate)] {
            past.push_back(value);
            if past.len() > PAST {
                past.pop_front();
            }
        }
        self.sample = Some(sample);
    }

    /// Draws it on all of `frame`.
    pub fn draw(&self, frame: &mut Frame<'_>) {
        let [head, body] = rows(frame.area(), [Constraint::Length(1), Constraint::Fill(1)]);
        frame.render_widget(self.head(), head);
        let Some(sample) = &self.sample else {
            return frame.render_widget("  the first sample comes …".dark_gray(), body);
        };
        let machine = panels::machine(&sample.host, &sample.gpus);
        let mut left = vec![(" machine ".to_owned(), machine)];
        if let Some(process) = &sample.process {
            let process = process.there();
            let title = match process {
                None => " process ".to_owned(),
                Some(of) => format!(" process {} ({}) ", of.name, of.pid),
            };
            left.push((title, panels::process(process)));
        }
        let mut right = Vec::new();
        if let Some(server) = &sample.server {
            right.push((format!(" server {} ", server.url), panels::server(server)));
        }
        if body.width < WIDE {
            left.append(&mut right);
        }
        let tall = |panels: &[(String, Vec<Line<'_>>)]| -> u16 {
            panels.iter().map(|(_, rows)| rows.len() as u16 + 2).sum()
        };
        let wanted = tall(&left).max(tall(&right));
        let left_over = body.height.saturating_sub(wanted);
        let past = match left_over {
            ..LEAST_PAST => 0,
            rows => rows.min(MOST_PAST),
        };
        let [panels, past] = rows(body, [Constraint::Max(wanted), Constraint::Length(past)]);
        if right.is_empty() {
            stack(frame, panels, left);
        } else {
            let [one, other] = columns(panels);
            stack(frame, one, left);
            stack(frame, other, right);
        }
        if past.height > 0 {
            self.draw_past(frame, past, sample.server.is_some());
        }
    }

    fn head(&self) -> Line<'static> {
        let clock = |of: Duration| format!("{:02}:{:02}", of.as_secs() / 60, of.as_secs() % 60);
        let until = match self.duration {
            Duration::ZERO => "without end".to_owned(),
            end => format!("of {}", clock(end)),
        };
        Line::from(vec![
            " carnot monitor".bold(),
            format!("   {} {until}   ", clock(self.elapsed)).into(),
            "q leaves".dark_gray(),
        ])
    }

    fn draw_past(&self, frame: &mut Frame<'_>, area: Rect, has_server: bool) {
        let last = |past: &VecDeque<Option<f64>>| past.back().copied().flatten();
        let cpu = format!(" cpu {} ", share(last(&self.cpu)));
        if !has_server {
            return past(frame, area, cpu, &self.cpu, 1.0, Color::Green);
        }
        let most = self.tokens.iter().flatten().copied().fold(0.0, f64::max);
        let highest = if most > 0.0 {
            tokens(Some(most))
        } else {
            UNKNOWN.to_owned()
        };
        let title = format!(
            " generated {}, at most {highest} ",
            tokens(last(&self.tokens))
        );
        let [one, other] = columns(area);
        past(frame, one, cpu, &self.cpu, 1.0, Color::Green);
        past(frame, other, title, &self.tokens, most, Color::Cyan);
    }
}

/// Panels under one another, each as high as it has to be.
fn stack(frame: &mut Frame<'_>, area: Rect, panels: Vec<(String, Vec<Line<'static>>)>) {
    let heights = panels
        .iter()
        .map(|(_, rows)| Constraint::Max(rows.len() as u16 + 2));
    let areas = Layout::vertical(heights).split(area);
    for ((title, rows), area) in panels.into_iter().zip(areas.iter()) {
        frame.render_widget(Paragraph::new(rows).block(block(title)), *area);
    }
}

/// The newest of `values` to the right; the highest column is `most`.
fn past(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    values: &VecDeque<Option<f64>>,
    most: f64,
    colour: Color,
) {
    let width = usize::from(area.width.saturating_sub(4));
    let known = values.len().min(width);
    let bar = |value: &Option<f64>| {
        SparklineBar::from(value.map(|value| (1e3 * value / most.max(f64::MIN_POSITIVE)) as u64))
    };
    let unknown = std::iter::repeat_n(SparklineBar::from(None::<u64>), width - known);
    let bars = unknown.chain(values.iter().skip(values.len() - known).map(bar));
    let line = Sparkline::default()
        .block(block(title))
        .data(bars.collect::<Vec<SparklineBar>>())
        .max(1000)
        .style(Style::new().fg(colour))
        .absent_value_symbol(" ");
    frame.render_widget(line, area);
}

fn block(title: String) -> Block<'static> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(Color::DarkGray))
        .padding(Padding::horizontal(1))
        .title(title.bold())
}

fn rows(area: Rect, of: [Constraint; 2]) -> [Rect; 2] {
    Layout::vertical(of).areas(area)
}

fn columns(area: Rect) -> [Rect; 2] {
    Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area)
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::monitor::sample::tests::fixed;

    /// The screen of a terminal of that size after these samples.
    fn screen(width: u16, height: u16, samples: &[Sample]) -> String {
        let mut view = View::new(Duration::from_mins(1));
        view.elapsed = Duration::from_secs(15);
        samples.iter().for_each(|sample| view.push(sample.clone()));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn all_of_it() {
        let past = [0.1, 0.3, 0.9].map(|cpu| {
            let mut sample = fixed();
            sample.host.cpu = Some(cpu);
            if let Ok(server) = &mut sample.server.as_mut().unwrap().told {
                server.tokens_per_s = Some(735.2 * cpu);
            }
            sample
        });
        let samples = [&past[..], &[fixed()]].concat();
        insta::assert_snapshot!(screen(120, 40, &samples));
    }

    #[test]
    fn a_narrow_terminal_has_one_column() {
        insta::assert_snapshot!(screen(72, 46, &[fixed()]));
    }

    #[test]
    fn nothing_but_a_machine_of_many_cores_and_little_known() {
        let mut sample = Sample::default();
        sample.host.cores = (0..40)
            .map(|core| (core > 2).then(|| f64::from(core) / 40.0))
            .collect();
        insta::assert_snapshot!(screen(80, 30, &[sample]));
    }

    #[test]
    fn a_server_that_says_nothing_is_told() {
        let mut sample = fixed();
        sample.server.as_mut().unwrap().told =
            Err("http://127.0.0.1:1/metrics: no answer".to_owned());
        let drawn = screen(120, 40, &[sample]);
        assert!(
            drawn.contains("http://127.0.0.1:1/metrics: no answer"),
            "{drawn}"
        );
        assert!(drawn.contains("memory"), "the rest is there: {drawn}");
    }

    #[test]
    fn no_size_of_terminal_is_too_small() {
        for (width, height) in [(1, 1), (2, 3), (20, 5), (100, 2), (300, 100)] {
            screen(width, height, &[fixed(), Sample::default()]);
        }
        screen(80, 24, &[]);
    }
}
