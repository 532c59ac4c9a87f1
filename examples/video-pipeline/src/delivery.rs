//! Delivery: a bounded queue, and behind it a thread that writes frames to files or shows them. A frame that finds no room is dropped:
//! who shows a film live has no use for one that comes late.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use carnot_probe::{Frame, Kind, SiteId, drop_frames, frame, site};

use crate::viewer::Viewer;

/// Frames that wait at most.
const ROOM: usize = 12;

/// A frame, ready to go.
pub struct Encoded {
    pub index: u32,
    pub prompt: u32,
    pub generate: Duration,
    pub encode: Duration,
    pub file: Vec<u8>,
}

/// Where frames go.
pub enum Sink {
    /// To files of this folder, `000012.png`.
    Folder(PathBuf),
    /// To whoever looks at the page.
    Viewer(Viewer),
}

pub struct Delivery {
    queue: SyncSender<Encoded>,
    waiting: Arc<AtomicU32>,
    thread: JoinHandle<io::Result<()>>,
    stream: SiteId,
    /// The fault: of so many frames one is dropped.
    drops_one_in: Option<u32>,
}

impl Delivery {
    pub fn start(sink: Sink, drops_one_in: Option<u32>) -> io::Result<Self> {
        if let Sink::Folder(folder) = &sink {
            fs::create_dir_all(folder)?;
        }
        let (queue, frames) = sync_channel(ROOM);
        let waiting = Arc::new(AtomicU32::new(0));
        let (counter, stream) = (Arc::clone(&waiting), site("video", Kind::Frame));
        let thread = thread::Builder::new()
            .name("delivery".to_owned())
            .spawn(move || deliver(sink, &frames, &counter, stream))?;
        Ok(Self {
            queue,
            waiting,
            thread,
            stream,
            drops_one_in,
        })
    }

    /// Puts a frame into the queue, or drops it.
    pub fn offer(&self, encoded: Encoded) {
        let is_chosen = self
            .drops_one_in
            .is_some_and(|of| encoded.index % of == of - 1);
        // Counted before the other thread can take it, which counts it off.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        // A thread that has ended takes nothing either; `finish` tells why.
        if is_chosen || self.queue.try_send(encoded).is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            drop_frames(self.stream, 1);
        }
    }

    /// Returns when everything in the queue is delivered.
    pub fn finish(self) -> anyhow::Result<()> {
        drop(self.queue);
        let delivered = self.thread.join();
        delivered.map_err(|_| anyhow!("the thread that delivers frames panicked"))??;
        Ok(())
    }
}

fn deliver(
    mut sink: Sink,
    frames: &Receiver<Encoded>,
    waiting: &AtomicU32,
    stream: SiteId,
) -> io::Result<()> {
    for encoded in frames {
        let occupancy = waiting.fetch_sub(1, Ordering::Relaxed) - 1;
        let begun = Instant::now();
        match &mut sink {
            Sink::Folder(folder) => {
                let name = format!("{:06}.png", encoded.index);
                fs::write(folder.join(name), &encoded.file)?;
            }
            Sink::Viewer(viewer) => viewer.show(&encoded.file),
        }
        frame(
            stream,
            &Frame {
                index: encoded.index,
                generate_ns: encoded.generate.as_nanos() as u64,
                encode_ns: encoded.encode.as_nanos() as u64,
                send_ns: begun.elapsed().as_nanos() as u64,
                bytes: encoded.file.len() as u64,
                occupancy: Some(occupancy),
                prompt: Some(encoded.prompt),
                ..Frame::default()
            },
        );
    }
    Ok(())
}
