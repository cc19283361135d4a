//! The native histograms of a request, decoded and handed on in groups: the whole of a large request would take eight times its
//! size.

use crate::histogram;
use crate::intake::TimeBounds;
use crate::refusal::Refusals;
use crate::series_text;
use crate::walk::Walked;
use cardinal_storage::database::{AppendRow, RefusalClass};
use cardinal_storage::model::HistogramSample;

/// A group is handed on once it had so many bytes of messages, an ordinary request several times over.
const GROUP_BYTES: usize = 1 << 20;

/// Calls `append` with the histograms that may be stored, and their series; what may not be is noted. Ends at the first error.
pub(crate) fn for_each_group<E>(
    walked: &Walked<'_>,
    bounds: &TimeBounds,
    refusals: &mut Refusals,
    mut append: impl FnMut(&[AppendRow<'_>], &[HistogramSample], &mut Refusals) -> Result<(), E>,
) -> Result<(), E> {
    let (mut rows, mut histograms): (Vec<AppendRow<'_>>, Vec<HistogramSample>) = (Vec::new(), Vec::new());
    let (mut messages, mut bytes) = (walked.histograms(), 0);
    for series in walked.histogram_series() {
        let mut from = histograms.len() as u32;
        for message in messages.by_ref().take(series.samples.len()) {
            bytes += message.len();
            histograms.extend(read(message, series.section, bounds, refusals));
            if bytes >= GROUP_BYTES {
                rows.push(AppendRow { samples: from..histograms.len() as u32, ..series.clone() });
                append(&rows, &histograms, refusals)?;
                rows.clear();
                histograms.clear();
                (bytes, from) = (0, 0);
            }
        }
        rows.push(AppendRow { samples: from..histograms.len() as u32, ..series });
        // A series is registered for what there is to store.
        rows.pop_if(|row| row.samples.is_empty());
    }
    if rows.is_empty() { Ok(()) } else { append(&rows, &histograms, refusals) }
}

/// A histogram, if it may be stored.
fn read(
    message: &[u8],
    section: &[u8],
    bounds: &TimeBounds,
    refusals: &mut Refusals,
) -> Option<HistogramSample> {
    match histogram::read(message) {
        Ok(sample) => bounds.allow(section, sample.t, refusals).then_some(sample),
        Err(error) => {
            refusals.note(RefusalClass::InvalidHistogram, 1, || {
                format!("{}: a native histogram is refused: {error}", series_text(section))
            });
            None
        }
    }
}
