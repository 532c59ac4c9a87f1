//! A `tokenizer.json`, and a text through it.
#![no_main]

use carnot_formats::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(tokenizer) = Tokenizer::from_json("fuzz", bytes) else {
        return;
    };
    let _ = tokenizer
        .encode("def f(x): return 'é'\n", true)
        .map(|ids| tokenizer.decode(&ids, false));
});
