//! The other door for output: the whole terminal, drawn again and again, and given back as it was when it is dropped, at an error and at a panic.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};

/// The terminal, while it is ours.
pub struct Screen {
    terminal: DefaultTerminal,
    /// A message for each wish to leave; its other end is gone where keys cannot be read.
    wishes: Receiver<()>,
}

impl Screen {
    /// Takes the terminal; from now on a panic gives it back before it is told.
    pub fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init()?;
        let (tell, wishes) = mpsc::channel();
        // A thread of its own: of a terminal that was closed the library reads nothing for ever, and does not come back.
        thread::Builder::new()
            .name("keys".to_owned())
            .spawn(move || {
                while let Ok(event) = event::read() {
                    if is_wish_to_leave(&event) && tell.send(()).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { terminal, wishes })
    }

    /// Draws everything anew; what has not changed is not written.
    pub fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(drop)
    }

    /// Waits at most so long for somebody who wants to leave, by `q`, Escape or Ctrl-C, or for keys that can no longer be read.
    pub fn is_left_within(&self, time: Duration) -> bool {
        self.wishes.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }
}

fn is_wish_to_leave(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    key.kind == KeyEventKind::Press
        && match key.code {
            KeyCode::Char('q') | KeyCode::Esc => true,
            KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
            _ => false,
        }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = ratatui::try_restore();
    }
}
