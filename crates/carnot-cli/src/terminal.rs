//! The other door for output: the whole terminal, drawn again and again, and given back as it was when it is dropped, at an error and at a panic.

use std::io;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};

/// The terminal, while it is ours.
pub struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes the terminal; from now on a panic gives it back before it is told.
    pub fn open() -> io::Result<Self> {
        ratatui::try_init().map(|terminal| Self { terminal })
    }

    /// Draws everything anew; what has not changed is not written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Waits at most so long for somebody who wants to leave: by `q`, Escape or Ctrl-C.
    #[expect(
        clippy::unused_self,
        reason = "keys are read by whoever has the screen"
    )]
    pub fn is_left_within(&self, time: Duration) -> io::Result<bool> {
        if !event::poll(time)? {
            return Ok(false);
        }
        Ok(match event::read()? {
            Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') | KeyCode::Esc => true,
                KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
                _ => false,
            },
            _ => false,
        })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}
