//! Decodes the mix of kinds again and again, and does nothing else for long: for profilers, and to count instructions, which do
//! not depend on what else the machine does.
//!
//! ```text
//! decode_mix quick|dense SAMPLES PASSES
//! valgrind --tool=callgrind --toggle-collect='*Sealed*decode*' decode_mix quick 480 1
//! ```
//!
//! 200 series of 5760 samples in chunks of SAMPLES, with their time column, as in the bench of codecs. Prints the samples of a
//! pass and the fastest.

use cardinal_benches::kinds::MIX;
use cardinal_benches::mix::{of_kind, seal_mix};
use cardinal_storage::codec::{Packing, Samples};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [packing, len, passes] = &args[..] else {
        return Err("usage: decode_mix quick|dense SAMPLES PASSES".into());
    };
    let packing = if packing == "dense" { Packing::Dense } else { Packing::Quick };
    let series: Vec<Vec<f64>> = MIX.iter().flat_map(|&(kind, share)| of_kind(kind, share, 5760)).collect();
    let sealed = seal_mix(&series, len.parse()?, packing);
    let (mut samples, mut fastest, mut count) = (Samples::new(), f64::INFINITY, 0);
    for _ in 0..passes.parse::<u32>()? {
        let start = Instant::now();
        count = 0;
        sealed.decode(&mut samples, |s| count += s.len());
        fastest = fastest.min(start.elapsed().as_nanos() as f64);
    }
    println!("{count} samples, {:.3} ns each in the fastest pass", fastest / count as f64);
    Ok(())
}
