//! Everything a sender can be told instead of success: one status each, and a message that says what to do.
//!
//! Senders drop a request that is answered with 4xx and repeat one that is answered with 5xx. So what will never be
//! accepted is 400, and what may be accepted later is 503, also where 413 or 429 would name the reason better: one widely
//! used sender repeats 413 for ever, and another drops data on 429 unless told otherwise. 429 remains for new series beyond
//! the head's budget, where repeating does not help soon. An account's limit on series is 400: repeating would hold back the
//! samples of other accounts, and the next scrape brings the same series anyway.

use crate::admission::Overloaded;
use crate::walk::WalkError;
use cardinal_storage::database::{AppendError, RefusalClass, Refused};
use std::time::Duration;

/// Why a request was not stored, or not all of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The body is not what snappy's block format makes.
    #[error("the body is no snappy block: {0}")]
    Snappy(#[from] snap::Error),
    /// The body says that it decompresses to more than its length allows.
    #[error("the body is no snappy block: {compressed} bytes cannot hold the {claimed} that they claim to")]
    Expansion {
        /// The body's length.
        compressed: usize,
        /// What it claims to decompress to.
        claimed: usize,
    },
    /// The request is larger than the limit.
    #[error(
        "the request has {len} bytes uncompressed, more than {max}; send less at once or raise ingest.request_bytes"
    )]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The request is malformed, or has too many samples.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Some of the request is invalid; the rest is stored.
    #[error("{0}")]
    Invalid(String),
    /// Some of the series are new and there is no room for new ones; the rest is stored.
    #[error("{0}")]
    NoRoom(String),
    /// Some of the series are new, and the head is being flushed to make room for them; the rest is stored.
    #[error("{0}")]
    Flushing(String),
    /// Too many bytes are in flight.
    #[error(transparent)]
    Overloaded(#[from] Overloaded),
    /// The storage engine did not take it, or could not make it durable.
    #[error("{0}")]
    Storage(String),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Snappy(_) | Self::Expansion { .. } | Self::TooLarge { .. } => 400,
            Self::Walk(_) | Self::Invalid(_) => 400,
            Self::NoRoom(_) => 429,
            Self::Flushing(_) | Self::Overloaded(_) | Self::Storage(_) => 503,
        }
    }

    /// The reason in metrics, one word of a fixed list.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Snappy(_) | Self::Expansion { .. } | Self::Walk(WalkError::Malformed(_)) => "malformed",
            Self::TooLarge { .. } | Self::Walk(WalkError::TooLong { .. }) => "request_bytes",
            Self::Walk(WalkError::TooManySamples { .. }) => "request_samples",
            Self::Invalid(_) => "samples",
            Self::NoRoom(_) => "no_memory_for_series",
            Self::Flushing(_) => "flushing",
            Self::Overloaded(_) => "in_flight_bytes",
            Self::Storage(_) => "storage",
        }
    }

    /// How long the sender should wait before it repeats the request; `None` where it should not.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Flushing(_) | Self::Overloaded(_) => Some(Duration::from_secs(1)),
            Self::Storage(_) => Some(Duration::from_secs(5)),
            Self::NoRoom(_) => Some(Duration::from_secs(60)),
            _ => None,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Samples by [`RefusalClass`].
pub(crate) type ByClass = [u64; RefusalClass::ALL.len()];

/// How much of a message senders keep.
const MESSAGE_BYTES_MAX: usize = 1000;
/// How many refusals are kept with their messages.
const MESSAGES_MAX: usize = 20;

/// What of one request was refused.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    counts: ByClass,
    messages: Vec<String>,
}

impl Refusals {
    /// Notes `n` samples. The message is only made where there is room for it.
    pub(crate) fn note(&mut self, class: RefusalClass, n: u64, message: impl FnOnce() -> String) {
        self.counts[class as usize] += n;
        if n > 0 && self.messages.len() < MESSAGES_MAX {
            self.messages.push(message());
        }
    }

    /// Adds what the storage engine refused.
    pub(crate) fn add(&mut self, counts: &ByClass, refused: &[Refused]) {
        for (sum, n) in self.counts.iter_mut().zip(counts) {
            *sum += n;
        }
        let room = MESSAGES_MAX - self.messages.len();
        self.messages.extend(refused.iter().take(room).map(|r| r.message.clone()));
    }

