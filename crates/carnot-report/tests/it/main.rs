//! Every form, from one fixed trace, and from one whose names try to break each of them.

mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod page;
#[cfg(test)]
mod perfetto;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod pprof;
mod protobuf;
#[cfg(test)]
mod snapshots;
#[cfg(test)]
mod stack_profile;
#[cfg(test)]
mod tensors;
#[cfg(test)]
mod viewers;
