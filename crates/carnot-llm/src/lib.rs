//! Language models on CPU: sequences, cache, sampler, forward pass
