//! Threads, failures, panics, clients that leave, and the end: with an engine that does as its inputs say.

use std::sync::mpsc::{Receiver, Sender, channel};

use carnot_engine::{DEFAULT_PRIORITY, TensorInfo, TensorType};
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::metrics::Metrics;

/// Doubles; fails at a row of −1, panics at one of −2, and gives a row too few at one of −3.
struct Doubling {
    info: TensorModelInfo,
    /// Runs wait for it, where there is one.
    gate: Option<Arc<Mutex<Receiver<()>>>>,
    rows: Sender<usize>,
}

impl TensorEngine for Doubling {
    fn model(&self) -> &TensorModelInfo {
        &self.info
    }

    fn run(&mut self, inputs: &[Tensor], _: Option<&[String]>) -> Result<Vec<Tensor>, EngineError> {
        let input = inputs[0].view::<f32>()?;
        let _ = self.rows.send(input.len());
        if let Some(gate) = &self.gate {
            let _ = gate.lock().unwrap().recv();
        }
        if input.contains(&-1.0) {
            return Err(EngineError::Engine("a row of -1".into()));
        }
        assert!(!input.contains(&-2.0), "a row of -2");
        let few = usize::from(input.contains(&-3.0) && input.len() > 1);
        let doubled: Vec<f32> = input[few..].iter().map(|one| 2.0 * one).collect();
        Ok(vec![Tensor::from_f32("y", [doubled.len(), 1], doubled)?])
    }

    fn duplicate(&self) -> Result<Box<dyn TensorEngine>, EngineError> {
        Ok(Box::new(Self {
            info: self.info.clone(),
            gate: self.gate.clone(),
            rows: self.rows.clone(),
        }))
    }
}

struct World {
    model: Arc<ModelHandle>,
    /// Lets a run go on.
    gate: Sender<()>,
    /// The rows of runs that have begun.
    rows: Receiver<usize>,
    runtime: Runtime,
}

/// A model whose runs wait for the gate.
fn world(batching: Batching) -> World {
    let tensor = |name| TensorInfo::new(name, TensorType::Fp32, [None, Some(1)]);
    let ((gate, opened), (sender, rows)) = (channel(), channel());
    let engine = Doubling {
        info: TensorModelInfo {
            name: "doubling".to_owned(),
            inputs: vec![tensor("x")],
            outputs: vec![tensor("y")],
            is_batchable: true,
            ..TensorModelInfo::default()
        },
        gate: Some(Arc::new(Mutex::new(opened))),
        rows: sender,
    };
    let metrics = Metrics::new().tensors("doubling");
    let model = ModelHandle::start(Box::new(engine), batching, 100, metrics).unwrap();
    World {
        model: Arc::new(model),
        gate,
        rows,
        runtime: Builder::new_multi_thread().enable_all().build().unwrap(),
    }
}

type Asked = tokio::task::JoinHandle<Result<Answer, ApiError>>;

impl World {
    fn ask_with(&self, values: &[f32], timeout: Option<Duration>) -> Asked {
        let (model, values) = (Arc::clone(&self.model), values.to_vec());
        let input = Tensor::from_f32("x", [values.len(), 1], values).unwrap();
        let request = Request {
            inputs: vec![input],
            outputs: None,
            tenant: "a".into(),
            priority: DEFAULT_PRIORITY,
            timeout,
        };
        self.runtime
            .spawn(async move { model.infer(&Limits::default(), request).await })
    }

    /// A request that is known to wait, or to run where none does.
    fn ask(&self, values: &[f32]) -> Asked {
        let before = self.accepted();
        let asked = self.ask_with(values, None);
        while self.accepted() == before || self.model.shared.state().next <= before {
            thread::yield_now();
        }
        asked
    }

    /// The first request, which runs and holds the engine; the others wait behind it.
    fn ask_behind(&self, all: &[&[f32]]) -> Vec<Asked> {
        let first = self.ask(&[0.0]);
        assert_eq!(self.rows.recv().unwrap(), 1);
        let mut asked = vec![first];
        asked.extend(all.iter().map(|values| self.ask(values)));
        asked
    }

    fn accepted(&self) -> u64 {
        self.model.ledger().books().accepted
    }

    fn open(&self, runs: usize) {
        (0..runs).for_each(|_| self.gate.send(()).unwrap());
    }

    /// Values, or the message of an error.
    fn end(&self, asked: Asked) -> Result<Vec<f32>, String> {
        match self.runtime.block_on(asked).unwrap() {
            Ok(answer) => Ok(answer.outputs[0].view::<f32>().unwrap().into_owned()),
            Err(error) => Err(format!("{}: {}", error.code.code, error.message)),
        }
    }

    fn is_at_rest(&self) -> bool {
        let books = self.model.ledger().books().clone();
        books.in_flight() == 0 && books.lost() == 0
    }
}

#[test]
fn what_comes_during_a_run_shares_the_next() {
    let world = world(Batching::default());
    let mut asked = world.ask_behind(&[&[1.0], &[2.0, 3.0], &[4.0]]);
    world.open(2);
    let last = asked.pop().unwrap();
    let answer = world.runtime.block_on(last).unwrap().unwrap();
    assert_eq!(
        (answer.batch_rows, answer.outputs[0].shape()),
        (4, &[1, 1][..])
    );
    let rest: Vec<_> = asked
        .into_iter()
        .map(|one| world.end(one).unwrap())
        .collect();
    assert_eq!(rest, [vec![0.0], vec![2.0], vec![4.0, 6.0]]);
    assert_eq!(world.rows.recv(), Ok(4));
    let statistics = world.model.statistics();
    assert_eq!(
        (statistics.runs, statistics.rows, statistics.success.count),
        (2, 5, 4)
    );
    assert!(world.is_at_rest());
}

