//! Why something of a request is not stored.

use crate::database::memory::Admission;
use crate::model::{LabelSet, METRIC_NAME, SectionIter, excerpt};

/// Refusals reported one by one.
pub(super) const REFUSED_MAX: usize = 20;

/// Why something was refused, as a class that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RefusalClass {
    /// The label set is not valid.
    InvalidLabels = 0,
    /// A limit on label sets is exceeded.
    LabelLimit = 1,
    /// The sample lies too far in the future.
    TooFarAhead = 2,
    /// The sample is older than anything that is kept.
    TooOld = 3,
    /// There is another value at the same time.
    Conflict = 4,
    /// The head has no memory for new series.
    NoMemoryForSeries = 5,
    /// A native histogram whose parts do not agree, or that is too large.
    InvalidHistogram = 6,
    /// The account, or all together, have as many series as they may have.
    SeriesLimit = 7,
    /// The account, or all together, had as many new series as they may have in an interval.
    SeriesCreatedLimit = 8,
    /// The head is being flushed to make room for new series, or for late samples.
    Flushing = 9,
}

impl RefusalClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::InvalidLabels,
        Self::LabelLimit,
        Self::TooFarAhead,
        Self::TooOld,
        Self::Conflict,
        Self::NoMemoryForSeries,
        Self::InvalidHistogram,
        Self::SeriesLimit,
        Self::SeriesCreatedLimit,
        Self::Flushing,
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidLabels => "invalid_labels",
            Self::LabelLimit => "label_limit",
            Self::TooFarAhead => "too_far_ahead",
            Self::TooOld => "too_old",
            Self::Conflict => "conflict",
            Self::NoMemoryForSeries => "no_memory_for_series",
            Self::SeriesLimit => "series_limit",
            Self::SeriesCreatedLimit => "series_created_limit",
            Self::Flushing => "flushing",
            Self::InvalidHistogram => "invalid_histogram",
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its class.
    pub class: RefusalClass,
    /// The series and the reason.
    pub message: String,
}

/// The series of a section in any order, for people.
pub(super) fn series_text(section: &[u8]) -> String {
    let labels = || SectionIter::new(section).map_while(Result::ok);
    let name = labels().find(|l| l.name == METRIC_NAME).map_or("", |l| l.value);
    let others = labels().filter(|l| l.name != METRIC_NAME);
    let others: Vec<String> = others.map(|l| format!("{}={:?}", l.name, l.value)).collect();
    excerpt(&format!("{name}{{{}}}", others.join(", "))).into_owned()
}

pub(super) fn too_many_labels(labels: &LabelSet) -> Refused {
    let labels = labels.to_string();
    Refused { class: RefusalClass::LabelLimit, message: format!("{}: too many labels", excerpt(&labels)) }
}

/// Late samples that there is no memory for now; with a message where it `is_told`.
pub(super) fn refused_late(section: &[u8], is_told: bool) -> Refused {
    let reason = "late samples wait until earlier ones have left memory; send again";
    let message = if is_told { format!("{}: {reason}", series_text(section)) } else { String::new() };
    Refused { class: RefusalClass::Flushing, message }
}

/// A new series that there is no memory for now; with a message where it `is_told`.
pub(super) fn refused_new(section: &[u8], admission: Admission, is_told: bool) -> Refused {
    let (class, reason) = match admission {
        Admission::Open | Admission::Flushing => {
            (RefusalClass::Flushing, "the head is being flushed to make room for new series; send again")
        }
        Admission::Refused => (
            RefusalClass::NoMemoryForSeries,
            "the head's memory budget is used up, so new series are refused; send again later, or raise head.memory_budget",
        ),
    };
    let message = if is_told { format!("{}: {reason}", series_text(section)) } else { String::new() };
    Refused { class, message }
}
