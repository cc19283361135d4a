//! The functions of PromQL and the types of their arguments.

use std::fmt;

use super::span::ValueType;

/// A function: what it takes and what it returns.
#[derive(PartialEq, Eq)]
pub struct Function {
    /// Which one it is.
    pub id: FunctionId,
    /// Its name.
    pub name: &'static str,
    /// The types of its arguments; where more are allowed, the last one repeats.
    pub args: &'static [ValueType],
    /// The fewest arguments.
    pub args_min: usize,
    /// The most arguments; `None` for any number.
    pub args_max: Option<usize>,
    /// The type of its result.
    pub returns: ValueType,
    /// Whether the feature `experimental-functions` must be on.
    pub experimental: bool,
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    /// The function called `name`, in exactly this spelling.
    pub fn named(name: &str) -> Option<&'static Self> {
        FUNCTIONS.binary_search_by_key(&name, |f| f.name).ok().map(|at| &FUNCTIONS[at])
    }

    /// The type of the argument at `index`, counted from 0.
    pub fn arg(&self, index: usize) -> Option<ValueType> {
        self.args.get(index).or(self.args.last()).copied()
    }
}

macro_rules! functions {
    ($($id:ident $name:ident [$($arg:ident),*] $min:literal $max:ident $(($most:literal))? $returns:ident $experimental:literal;)*) => {
        /// Which function is called.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FunctionId {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                $id,
            )*
        }

        /// All functions, sorted by name.
        pub static FUNCTIONS: &[Function] = &[
            $(Function {
                id: FunctionId::$id,
                name: stringify!($name),
                args: &[$(ValueType::$arg),*],
                args_min: $min,
                args_max: $max $(($most))?,
                returns: ValueType::$returns,
                experimental: $experimental,
            },)*
        ];
    };
}