#[test]
fn a_bad_request_fails_alone() {
    for (bad, expected) in [
        (-1.0, "engine_failed: a row of -1"),
        (-2.0, "engine_failed: the engine panicked: a row of -2"),
    ] {
        let world = world(Batching::default());
        let mut asked = world.ask_behind(&[&[1.0], &[bad], &[3.0]]);
        world.open(5);
        assert_eq!(world.end(asked.pop().unwrap()), Ok(vec![6.0]));
        assert_eq!(world.end(asked.pop().unwrap()), Err(expected.to_owned()));
        assert_eq!(world.end(asked.pop().unwrap()), Ok(vec![2.0]));
        assert_eq!(world.model.statistics().fail.count, 1);
        assert_eq!(world.end(asked.pop().unwrap()), Ok(vec![0.0]));
        assert!(world.is_at_rest());
    }
}

#[test]
fn a_model_whose_rows_do_not_come_apart_runs_requests_one_by_one() {
    let world = world(Batching::default());
    let mut asked = world.ask_behind(&[&[-3.0], &[3.0]]);
    world.open(4);
    assert_eq!(world.end(asked.pop().unwrap()), Ok(vec![6.0]));
    assert_eq!(world.end(asked.pop().unwrap()), Ok(vec![-6.0]));
}

#[test]
fn who_leaves_gives_the_place_back_at_once() {
    let world = world(Batching::default());
    let mut asked = world.ask_behind(&[&[1.0], &[2.0]]);
    let (last, left) = (asked.pop().unwrap(), asked.pop().unwrap());
    assert_eq!(world.model.waiting(), 2);
    left.abort();
    assert!(world.runtime.block_on(left).is_err());
    assert_eq!(
        (
            world.model.waiting(),
            world.model.ledger().books().in_flight()
        ),
        (1, 2)
    );
    world.open(2);
    assert_eq!(world.end(last), Ok(vec![4.0]));
    assert_eq!(
        world.rows.recv(),
        Ok(1),
        "the one who left was not computed"
    );
}

#[test]
fn who_waits_for_too_long_is_told() {
    let world = world(Batching::default());
    let first = world.ask(&[0.0]);
    assert_eq!(world.rows.recv().unwrap(), 1);
    let waits = world.ask_with(&[1.0], Some(Duration::from_millis(1)));
    let refused = world.end(waits).unwrap_err();
    assert_eq!(
        refused,
        "request_timeout: the request waited for a run for 1ms, its `timeout`"
    );
    assert_eq!(world.model.waiting(), 0, "while the engine is busy");
    world.open(1);
    assert_eq!(world.end(first), Ok(vec![0.0]));
    assert!(world.is_at_rest());
}

#[test]
fn closing_does_what_waits_and_takes_no_more() {
    let world = world(Batching::default());
    let asked = world.ask_behind(&[&[1.0], &[2.0]]);
    world.open(2);
    world.model.close();
    let answers: Vec<_> = asked
        .into_iter()
        .map(|one| world.end(one).unwrap())
        .collect();
    assert_eq!(answers, [[0.0], [2.0], [4.0]]);
    let refused = world.end(world.ask_with(&[1.0], None)).unwrap_err();
    assert_eq!(refused, "draining: doubling is being unloaded");
    assert!(world.is_at_rest());
}

#[test]
fn instances_run_at_the_same_time() {
    let batching = Batching {
        instances: 2,
        max_rows: 1,
        ..Batching::default()
    };
    let world = world(batching);
    let asked = [world.ask(&[1.0]), world.ask(&[2.0])];
    // Both have begun before either may go on.
    assert_eq!([world.rows.recv(), world.rows.recv()], [Ok(1), Ok(1)]);
    world.open(2);
    assert_eq!(
        asked.map(|one| world.end(one)),
        [Ok(vec![2.0]), Ok(vec![4.0])]
    );
}

#[test]
fn inputs_that_the_model_does_not_take_are_not_let_in() {
    let world = world(Batching::default());
    let model = Arc::clone(&world.model);
    let request = Request {
        inputs: vec![Tensor::from_f32("z", [1, 1], vec![1.0]).unwrap()],
        outputs: None,
        tenant: "a".into(),
        priority: DEFAULT_PRIORITY,
        timeout: None,
    };
    let limits = Limits::default();
    let refused = world
        .runtime
        .block_on(model.infer(&limits, request))
        .unwrap_err();
    assert_eq!(
        (refused.code.code, refused.param.as_deref()),
        ("invalid_value", Some("z"))
    );
    assert_eq!(world.accepted(), 0);
}

#[test]
fn sizes_that_only_one_client_chose_are_not_remembered() {
    let world = world(Batching {
        max_rows: 2,
        ..Batching::default()
    });
    for rows in [1, 3, 4, 5] {
        let asked = world.ask(&vec![1.0; rows]);
        world.gate.send(()).unwrap();
        world.runtime.block_on(asked).unwrap().unwrap();
    }
    let statistics = world.model.statistics();
    assert_eq!((statistics.runs, statistics.rows), (4, 13));
    assert_eq!(statistics.by_rows.keys().collect::<Vec<_>>(), [&1]);
}