    pub(crate) fn counts(&self) -> &ByClass {
        &self.counts
    }

    /// What the sender is told; `None` when nothing was refused.
    pub(crate) fn into_refusal(self, written: u64) -> Option<Refusal> {
        if self.counts.iter().all(|n| *n == 0) {
            return None;
        }
        let text = self.text(written);
        // What comes again within a second tells the rest of its refusals then.
        let has = |class: RefusalClass| self.counts[class as usize] > 0;
        Some(match (has(RefusalClass::Flushing), has(RefusalClass::NoMemoryForSeries)) {
            (true, _) => Refusal::Flushing(text),
            (false, true) => Refusal::NoRoom(text),
            (false, false) => Refusal::Invalid(text),
        })
    }

    fn text(&self, written: u64) -> String {
        let refused: u64 = self.counts.iter().sum();
        let classes = RefusalClass::ALL.iter().zip(self.counts).filter(|(_, n)| *n > 0);
        let classes: Vec<_> =
            classes.map(|(class, n)| format!("{n} {}", class.name().replace('_', " "))).collect();
        let mut text = format!("samples written: {written}, refused: {refused} ({})", classes.join(", "));
        for (i, message) in self.messages.iter().enumerate() {
            text.push_str(if i == 0 { ": " } else { "; " });
            if text.len() + message.len() > MESSAGE_BYTES_MAX {
                text.push('…');
                break;
            }
            text.push_str(message);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_succeeds_is_400_and_what_may_is_not() {
        let check = |refusal: Refusal, status: u16, seconds: Option<u64>| {
            let after = refusal.retry_after().map(|d| d.as_secs());
            assert_eq!((refusal.status(), after), (status, seconds), "{refusal}");
        };
        check(Refusal::Snappy(snap::Error::Empty), 400, None);
        check(Refusal::Expansion { compressed: 1, claimed: 1000 }, 400, None);
        check(Refusal::TooLarge { len: 2, max: 1 }, 400, None);
        check(WalkError::TooManySamples { max: 1 }.into(), 400, None);
        check(Refusal::Invalid("x".into()), 400, None);
        check(Refusal::NoRoom("x".into()), 429, Some(60));
        check(Refusal::Flushing("x".into()), 503, Some(1));
        check(Overloaded { in_flight: 1, wanted: 1, max: 1 }.into(), 503, Some(1));
        check(Refusal::Storage("x".into()), 503, Some(5));
    }

    #[test]
    fn the_message_counts_by_class_and_names_the_first() {
        let mut refusals = Refusals::default();
        refusals.note(RefusalClass::TooFarAhead, 2, || "series a: too far".into());
        refusals.note(RefusalClass::InvalidLabels, 1, || "series b: no name".into());
        let refusal = refusals.into_refusal(7).unwrap();
        assert_eq!(refusal.status(), 400);
        assert_eq!(
            refusal.to_string(),
            "samples written: 7, refused: 3 (1 invalid labels, 2 too far ahead): series a: too far; series b: no name"
        );
    }

    #[test]
    fn the_message_fits_what_senders_read() {
        let mut refusals = Refusals::default();
        for i in 0..100 {
            refusals.note(RefusalClass::Conflict, 1, || format!("series {i}: {}", "x".repeat(200)));
        }
        let text = refusals.into_refusal(0).unwrap().to_string();
        assert!(text.starts_with("samples written: 0, refused: 100 (100 "), "{text}");
        assert!(text.len() <= 1024 && text.ends_with("; …"), "{text}");
    }

    #[test]
    fn limits_on_series_do_not_hold_back_what_follows() {
        for class in [RefusalClass::SeriesLimit, RefusalClass::SeriesCreatedLimit] {
            let mut refusals = Refusals::default();
            refusals.note(class, 1, || "series a: the account is full".into());
            let refusal = refusals.into_refusal(9).unwrap();
            assert_eq!((refusal.status(), refusal.retry_after()), (400, None));
        }
    }

    #[test]
    fn new_series_without_room_may_be_sent_again() {
        let mut refusals = Refusals::default();
        refusals.note(RefusalClass::InvalidLabels, 1, || "series b: no name".into());
        refusals.note(RefusalClass::NoMemoryForSeries, 1, || "series c: no room".into());
        assert_eq!(refusals.into_refusal(0).unwrap().status(), 429);
        assert!(Refusals::default().into_refusal(3).is_none());
    }
}
