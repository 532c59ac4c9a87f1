//! Who allocates: a sample of the program's allocations becomes events of the probe, each at the place in the code that it is of.
//!
//! The sample is queued where it is taken; names are looked up here, by the recorder's thread, once for each stack. The first look-up reads the
//! program's debug information and takes some tenths of a second, in which that thread writes nothing.

use std::collections::HashMap;

use carnot_probe::{Allocation, Kind, SiteId, clock, site_at};
use carnot_sampling::heap::{CannotSample, Sampler, Taken, is_installed};
use carnot_sampling::symbols::Names;

use crate::{Config, Error};

/// What nobody can name.
const UNKNOWN: &str = "(unknown)";

/// A sample that is being taken.
#[derive(Debug)]
pub struct Allocations {
    sampler: Sampler,
    /// The site of each stack.
    sites: Vec<SiteId>,
    /// Files of the program, kept for good, as the files of spans are.
    files: HashMap<String, &'static str>,
}

impl Allocations {
    /// Says whether what the configuration wants is possible, before there is a file.
    pub fn check(config: &Config) -> Result<(), Error> {
        if config.sample_allocations > 0 && !is_installed() {
            return Err(wrong(CannotSample::OtherAllocator));
        }
        Ok(())
    }

    /// Begins, if the configuration wants it.
    pub fn watch(config: &Config) -> Result<Option<Self>, Error> {
        if config.sample_allocations == 0 {
            return Ok(None);
        }
        let sampler = Sampler::start(config.sample_allocations, clock::ticks);
        let sampler = sampler.map_err(wrong)?;
        Ok(Some(Self {
            sampler,
            sites: Vec::new(),
            files: HashMap::new(),
        }))
    }

    /// What the calling thread allocates from now on is not the program's.
    pub fn leave_out_this_thread(&self) {
        self.sampler.leave_out_this_thread();
    }

    /// Tells the probe what happened since the last time; how many allocations were lost.
    pub fn tell(&mut self) -> u64 {
        let taken = self.sampler.take();
        self.place(&taken);
        let mean_bytes = self.sampler.mean();
        for event in &taken.events {
            let size = event.size.cast_signed();
            let allocation = Allocation {
                time: event.time,
                bytes: if event.is_release { -size } else { size },
                count: 1,
                id: event.address,
                mean_bytes,
            };
            carnot_probe::allocation(self.sites[event.stack as usize], &allocation);
        }
        taken.lost
    }

    /// Finds the places of the stacks that are new.
    fn place(&mut self, taken: &Taken) {
        if taken.stacks.is_empty() {
            return;
        }
        let names = Names::of(taken.stacks.iter().flatten());
        for stack in &taken.stacks {
            let site = match names.allocating(stack) {
                Some(frame) => {
                    let file = self.file(&frame.file);
                    site_at(&frame.function, Kind::Allocation, file, frame.line)
                }
                None => site_at(UNKNOWN, Kind::Allocation, "", 0),
            };
            self.sites.push(site);
        }
    }

    fn file(&mut self, name: &str) -> &'static str {
        if let Some(known) = self.files.get(name) {
            return known;
        }
        let kept: &'static str = name.to_owned().leak();
        self.files.insert(name.to_owned(), kept);
        kept
    }
}

fn wrong(error: CannotSample) -> Error {
    Error::Config {
        file: "configuration".to_owned(),
        what: format!("sample_allocations: {error}"),
    }
}