// variant, name, argument types, fewest and most arguments, result, experimental
functions! {
    Abs abs [Vector] 1 Some(1) Vector false;
    Absent absent [Vector] 1 Some(1) Vector false;
    AbsentOverTime absent_over_time [Matrix] 1 Some(1) Vector false;
    Acos acos [Vector] 1 Some(1) Vector false;
    Acosh acosh [Vector] 1 Some(1) Vector false;
    Asin asin [Vector] 1 Some(1) Vector false;
    Asinh asinh [Vector] 1 Some(1) Vector false;
    Atan atan [Vector] 1 Some(1) Vector false;
    Atanh atanh [Vector] 1 Some(1) Vector false;
    AvgOverTime avg_over_time [Matrix] 1 Some(1) Vector false;
    Ceil ceil [Vector] 1 Some(1) Vector false;
    Changes changes [Matrix] 1 Some(1) Vector false;
    Clamp clamp [Vector, Scalar, Scalar] 3 Some(3) Vector false;
    ClampMax clamp_max [Vector, Scalar] 2 Some(2) Vector false;
    ClampMin clamp_min [Vector, Scalar] 2 Some(2) Vector false;
    Cos cos [Vector] 1 Some(1) Vector false;
    Cosh cosh [Vector] 1 Some(1) Vector false;
    CountOverTime count_over_time [Matrix] 1 Some(1) Vector false;
    DayOfMonth day_of_month [Vector] 0 Some(1) Vector false;
    DayOfWeek day_of_week [Vector] 0 Some(1) Vector false;
    DayOfYear day_of_year [Vector] 0 Some(1) Vector false;
    DaysInMonth days_in_month [Vector] 0 Some(1) Vector false;
    Deg deg [Vector] 1 Some(1) Vector false;
    Delta delta [Matrix] 1 Some(1) Vector false;
    Deriv deriv [Matrix] 1 Some(1) Vector false;
    DoubleExponentialSmoothing double_exponential_smoothing [Matrix, Scalar, Scalar] 3 Some(3) Vector true;
    End end [] 0 Some(0) Scalar true;
    Exp exp [Vector] 1 Some(1) Vector false;
    FirstOverTime first_over_time [Matrix] 1 Some(1) Vector false;
    Floor floor [Vector] 1 Some(1) Vector false;
    HistogramAvg histogram_avg [Vector] 1 Some(1) Vector false;
    HistogramCount histogram_count [Vector] 1 Some(1) Vector false;
    HistogramFraction histogram_fraction [Scalar, Scalar, Vector] 3 Some(3) Vector false;
    HistogramQuantile histogram_quantile [Scalar, Vector] 2 Some(2) Vector false;
    HistogramQuantiles histogram_quantiles [Vector, String, Scalar, Scalar] 3 Some(12) Vector true;
    HistogramStddev histogram_stddev [Vector] 1 Some(1) Vector false;
    HistogramStdvar histogram_stdvar [Vector] 1 Some(1) Vector false;
    HistogramSum histogram_sum [Vector] 1 Some(1) Vector false;
    Hour hour [Vector] 0 Some(1) Vector false;
    Idelta idelta [Matrix] 1 Some(1) Vector false;
    Increase increase [Matrix] 1 Some(1) Vector false;
    Info info [Vector, Vector] 1 Some(2) Vector true;
    Irate irate [Matrix] 1 Some(1) Vector false;
    LabelJoin label_join [Vector, String, String, String] 3 None Vector false;
    LabelReplace label_replace [Vector, String, String, String, String] 5 Some(5) Vector false;
    LastOverTime last_over_time [Matrix] 1 Some(1) Vector false;
    Ln ln [Vector] 1 Some(1) Vector false;
    Log10 log10 [Vector] 1 Some(1) Vector false;
    Log2 log2 [Vector] 1 Some(1) Vector false;
    MadOverTime mad_over_time [Matrix] 1 Some(1) Vector true;
    MaxOf max_of [Scalar, Scalar] 2 Some(2) Scalar true;
    MaxOverTime max_over_time [Matrix] 1 Some(1) Vector false;
    MinOf min_of [Scalar, Scalar] 2 Some(2) Scalar true;
    MinOverTime min_over_time [Matrix] 1 Some(1) Vector false;
    Minute minute [Vector] 0 Some(1) Vector false;
    Month month [Vector] 0 Some(1) Vector false;
    Pi pi [] 0 Some(0) Scalar false;
    PredictLinear predict_linear [Matrix, Scalar] 2 Some(2) Vector false;
    PresentOverTime present_over_time [Matrix] 1 Some(1) Vector false;
    QuantileOverTime quantile_over_time [Scalar, Matrix] 2 Some(2) Vector false;
    Rad rad [Vector] 1 Some(1) Vector false;
    Range range [] 0 Some(0) Scalar true;
    Rate rate [Matrix] 1 Some(1) Vector false;
    Resets resets [Matrix] 1 Some(1) Vector false;
    Round round [Vector, Scalar] 1 Some(2) Vector false;
    Scalar scalar [Vector] 1 Some(1) Scalar false;
    Sgn sgn [Vector] 1 Some(1) Vector false;
    Sin sin [Vector] 1 Some(1) Vector false;
    Sinh sinh [Vector] 1 Some(1) Vector false;
    Sort sort [Vector] 1 Some(1) Vector false;
    SortByLabel sort_by_label [Vector, String] 1 None Vector true;
    SortByLabelDesc sort_by_label_desc [Vector, String] 1 None Vector true;
    SortDesc sort_desc [Vector] 1 Some(1) Vector false;
    Sqrt sqrt [Vector] 1 Some(1) Vector false;
    Start start [] 0 Some(0) Scalar true;
    StartTimestamp start_timestamp [Vector] 1 Some(1) Vector true;
    StddevOverTime stddev_over_time [Matrix] 1 Some(1) Vector false;
    StdvarOverTime stdvar_over_time [Matrix] 1 Some(1) Vector false;
    Step step [] 0 Some(0) Scalar true;
    SumOverTime sum_over_time [Matrix] 1 Some(1) Vector false;
    Tan tan [Vector] 1 Some(1) Vector false;
    Tanh tanh [Vector] 1 Some(1) Vector false;
    Time time [] 0 Some(0) Scalar false;
    Timestamp timestamp [Vector] 1 Some(1) Vector false;
    TsOfFirstOverTime ts_of_first_over_time [Matrix] 1 Some(1) Vector true;
    TsOfLastOverTime ts_of_last_over_time [Matrix] 1 Some(1) Vector true;
    TsOfMaxOverTime ts_of_max_over_time [Matrix] 1 Some(1) Vector true;
    TsOfMinOverTime ts_of_min_over_time [Matrix] 1 Some(1) Vector true;
    Vector vector [Scalar] 1 Some(1) Vector false;
    Year year [Vector] 0 Some(1) Vector false;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_sorted_and_complete() {
        assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
        assert_eq!(FUNCTIONS.iter().filter(|f| f.experimental).count(), 17);
        assert_eq!(FUNCTIONS.iter().filter(|f| !f.experimental).count(), 73);
        for f in FUNCTIONS {
            assert_eq!(Function::named(f.name).map(|g| g.id), Some(f.id));
            assert!(f.args_min <= f.args.len() && f.args_max.is_none_or(|most| most >= f.args_min));
        }
    }

    #[test]
    fn last_argument_repeats() {
        let f = Function::named("label_join").expect("it is in the table");
        assert_eq!(
            (f.arg(0), f.arg(3), f.arg(9)),
            (Some(ValueType::Vector), Some(ValueType::String), Some(ValueType::String))
        );
        assert_eq!(Function::named("time").and_then(|f| f.arg(0)), None);
        assert_eq!(Function::named("Rate"), None);
    }
}
