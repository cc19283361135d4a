//! Numbers as text in messages and label values.

/// Shortest decimal; with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn general(v: f64) -> String {
    write(v, &format!("{v:e}"), 6)
}

/// The same, rounded to `digits` significant digits.
pub(crate) fn general_rounded(v: f64, digits: usize) -> String {
    write(v, &format!("{v:.*e}", digits.saturating_sub(1)), digits as i32)
}

/// Plain decimal without an exponent: the value label of `count_values`.
pub(crate) fn plain(v: f64) -> String {
    special(v).map_or_else(|| v.to_string(), Into::into)
}

/// Shortest decimal that reads as a floating-point number: `1.0`, not `1`.
pub(crate) fn with_point(v: f64) -> String {
    let text = general(v);
    if special(v).is_some() || text.contains(['.', 'e']) { text } else { text + ".0" }
}

fn special(v: f64) -> Option<&'static str> {
    match v {
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ if v.is_nan() => Some("NaN"),
        _ => None,
    }
}

/// Chooses between plain and, below 1e-4 and from 10 to the `limit`, exponent form; `scientific` is the number as
/// `d.ddde-d`.
fn write(v: f64, scientific: &str, limit: i32) -> String {
    if let Some(text) = special(v) {
        return text.into();
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa =
        if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{mantissa}e{exponent}").parse::<f64>().unwrap_or(v).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        assert_eq!(
            [1.5, -0.1, 100.0, 1e-5, 1234567.0, f64::NAN, f64::INFINITY].map(general),
            ["1.5", "-0.1", "100", "1e-05", "1.234567e+06", "NaN", "+Inf"]
        );
        assert_eq!(
            [0.5, 10.0, 123.0, 0.12345].map(|v| general_rounded(v, 2)),
            ["0.5", "10", "1.2e+02", "0.12"]
        );
        assert_eq!(
            [1.0, 1e21, -0.0, f64::NEG_INFINITY].map(plain),
            ["1", "1000000000000000000000", "-0", "-Inf"]
        );
        assert_eq!([1.0, 0.5, 1e-7, f64::NAN].map(with_point), ["1.0", "0.5", "1e-07", "NaN"]);
    }
}
