//! A model in an engine, run again and again, with what each run took.

use std::collections::{BTreeMap, HashMap};

use carnot_analyze::{NodeWork, TensorRun};
use carnot_onnx::{
    Analysis, DataType, Engine, EngineKind, LoadedModel, Model, Options, RuntimeProfile,
    analyze_seen,
};
use carnot_record::Trace;

use super::Inputs;
use super::nodes::{Ceilings, Nodes, whole};
use super::runs::{Clock, Interval, Profiled, run};
use super::trace;
use crate::wrong_usage::WrongUsage;

/// What is to be run, and how often.
#[derive(Clone, Copy)]
pub struct Session<'a> {
    pub loaded: &'a LoadedModel,
    pub inputs: &'a Inputs,
    pub options: &'a Options,
    pub clock: Clock,
    /// When the file was read.
    pub read: Interval,
    pub runs: usize,
    pub warmups: usize,
}

/// What came of it.
pub struct Measured {
    /// Of the model as it is written.
    pub analysis: Analysis,
    pub tensors: TensorRun,
    /// From reading the file to a model that can be run.
    pub load: Interval,
    /// Runs that are recorded.
    pub runs: Vec<Interval>,
    recorded: Recorded,
}

/// What is known of the recorded runs.
enum Recorded {
    /// What each had to do.
    Whole(NodeWork),
    /// Every node, and what recording one cost.
    Nodes(RuntimeProfile, f64),
}

impl Measured {
    /// The trace of all recorded runs.
    pub fn trace(&self) -> anyhow::Result<Trace> {
        match &self.recorded {
            Recorded::Whole(work) => Ok(trace::of_runs(self.load, &self.runs, work)),
            Recorded::Nodes(profile, cost_ns) => trace::of_nodes(
                self.load,
                &self.runs,
                profile,
                &self.tensors.nodes,
                *cost_ns,
            ),
        }
    }
}

impl Measured {
    /// A trace of each recorded run by itself.
    pub fn traces(&self) -> anyhow::Result<Vec<Trace>> {
        let trace = |(index, run): (usize, &Interval)| match &self.recorded {
            Recorded::Whole(work) => Ok(trace::of_runs(self.load, &[*run], work)),
            Recorded::Nodes(profile, cost_ns) => {
                let place = (profile.runs.len() + index).checked_sub(self.runs.len());
                let profile = place.map(|place| trace::one_run(profile, place));
                let profile = profile.unwrap_or_default();
                trace::of_nodes(self.load, &[*run], &profile, &self.tensors.nodes, *cost_ns)
            }
        };
        self.runs.iter().enumerate().map(trace).collect()
    }
}

