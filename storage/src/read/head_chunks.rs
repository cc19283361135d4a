//! What the head has of one series, place by place, for people who look into a directory.

use crate::codec::{self, ChunkError, ChunkKind, Encoding, OpenChunk};
use crate::head::log::record::Record;
use crate::model::{HistogramSample, TimestampMs};

/// Where in the head samples are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadPlace {
    /// A chunk of the head-chunk log.
    Log,
    /// A chunk of the head-chunk log whose samples came late.
    LateLog,
    /// The chunk that grows.
    Open,
    /// The buffer of late samples.
    LateBuffer,
}

/// Some samples of one series in the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadChunk {
    /// Where.
    pub place: HeadPlace,
    /// The first sample's time.
    pub first: TimestampMs,
    /// The last sample's time.
    pub last: TimestampMs,
    /// The bytes that the samples take: of the chunk, or of the tokens so far, or of the buffer's entries.
    pub bytes: u64,
    /// What they are; an error where the chunk is damaged.
    pub content: Result<HeadContent, ChunkError>,
}

/// What a chunk of the head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadContent {
    /// What it holds.
    pub kind: ChunkKind,
    /// How; `None` in the buffer of late samples and of histograms, which are not encoded.
    pub encoding: Option<Encoding>,
    /// How many samples.
    pub samples: u32,
}

impl HeadChunk {
    pub(super) fn of_open(chunk: &OpenChunk) -> Self {
        let content =
            HeadContent { kind: ChunkKind::Float, encoding: Some(Encoding::Open), samples: chunk.count() };
        Self {
            place: HeadPlace::Open,
            first: chunk.first_t(),
            last: chunk.last_t(),
            bytes: chunk.used() as u64,
            content: Ok(content),
        }
    }

    /// `None` where nothing came late.
    pub(super) fn of_late(samples: &[(TimestampMs, f64)]) -> Option<Self> {
        let ((first, _), (last, _)) = (samples.first()?, samples.last()?);
        let content = HeadContent { kind: ChunkKind::Float, encoding: None, samples: samples.len() as u32 };
        let bytes = size_of_val(samples) as u64;
        Some(Self { place: HeadPlace::LateBuffer, first: *first, last: *last, bytes, content: Ok(content) })
    }

    /// Histograms that are not encoded yet, of the kind of the first; `None` where there are none.
    pub(super) fn of_histograms(samples: &[HistogramSample], place: HeadPlace) -> Option<Self> {
        let (first, last) = (samples.first()?, samples.last()?);
        let content =
            HeadContent { kind: codec::kind_of(&first.h), encoding: None, samples: samples.len() as u32 };
        let bytes = samples.iter().map(|h| h.h.memory_bytes() as u64).sum();
        Some(Self { place, first: first.t, last: last.t, bytes, content: Ok(content) })
    }

    pub(super) fn of_record(record: &Record<'_>) -> Self {
        let content = codec::verify(record.chunk).and_then(|header| {
            let samples = header.samples(&codec::NothingShared)?;
            Ok(HeadContent { kind: header.kind, encoding: Some(header.encoding), samples })
        });
        Self {
            place: if record.header.late { HeadPlace::LateLog } else { HeadPlace::Log },
            first: record.header.first_t,
            last: record.header.last_t,
            bytes: record.chunk.len() as u64,
            content,
        }
    }
}
