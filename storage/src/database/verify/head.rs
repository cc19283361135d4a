//! Checking the head as a restart loads it.

use super::{Part, Verification, VerifyError};
use crate::codec::{self, NothingShared, Samples};
use crate::database::inspect::Untouched;
use crate::database::manifest::State;
use crate::database::open::load_head;
use crate::database::replay::Mending;
use crate::head::Head;
use crate::head::log::record::Record;
use crate::head::log::{HeadPos, LogSnapshot};
use crate::head::series::SeriesCopies;
use crate::head::shard::{SLICE, Shard};
use crate::io::Fs;
use crate::model::Window;
use std::path::Path;
use std::sync::Arc;

/// Loads checkpoint and log as a start does, which tells what is missing between them, and checks what is in them.
pub(super) fn check(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    state: &State,
    found: &mut Verification,
) -> Result<(), VerifyError> {
    let Some(shards) = state.init.shard_count() else {
        found.add(Part::Manifest, format!("expected 1 to 256 shards, found {}", state.init.shards));
        return Ok(());
    };
    let fs: Arc<dyn Fs> = Arc::new(Untouched::new(fs.clone()));
    let (head, _, replayed) =
        load_head(&fs, dir, shards, state, Mending::Leave).map_err(|e| VerifyError::Head(e.to_string()))?;
    replayed.head_damage.iter().for_each(|d| found.add(Part::Head, d));
    replayed.log_damage.iter().for_each(|d| found.add(Part::Wal, d));
    if replayed.orphans > 0 {
        found.add(Part::Wal, format!("{} samples of series that nothing registers", replayed.orphans));
    }
    let mut samples = Samples::default();
    for shard in &head.shards {
        check_shard(&head, shard, &mut samples, found);
    }
    Ok(())
}

fn check_shard(head: &Head, shard: &Shard, samples: &mut Samples, found: &mut Verification) {
    let log = head.log.snapshot();
    let mut copies = SeriesCopies::default();
    let end = shard.series.lock().slots();
    for first in (0..end).step_by(SLICE as usize) {
        let slots: Vec<u32> = (first..end.min(first.saturating_add(SLICE))).collect();
        shard.series.lock().copy(&slots, &mut copies);
        for series in &copies.series {
            found.head_series += 1;
            let index = shard.index.read();
            let record =
                shard.series.lock().record(series.slot).map(|r| (r.fingerprint, r.family, r.generation));
            let (Some((fingerprint, family, generation)), Some(row)) = (record, index.row(series.slot))
            else {
                let slot = series.slot.0;
                found.add(Part::Head, format!("shard {} slot {slot}: a series without labels", shard.id));
                continue;
            };
            let labels = index.labels(row);
            let key = labels.key(&head.account_label, head.seed);
            if (labels.fingerprint(head.seed), key.family) != (fingerprint, family) {
                found
                    .add(Part::Head, format!("shard {}: {labels} has another series' fingerprint", shard.id));
            }
            let chain = Chain { head, shard, log: &log, slot: series.slot.0, generation };
            if let Err(damage) = chain.check(series.tail, samples, &mut found.head_chunks) {
                found.add(Part::Head, damage);
            }
        }
    }
}

/// The records of one series.
struct Chain<'a> {
    head: &'a Head,
    shard: &'a Shard,
    log: &'a LogSnapshot,
    slot: u32,
    generation: u8,
}

impl Chain<'_> {
    fn check(&self, tail: HeadPos, samples: &mut Samples, chunks: &mut u64) -> Result<(), String> {
        let mut at = tail;
        while let Some(record) = self.log.get(at).map_err(|e| e.to_string())? {
            *chunks += 1;
            self.record(&record, samples).map_err(|what| self.log.corruption(at, what).to_string())?;
            at = record.header.prev;
        }
        Ok(())
    }

    /// Whose the record is, and whether its chunk is what its header says.
    fn record(&self, record: &Record<'_>, samples: &mut Samples) -> Result<(), String> {
        let h = &record.header;
        let (owner, is) = ((self.shard.id, self.slot, self.generation), (h.shard, h.slot.0, h.generation));
        if owner != is {
            return Err(format!("expected a chunk of (shard, slot, generation) {owner:?}, found {is:?}"));
        }
        samples.clear();
        codec::verify(record.chunk)
            .and_then(|_| codec::decode(record.chunk, &NothingShared, samples))
            .map_err(|e| format!("expected a chunk, found {e}"))?;
        let times = samples.ends();
        let window = |t| Window::of(t, self.head.window);
        let claimed = (h.first_t.0, h.last_t.0);
        if times != Some(claimed) || window(h.first_t) != window(h.last_t) {
            return Err(format!("expected samples from {claimed:?} in one window, found {times:?}"));
        }
        Ok(())
    }
}