impl Session<'_> {
    /// Opens the engine and runs.
    ///
    /// # Errors
    /// [`WrongUsage`] where the engine does not take the model, or there is none; else what a run says.
    pub fn measure(self, ceilings: Ceilings<'_>) -> anyhow::Result<Measured> {
        let choice = Engine::choose(self.options).map_err(wrong)?;
        let analysis = self.analyze(&self.loaded.model, &Seen::new())?;
        let tensors = TensorRun {
            engine: choice.engine.to_string(),
            reason: choice.why,
            inputs: self.inputs.summary.clone(),
            assumed: self.inputs.assumed.clone(),
            ..TensorRun::default()
        };
        let options = Options {
            engine: choice.engine,
            ..self.options.clone()
        };
        let session = Session {
            options: &options,
            ..self
        };
        if choice.engine == EngineKind::Embedded {
            session.embedded(analysis, tensors, ceilings)
        } else {
            session.onnx_runtime(analysis, tensors, ceilings)
        }
    }

    fn analyze(&self, model: &Model, seen: &Seen) -> anyhow::Result<Analysis> {
        Ok(analyze_seen(model, &self.inputs.given(), seen)?)
    }

    /// The engine that is built in times no node: its runs are known as a whole.
    fn embedded(
        self,
        analysis: Analysis,
        tensors: TensorRun,
        ceilings: Ceilings<'_>,
    ) -> anyhow::Result<Measured> {
        let (engine, opened) = self.clock.time(|| Engine::of(self.loaded, self.options));
        let (mut engine, _) = engine.map_err(wrong)?;
        let inputs = &self.inputs.tensors;
        run(&mut *engine, inputs, self.warmups, self.clock)?;
        let runs = run(&mut *engine, inputs, self.runs, self.clock)?;
        let nodes = Nodes::of_model(&self.loaded.model, &analysis, ceilings);
        let work = whole(&self.loaded.model, &analysis);
        Ok(Measured {
            load: self.loading(opened),
            tensors: nodes.told(TensorRun {
                plain_ns: runs.iter().map(|run| run.ns()).collect(),
                ..tensors
            }),
            recorded: Recorded::Whole(work),
            runs,
            analysis,
        })
    }

    /// Half of the runs without the profiler, those with it, and the other half: what drifts, drifts for both. Sessions are not run in
    /// turns, for the threads of the one that has just run go on looking for work for a while.
    fn onnx_runtime(
        self,
        analysis: Analysis,
        tensors: TensorRun,
        ceilings: Ceilings<'_>,
    ) -> anyhow::Result<Measured> {
        let (plain, opened) = self.clock.time(|| Engine::of(self.loaded, self.options));
        let (mut plain, _) = plain.map_err(wrong)?;
        let mut profiled = Profiled::open(self.loaded, self.options)?;
        let (inputs, clock) = (&self.inputs.tensors, self.clock);
        let first = self.runs.div_ceil(2);
        run(&mut *plain, inputs, self.warmups, clock)?;
        let mut plain_runs = run(&mut *plain, inputs, first, clock)?;
        run(&mut profiled.engine, inputs, self.warmups, clock)?;
        let runs = run(&mut profiled.engine, inputs, self.runs, clock)?;
        run(&mut *plain, inputs, self.warmups.min(1), clock)?;
        plain_runs.extend(run(&mut *plain, inputs, self.runs - first, clock)?);
        let (profile, executed) = profiled.finish()?;
        let nodes = self.nodes(&profile, executed.as_ref(), ceilings)?;
        let cost_ns = cost_of_a_node(&plain_runs, &runs, &profile);
        Ok(Measured {
            load: self.loading(opened),
            tensors: nodes.told(TensorRun {
                is_timed_by_node: true,
                plain_ns: plain_runs.iter().map(|run| run.ns()).collect(),
                ..tensors
            }),
            recorded: Recorded::Nodes(profile, cost_ns),
            runs,
            analysis,
        })
    }

    /// The nodes that ran: of the model as the runtime made it, where it wrote that down.
    fn nodes(
        &self,
        profile: &RuntimeProfile,
        executed: Option<&Model>,
        ceilings: Ceilings<'_>,
    ) -> anyhow::Result<Nodes> {
        let model = executed.unwrap_or(&self.loaded.model);
        let analysis = self.analyze(model, &seen(model, profile))?;
        Ok(Nodes::of_profile(
            profile,
            (model, &analysis),
            &self.loaded.model,
            ceilings,
        ))
    }

    /// Reading and opening, as if one followed the other at once.
    fn loading(&self, opened: Interval) -> Interval {
        Interval {
            start_ns: opened.start_ns.saturating_sub(self.read.ns()),
            end_ns: opened.end_ns,
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands in"
)]
fn wrong(error: carnot_onnx::OnnxError) -> anyhow::Error {
    WrongUsage::error(error.to_string())
}

/// Types and shapes of values, by name.
type Seen = BTreeMap<String, (DataType, Vec<usize>)>;

/// What the profile says of the values of a model, by its nodes.
fn seen(model: &Model, profile: &RuntimeProfile) -> Seen {
    let outputs: HashMap<&str, &[String]> = model
        .graph
        .nodes
        .iter()
        .map(|node| (node.name.as_str(), node.outputs.as_slice()))
        .collect();
    let mut seen = Seen::new();
    for run in &profile.nodes {
        // Outputs that are left out are not told of, so that only all of them have a place each.
        let names = outputs.get(run.name.as_str()).copied().unwrap_or_default();
        let is_whole = names.len() == run.outputs.len() && names.iter().all(|one| !one.is_empty());
        for (name, value) in names.iter().zip(&run.outputs).filter(|_| is_whole) {
            seen.insert(name.clone(), (value.data_type, value.shape.clone()));
        }
    }
    seen
}

/// How much longer a run takes when its nodes are recorded, for each of them; 0 where it does not.
fn cost_of_a_node(plain: &[Interval], recorded: &[Interval], profile: &RuntimeProfile) -> f64 {
    let median = |runs: &[Interval]| {
        let mut ns: Vec<u64> = runs.iter().map(|run| run.ns()).collect();
        ns.sort_unstable();
        ns.get(ns.len() / 2).copied().unwrap_or(0) as f64
    };
    let nodes = profile.nodes.len() as f64 / profile.runs.len().max(1) as f64;
    ((median(recorded) - median(plain)) / nodes.max(1.0)).max(0.0)
}

#[cfg(test)]
mod tests {
    use carnot_onnx::NodeRun;

    use super::*;

    #[test]
    fn recording_costs_what_runs_take_longer() {
        let runs = |ns: &[u64]| -> Vec<Interval> {
            ns.iter()
                .map(|ns| Interval {
                    start_ns: 100,
                    end_ns: 100 + ns,
                })
                .collect()
        };
        let profile = RuntimeProfile {
            runs: vec![(0, 1); 2],
            nodes: vec![NodeRun::default(); 20],
        };
        let cost = cost_of_a_node(&runs(&[900, 1_000, 5_000]), &runs(&[1_500]), &profile);
        assert_eq!(cost, 50.0);
        assert_eq!(cost_of_a_node(&runs(&[900]), &runs(&[800]), &profile), 0.0);
    }
}
