//! An archive of arrays: what it accepts must be as large as its shapes say, and no larger than allowed.
#![no_main]

use carnot_formats::npz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(arrays) = npz::read("fuzz", bytes, 1 << 20) else {
        return;
    };
    let all: usize = arrays.iter().map(|array| array.bytes.len()).sum();
    assert!(all <= 1 << 20);
    for array in &arrays {
        let elements: usize = array.shape.iter().product();
        assert_eq!(array.bytes.len() % elements.max(1), 0);
    }
});
