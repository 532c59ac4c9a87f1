//! Who takes part: how each engine's driver is started, and the drivers that run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::definition::{Phase, Work};
use super::driver::Driver;
use super::idle;
use super::quiet::{Ticks, used_by};
use super::results::{Answer, EngineFacts, Sample, Sizes};
use crate::process::{cargo, program, run};

/// Carnot's key in the samples.
pub const CARNOT: &str = "carnot";
const PEER_DRIVER: &str = "tools/bench/llama_cpp_driver.py";
/// A driver that says its version must import its library, no more.
const VERSION_TIMEOUT: Duration = Duration::from_mins(2);

/// An engine with its options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Engine {
    Carnot,
    LlamaCpp {
        flash_attention: bool,
        /// One buffer of keys and values for all sequences, instead of one for each.
        unified: bool,
    },
}

impl Engine {
    /// The key in the samples.
    pub fn key(self) -> String {
        let Self::LlamaCpp {
            flash_attention,
            unified,
        } = self
        else {
            return CARNOT.to_owned();
        };
        let mut key = "llama.cpp".to_owned();
        if flash_attention {
            key += " flash";
        }
        if unified {
            key += " unified";
        }
        key
    }

    /// The peers of a work: llama.cpp without and with flash attention, and for several sequences both ways to keep them.
    pub fn peers(work: &Work) -> Vec<Self> {
        let ways: &[bool] = if work.sequences > 1 {
            &[false, true]
        } else {
            &[false]
        };
        let peers = ways.iter().flat_map(|unified| {
            [false, true].map(|flash_attention| Self::LlamaCpp {
                flash_attention,
                unified: *unified,
            })
        });
        peers.collect()
    }
}

/// Where the programs are.
#[derive(Debug)]
pub struct Programs {
    pub carnot: PathBuf,
    driver: PathBuf,
    /// The Python that has llama.cpp, if one was found.
    pub python: Option<String>,
}

impl Programs {
    /// Builds Carnot's.
    pub fn build(target: &Path, python: Option<String>) -> anyhow::Result<Self> {
        let build = |what: &[&str]| {
            let arguments = [&["build", "--quiet", "--release", "--package"], what].concat();
            run(&mut cargo(&arguments))
        };
        build(&["carnot-cli"])?;
        build(&["carnot-llm", "--example", "bench_driver"])?;
        Ok(Self {
            carnot: target.join("release/carnot"),
            driver: target.join("release/examples/bench_driver"),
            python,
        })
    }

    fn command(&self, engine: Engine, model: &Path, threads: usize) -> anyhow::Result<Command> {
        let mut command = match engine {
            Engine::Carnot => program(&self.driver.to_string_lossy(), &[]),
            Engine::LlamaCpp {
                flash_attention,
                unified,
            } => {
                let python = self.python.as_deref().context("no Python with llama.cpp")?;
                let mut command = program(python, &[PEER_DRIVER]);
                command.args(flash_attention.then_some("--flash-attention"));
                command.args(unified.then_some("--unified"));
                command
            }
        };
        command.arg(model).args(["--threads", &threads.to_string()]);
        Ok(command)
    }
}

/// Whether llama.cpp can be used from `python`; its version, or why not.
pub fn find_peer(python: &str) -> anyhow::Result<String> {
    let command = program(python, &[PEER_DRIVER, "--version"]);
    let mut driver = Driver::spawn(python, command)?;
    let answer = driver.answer(VERSION_TIMEOUT)?;
    let version = answer["version"].as_str();
    version.map(str::to_owned).context("it says no version")
}

/// The drivers of one model. Each is started when it is first asked.
pub struct Fleet<'a> {
    programs: &'a Programs,
    model: &'a Path,
    threads: usize,
    cache_tokens: usize,
    timeout: Duration,
    drivers: BTreeMap<Engine, Driver>,
    /// What each engine said of itself, by its key.
    pub facts: BTreeMap<String, EngineFacts>,
    /// What the model's work is, once Carnot has told.
    pub sizes: Option<Sizes>,
}

impl<'a> Fleet<'a> {
    /// `cache_tokens`: tokens that Carnot's cache must have room for.
    pub fn new(
        programs: &'a Programs,
        model: &'a Path,
        threads: usize,
        cache_tokens: usize,
        timeout: Duration,
    ) -> Self {
        Self {
            programs,
            model,
            threads,
            cache_tokens,
            timeout,
            drivers: BTreeMap::new(),
            facts: BTreeMap::new(),
            sizes: None,
        }
    }

    /// Lets `engine` do `work` while all others sleep. A driver that fails is ended; the next work starts it anew.
    pub fn measure(&mut self, engine: Engine, work: &Work) -> anyhow::Result<Sample> {
        if work.phase == Phase::FirstToken {
            return self.first_token(engine, work);
        }
        if !self.drivers.contains_key(&engine) {
            let driver = self.start(engine)?;
            self.drivers.insert(engine, driver);
        }
        self.rest(Some(engine))?;
        let line = serde_json::to_string(work)?;
        let driver = self.drivers.get_mut(&engine).expect("just started");
        let watch = Watch::start(used_by(driver.id()));
        let answer = driver.ask(&line, self.timeout);
        let [ticks, foreign_ticks] = watch.stop(driver.id());
        if answer.is_err() {
            self.drivers.remove(&engine);
        }
        Ok(Sample {
            ticks,
            foreign_ticks,
            ..sample(&engine.key(), answer?)?
        })
    }

