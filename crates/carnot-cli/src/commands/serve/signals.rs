//! What signals ask of a server: SIGTERM and Ctrl-C to end, SIGHUP to read its configuration again.

use std::future::Future;
use std::io;

use tokio::signal::unix::{SignalKind, signal};

/// Exit status of a process that was asked to end twice.
const INTERRUPTED: i32 = 130;

/// Comes when the process is first asked to end; asked a second time, it ends at once.
pub fn stop() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut asked = async move || {
            tokio::select! {
                _ = interrupt.recv() => (),
                _ = terminate.recv() => (),
            }
        };
        asked().await;
        tokio::spawn(async move {
            asked().await;
            std::process::exit(INTERRUPTED);
        });
    })
}

/// Calls `reload` at each SIGHUP.
pub fn on_hangup(mut reload: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            reload();
        }
    });
    Ok(())
}
