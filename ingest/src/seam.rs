//! What ingest asks of the storage engine.

use cardinal_storage::model::LabelSet;

/// Turns label sections that were never seen before into label sets.
pub trait Resolve: Sync {
    /// Validates `section` and brings it into canonical form. No lock is held during the call.
    fn resolve(&self, section: &[u8]) -> Result<LabelSet, Refused>;
}

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
    /// A kind of value that is not stored.
    Unsupported = 6,
}

impl RefusalClass {
    /// All classes, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::InvalidLabels,
        Self::LabelLimit,
        Self::TooFarAhead,
        Self::TooOld,
        Self::Conflict,
        Self::NoMemoryForSeries,
        Self::Unsupported,
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
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether sending the same again later may succeed.
    pub fn is_temporary(self) -> bool {
        self == Self::NoMemoryForSeries
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
