//! Whether series of two sources have the same labels, told on ids: texts are compared once for each pair of values.
//!
//! Sources that stand at the same key nearly always do have them, and the same values come again and again.

use super::grouping::RowIds;

/// Of an id whose equal is not known. No row has it: it is checked by its text before it is remembered.
const UNKNOWN: u32 = u32::MAX;

/// The ids of one source that are known to stand for the same texts as those of another.
#[derive(Debug, Default)]
pub(crate) struct EqualIds {
    /// By the name's id in the first source.
    names: Vec<EqualName>,
}

/// What is known of one name.
#[derive(Clone, Debug)]
struct EqualName {
    /// The name's id in the second source.
    other: u32,
    /// By the value's id in the first source: the value's id in the second one.
    values: Vec<u32>,
}

/// Texts of one source by their ids.
pub(crate) trait LabelTexts {
    type Error;

    /// The text of a name.
    fn name(&self, name: u32) -> Result<String, Self::Error>;

    /// The text of a value.
    fn value(&self, name: u32, value: u32) -> Result<String, Self::Error>;
}

impl EqualIds {
    /// Whether two rows, one of each source, stand for the same labels.
    pub(crate) fn are_equal<E>(
        &mut self,
        (one, of_one): (&RowIds, &dyn LabelTexts<Error = E>),
        (two, of_two): (&RowIds, &dyn LabelTexts<Error = E>),
    ) -> Result<bool, E> {
        if one.len() != two.len() {
            return Ok(false);
        }
        for (&(name, value), &(other_name, other_value)) in one.iter().zip(two) {
            let known = self.names.get(name as usize).map_or(UNKNOWN, |n| n.other);
            if known == UNKNOWN {
                if of_one.name(name)? != of_two.name(other_name)? {
                    return Ok(false);
                }
                let unknown = EqualName { other: UNKNOWN, values: Vec::new() };
                *place(&mut self.names, name, unknown) = EqualName { other: other_name, values: Vec::new() };
            } else if known != other_name {
                return Ok(false);
            }
            let values = &mut self.names[name as usize].values;
            let known = values.get(value as usize).copied().unwrap_or(UNKNOWN);
            if known == UNKNOWN {
                if of_one.value(name, value)? != of_two.value(other_name, other_value)? {
                    return Ok(false);
                }
                *place(values, value, UNKNOWN) = other_value;
            } else if known != other_value {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Where `id` stands in a list that grows to it. The id is one whose text was found: lists are no longer than what there is.
fn place<T: Clone>(list: &mut Vec<T>, id: u32, unknown: T) -> &mut T {
    let at = id as usize;
    if list.len() <= at {
        list.resize(at + 1, unknown);
    }
    &mut list[at]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::convert::Infallible;

    /// Names and values whose texts are given by their ids, and how many texts were asked for.
    struct Texts(&'static [&'static str], Cell<u32>);

    impl LabelTexts for Texts {
        type Error = Infallible;

        fn name(&self, name: u32) -> Result<String, Infallible> {
            self.value(0, name)
        }

        fn value(&self, _: u32, value: u32) -> Result<String, Infallible> {
            self.1.set(self.1.get() + 1);
            Ok(self.0[value as usize].into())
        }
    }

    #[test]
    fn texts_decide_and_are_looked_at_once() {
        let one = Texts(&["job", "zone", "us", "eu"], Cell::new(0));
        let two = Texts(&["eu", "zone", "job", "us"], Cell::new(0));
        let mut ids = EqualIds::default();
        let mut check = |a: &[(u32, u32)], b: &[(u32, u32)], equal: bool, looked_at: u32| {
            let before = one.1.get();
            let found = ids.are_equal((&a.to_vec(), &one), (&b.to_vec(), &two));
            assert_eq!((found, one.1.get() - before), (Ok(equal), looked_at), "{a:?} {b:?}");
        };
        check(&[(0, 2), (1, 3)], &[(2, 3), (1, 0)], true, 4);
        check(&[(0, 2), (1, 3)], &[(2, 3), (1, 0)], true, 0);
        check(&[(0, 3), (1, 3)], &[(2, 0), (1, 0)], true, 1);
        check(&[(0, 3), (1, 3)], &[(2, 3), (1, 0)], false, 0);
        check(&[(0, 3)], &[(1, 0)], false, 0);
        check(&[(0, 3)], &[(2, 0), (1, 0)], false, 0);
        check(&[(1, 2)], &[(1, 0)], false, 1);
        check(&[(1, 2)], &[(1, 3)], true, 1);
    }
}
