//! `query.features`: the parts of the query language that can be switched.

use cardinal_query::parse::Features;

use super::value::{self, ValueError};

/// What of the switchable parts is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueryFeatures {
    /// What the parser understands.
    pub language: Features,
    /// `delayed-name-removal`
    pub delayed_name_removal: bool,
}

/// What is done where a list names a feature.
#[derive(Clone, Copy)]
enum Switch {
    On(fn(&mut QueryFeatures)),
    /// Known from the reference, and not built.
    Missing,
}

/// All names that a list may have.
const FEATURES: [(&str, Switch); 7] = [
    ("experimental-functions", Switch::On(|f| f.language.experimental_functions = true)),
    ("duration-expressions", Switch::On(|f| f.language.duration_expressions = true)),
    ("extended-ranges", Switch::On(|f| f.language.extended_ranges = true)),
    ("fill", Switch::On(|f| f.language.fill = true)),
    ("delayed-name-removal", Switch::On(|f| f.delayed_name_removal = true)),
    ("start-timestamps", Switch::Missing),
    ("type-and-unit-labels", Switch::Missing),
];

impl QueryFeatures {
    /// Everything off.
    pub(super) const NONE: Self = Self {
        language: Features {
            experimental_functions: false,
            duration_expressions: false,
            extended_ranges: false,
            fill: false,
        },
        delayed_name_removal: false,
    };

    /// What a comma-separated list says is on; `none` for nothing.
    pub(super) fn parse(text: &str) -> Result<Self, ValueError> {
        let mut features = Self::NONE;
        if text.trim() == "none" {
            return Ok(features);
        }
        for name in text.split(',').map(str::trim) {
            match value::choice(name, &FEATURES).map_err(|e| ValueError(format!("{e}; or none")))? {
                Switch::On(set) => set(&mut features),
                Switch::Missing => {
                    let message = format!("this version does not have {name} yet: leave it out of the list");
                    return Err(ValueError(message));
                }
            }
        }
        Ok(features)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_what_is_on() {
        let check = |text: &str, expected: QueryFeatures| {
            assert_eq!(QueryFeatures::parse(text), Ok(expected), "{text}");
        };
        let none = QueryFeatures::NONE;
        check("none", none);
        check("fill", QueryFeatures { language: Features { fill: true, ..none.language }, ..none });
        let delayed = QueryFeatures { language: Features::default(), delayed_name_removal: true };
        let all = "delayed-name-removal,fill, extended-ranges ,duration-expressions,experimental-functions";
        check(all, delayed);
    }

    #[test]
    fn what_is_unknown_or_not_built_is_refused() {
        let check = |text: &str, expected: &str| {
            assert_eq!(QueryFeatures::parse(text).expect_err(text).to_string(), expected);
        };
        let known = "experimental-functions, duration-expressions, extended-ranges, fill, delayed-name-removal, \
                     start-timestamps, type-and-unit-labels";
        check("fil", &format!("\"fil\" is not one of {known} (did you mean fill?); or none"));
        check("fill,", &format!("\"\" is not one of {known}; or none"));
        check("fill, none", &format!("\"none\" is not one of {known}; or none"));
        check(
            "start-timestamps",
            "this version does not have start-timestamps yet: leave it out of the list",
        );
        check(
            "fill, type-and-unit-labels",
            "this version does not have type-and-unit-labels yet: leave it out of the list",
        );
    }
}