    /// Ends the drivers that this work does not need, with the memory that they hold.
    pub fn keep(&mut self, engines: &[Engine]) {
        self.drivers.retain(|engine, _| engines.contains(engine));
    }

    fn start(&mut self, engine: Engine) -> anyhow::Result<Driver> {
        self.rest(None)?;
        let mut command = self.programs.command(engine, self.model, self.threads)?;
        if engine == Engine::Carnot {
            command.args(["--cache-tokens", &self.cache_tokens.to_string()]);
        }
        let key = engine.key();
        let mut driver = Driver::spawn(&key, command)?;
        let said = driver.answer(self.timeout)?;
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        let facts = EngineFacts {
            version: text("version"),
            system: text("system"),
        };
        self.facts.insert(key, facts);
        if engine == Engine::Carnot {
            self.sizes =
                Some(serde_json::from_value(said["model"].clone()).context("carnot: model")?);
        }
        Ok(driver)
    }

    /// A fresh process with the file in the page cache.
    fn first_token(&mut self, engine: Engine, work: &Work) -> anyhow::Result<Sample> {
        self.rest(None)?;
        let read = fs::File::open(self.model)
            .and_then(|mut file| std::io::copy(&mut file, &mut std::io::sink()));
        read.with_context(|| format!("reading {}", self.model.display()))?;
        let mut command = self.programs.command(engine, self.model, self.threads)?;
        command.args(["--first-token", &work.tokens.to_string()]);
        let (begin, watch) = (Instant::now(), Watch::start(0));
        let mut driver = Driver::spawn(&engine.key(), command)?;
        let answer = driver.answer(self.timeout)?;
        let spawn_seconds = Some(begin.elapsed().as_secs_f64());
        let [ticks, foreign_ticks] = watch.stop(driver.id());
        Ok(Sample {
            spawn_seconds,
            ticks,
            foreign_ticks,
            ..sample(&engine.key(), answer)?
        })
    }

    /// Waits until all drivers but one sleep.
    fn rest(&self, but: Option<Engine>) -> anyhow::Result<()> {
        let others = self
            .drivers
            .iter()
            .filter(|(engine, _)| Some(**engine) != but);
        let processes: Vec<u32> = others.map(|(_, driver)| driver.id()).collect();
        idle::wait(&processes)
    }
}

/// How far the system's two counts of the same work may be apart: they are taken at different moments.
const ROUNDING_TICKS: u64 = 2;

/// Processor time while an engine works.
struct Watch {
    before: Option<Ticks>,
    /// What the engine had used before.
    used: u64,
}

impl Watch {
    fn start(used: u64) -> Self {
        let before = Ticks::now();
        Self { before, used }
    }

    /// Ticks of all cores since, and those of others than `process`.
    fn stop(self, process: u32) -> [u64; 2] {
        let Some((before, after)) = self.before.zip(Ticks::now()) else {
            return [0, 0];
        };
        let passed = before.until(after);
        let own = used_by(process).saturating_sub(self.used);
        let foreign = passed.busy.saturating_sub(own + ROUNDING_TICKS);
        [passed.all, foreign]
    }
}

/// What the driver said, without what was seen from outside.
fn sample(key: &str, answer: Value) -> anyhow::Result<Sample> {
    let text = answer.to_string();
    let answer: Answer = serde_json::from_value(answer)
        .with_context(|| format!("{key}: expected a sample, got {text}"))?;
    Ok(Sample {
        seconds: answer.seconds,
        tokens: answer.tokens,
        prepare_seconds: answer.prepare_seconds,
        top: answer.top,
        spawn_seconds: None,
        ticks: 0,
        foreign_ticks: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(sequences: usize) -> Work {
        let (phase, tokens, depth, warmup, repeat) = (Phase::Decode, 1, 0, 0, 1);
        Work {
            phase,
            tokens,
            depth,
            sequences,
            warmup,
            repeat,
        }
    }

    #[test]
    fn keys_say_what_differs() {
        let keys = |sequences| -> Vec<String> {
            let peers = Engine::peers(&work(sequences));
            peers.into_iter().map(Engine::key).collect()
        };
        assert_eq!(keys(1), ["llama.cpp", "llama.cpp flash"]);
        let both = [
            "llama.cpp",
            "llama.cpp flash",
            "llama.cpp unified",
            "llama.cpp flash unified",
        ];
        assert_eq!(keys(8), both);
        assert_eq!(Engine::Carnot.key(), CARNOT);
    }

    #[test]
    fn a_python_without_llama_cpp_is_an_error() {
        assert!(find_peer("carnot-python-that-is-not-there").is_err());
    }
}
