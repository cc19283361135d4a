//! Ending a search for series that nobody waits for any more: a regular expression over millions of values takes seconds.

use super::ReadError;
use crate::index::{Bitmap, LabelIndex, Matcher, NameId, ValueId, Values, select};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Says whether reading shall end. Asked between two pieces of work of some hundred microseconds.
#[derive(Clone, Default)]
pub(crate) struct Stop(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Stop {
    /// Ends reading once `is_over`.
    pub(crate) fn when(is_over: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(is_over)))
    }

    /// Whether it shall end.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|is_over| is_over())
    }

    /// Fails once it shall end.
    pub(crate) fn check(&self) -> Result<(), ReadError> {
        if self.is_over() { Err(ReadError::Stopped) } else { Ok(()) }
    }

    /// The series of an index that all `matchers` accept. The outer error says that it shall end.
    pub(crate) fn select<I: LabelIndex>(
        &self,
        index: &I,
        matchers: &[Matcher],
    ) -> Result<Result<Bitmap, I::Error>, ReadError> {
        match select(&Stoppable { index, stop: self }, matchers) {
            Ok(found) => Ok(Ok(found)),
            Err(Ended::Index(error)) => Ok(Err(error)),
            Err(Ended::Stopped) => Err(ReadError::Stopped),
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.0.is_some()).finish()
    }
}

/// An index that fails once reading shall end.
struct Stoppable<'a, I> {
    index: &'a I,
    stop: &'a Stop,
}

/// Why a selection has no result.
enum Ended<E> {
    /// It shall end.
    Stopped,
    /// The index could not be read.
    Index(E),
}

impl<I: LabelIndex> Stoppable<'_, I> {
    fn ask<T>(&self, answer: impl FnOnce(&I) -> Result<T, I::Error>) -> Result<T, Ended<I::Error>> {
        if self.stop.is_over() { Err(Ended::Stopped) } else { answer(self.index).map_err(Ended::Index) }
    }
}

impl<I: LabelIndex> LabelIndex for Stoppable<'_, I> {
    type Error = Ended<I::Error>;

    fn name_id(&self, name: &str) -> Result<Option<NameId>, Self::Error> {
        self.ask(|index| index.name_id(name))
    }

    fn value_range(&self, name: NameId, prefix: &str) -> Result<Range<u32>, Self::Error> {
        self.ask(|index| index.value_range(name, prefix))
    }

    fn value_id(&self, name: NameId, value: &str) -> Result<Option<ValueId>, Self::Error> {
        self.ask(|index| index.value_id(name, value))
    }

    fn values(&self, name: NameId, ids: Range<u32>, out: &mut Values) -> Result<(), Self::Error> {
        self.ask(|index| index.values(name, ids, out))
    }

    fn counts(&self, name: NameId, ids: Range<u32>, out: &mut Vec<u64>) -> Result<(), Self::Error> {
        self.ask(|index| index.counts(name, ids, out))
    }

    fn postings(&self, name: NameId, values: &[ValueId], out: &mut Bitmap) -> Result<(), Self::Error> {
        self.ask(|index| index.postings(name, values, out))
    }

    fn having(&self, name: NameId, out: &mut Bitmap) -> Result<(), Self::Error> {
        self.ask(|index| index.having(name, out))
    }

    fn values_of(
        &self,
        name: NameId,
        series: &[u32],
        out: &mut Vec<Option<ValueId>>,
    ) -> Result<(), Self::Error> {
        self.ask(|index| index.values_of(name, series, out))
    }

    fn all(&self, out: &mut Bitmap) -> Result<(), Self::Error> {
        self.ask(|index| index.all(out))
    }
}
