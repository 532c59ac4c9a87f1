//! Which task of asyncio this thread runs. Asked at the beginning of every span, so that it costs a look-up in a dictionary where
//! nobody has imported asyncio, and a call of C where somebody has.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

/// The address of a task, as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskKey(usize);

/// What asyncio has for this purpose.
struct Asyncio {
    running_loop: Py<PyAny>,
    current: Current,
}

enum Current {
    /// `current_task(loop)`, in C since CPython 3.12.
    Call(Py<PyAny>),
    /// The dictionary that it looks into, before.
    Table(Py<PyDict>),
}

static ASYNCIO: PyOnceLock<Asyncio> = PyOnceLock::new();
static MODULES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();

/// The task that runs on this thread; `None` outside of asyncio, and where asking fails.
#[inline]
pub fn current(py: Python<'_>) -> Option<TaskKey> {
    let asyncio = match ASYNCIO.get(py) {
        Some(asyncio) => asyncio,
        None if is_imported(py) => ASYNCIO.get_or_try_init(py, || find(py)).ok()?,
        None => return None,
    };
    let running = asyncio.running_loop.bind(py).call0().ok()?;
    if running.is_none() {
        return None;
    }
    let task = match &asyncio.current {
        Current::Call(function) => function.bind(py).call1((running,)).ok()?,
        Current::Table(tasks) => tasks.bind(py).get_item(running).ok()??,
    };
    (!task.is_none()).then(|| TaskKey(task.as_ptr() as usize))
}

fn is_imported(py: Python<'_>) -> bool {
    let modules = MODULES.get_or_try_init(py, || {
        let modules = py.import("sys")?.getattr("modules")?;
        PyResult::Ok(modules.cast_into::<PyDict>()?.unbind())
    });
    modules.is_ok_and(|modules| {
        let found = modules.bind(py).contains(intern!(py, "asyncio.tasks"));
        found.unwrap_or(false)
    })
}

/// `asyncio.tasks` may be half imported when it is found; the error is then forgotten, and it is asked again.
fn find(py: Python<'_>) -> PyResult<Asyncio> {
    let running_loop = py
        .import("asyncio.events")?
        .getattr("_get_running_loop")?
        .unbind();
    let tasks = py.import("asyncio.tasks")?;
    let table = tasks.getattr("_current_tasks");
    let current = match table.map(Bound::cast_into::<PyDict>) {
        Ok(Ok(table)) if py.version_info() < (3, 12) => Current::Table(table.unbind()),
        _ => Current::Call(tasks.getattr("current_task")?.unbind()),
    };
    Ok(Asyncio {
        running_loop,
        current,
    })
}
