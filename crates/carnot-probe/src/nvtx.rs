//! Spans as ranges of NVIDIA's tools (Nsight Systems and its like), beside those of the probe. With the feature `nvtx` alone: without it
//! everything here is empty and compiles to nothing.
//!
//! A range is pushed when a span of this thread begins while recording is on, and popped when it ends. Spans that were measured elsewhere
//! ([`record_span`](crate::record_span)) and spans of futures are none: pushes and pops of a thread must nest. Kinds that people look for have one
//! name and one colour each, whatever the span is called; other spans keep their name.
//!
//! | range | colour | spans |
//! |---|---|---|
//! | `Prefill_Stage` | red | the phase or stage `prefill` |
//! | `Decode_Stage` | purple | the phase or stage `decode` |
//! | `Attention` | green | operations, layers and stages with `attention`, `attn` or `qkv` in their name |
//! | `FeedForward` | blue | those with `feed_forward`, `ffn`, `mlp`, `gate` or a `down` at the end |
//! | `KV_Cache_Update` | yellow | those with `kv_cache` or `rope and store` |
//! | `AllReduce_Communication` | orange | those with `all_reduce` or `allreduce` |
//! | `AllToAll_Communication` | cyan | those with `all_to_all` or `alltoall` |
//!
//! No tool: a load and a branch. With one: what it takes for a push and a pop.

#[cfg(feature = "nvtx")]
mod injection;
#[cfg(feature = "nvtx")]
mod labels;

use crate::site::SiteId;

/// An open range: popped when it is dropped. Bound to its thread.
#[must_use = "a range that is dropped at once has no length"]
#[derive(Debug, Default)]
pub struct Range {
    #[cfg(feature = "nvtx")]
    is_open: bool,
    on_thread: std::marker::PhantomData<*const ()>,
}

/// Pushes a range for a span of `site`, if recording is on and a tool listens.
#[inline]
pub fn range(site: SiteId) -> Range {
    let is_open = push(site);
    #[cfg(not(feature = "nvtx"))]
    let _ = is_open;
    Range {
        #[cfg(feature = "nvtx")]
        is_open,
        ..Range::default()
    }
}

/// Pushes a range, where no value can be held; `false` where there is nothing to pop.
#[inline]
pub fn push(site: SiteId) -> bool {
    #[cfg(feature = "nvtx")]
    return crate::is_enabled() && injection::push(site);
    #[cfg(not(feature = "nvtx"))]
    {
        let _ = site;
        false
    }
}

/// Pops the range of this thread that was pushed last.
#[inline]
pub fn pop() {
    #[cfg(feature = "nvtx")]
    injection::pop();
}

#[cfg(feature = "nvtx")]
impl Drop for Range {
    #[inline]
    fn drop(&mut self) {
        if self.is_open {
            pop();
        }
    }
}
