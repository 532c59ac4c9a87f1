//! One file per output form.
//!
//! Every form is a pure function `render` from an [`Analysis`], a [`Trace`] or both to text or bytes; nothing here reads
//! or writes a file. [`Form`] lists them with their names and file names, for `--emit`.
//!
//! | for people | for tools that read traces | for tools that read profiles |
//! |---|---|---|
//! | [`text`], [`markdown`], [`html`] | [`perfetto`], [`chrome`], [`speedscope`] | [`pprof`], [`collapsed`], [`flamegraph`] |
//!
//! [`json`] and [`csv`] are for scripts. [`mod@bench`] has the forms of what a benchmark measured, [`stack_profile`] those of sampled stacks, [`pipeline`] those of the session of a pipeline, [`columns`] is a table for whoever has rows and no report.
//!
//! ```
//! use carnot_analyze::{MachineProfile, RunInfo, Trace, analyze};
//! use carnot_report::{Form, text};
//!
//! let trace = Trace::default();
//! let analysis = analyze(&trace, &MachineProfile::default(), &RunInfo::default());
//! assert!(text::render(&analysis, text::Colour::Never).starts_with("carnot profile"));
//! let form = Form::from_name("perfetto").expect("it is in the list");
//! assert_eq!(form.file_name(), "trace.pftrace");
//! let bytes = form.render(&analysis, &trace);
//! # drop(bytes);
//! ```

pub mod bench;
pub mod chrome;
pub mod collapsed;
pub mod columns;
pub mod csv;
pub mod flamegraph;
mod form;
pub mod html;
pub mod json;
pub mod markdown;
pub mod perfetto;
pub mod pipeline;
pub mod pprof;
mod protobuf;
pub mod speedscope;
pub mod stack_profile;
mod stacks;
mod table;
pub mod text;
pub mod units;

pub use form::Form;

#[doc(no_inline)]
pub use carnot_analyze::{Analysis, Trace};
