//! Sample values and times as the API writes them, to the byte as Prometheus does.

use cardinal_storage::model::TimestampMs;

/// Appends `v` in its shortest form that reads back the same: plain decimals from 1e-6 to 1e21, exponents (`1e-07`) beyond,
/// `NaN`, `+Inf`, `-Inf`, `-0`.
pub fn put_float(out: &mut Vec<u8>, v: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if v.is_infinite() {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if v.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = v.abs();
    if magnitude < EXACT && magnitude.fract() == 0.0 {
        // Counters: most values that are ever written.
        return out.extend_from_slice(itoa::Buffer::new().format(magnitude as u64).as_bytes());
    }
    let mut buffer = zmij::Buffer::new();
    put_shortest(out, buffer.format_finite(magnitude));
}

/// Appends a time as seconds: `1435781451.781`, and without decimals where there are none.
pub fn put_time(out: &mut Vec<u8>, t: TimestampMs) {
    if t.0 < 0 {
        out.push(b'-');
    }
    let ms = t.0.unsigned_abs();
    out.extend_from_slice(itoa::Buffer::new().format(ms / 1000).as_bytes());
    let fraction = ms % 1000;
    if fraction != 0 {
        let digit = |n: u64| b'0' + (n % 10) as u8;
        out.extend_from_slice(&[b'.', digit(fraction / 100), digit(fraction / 10), digit(fraction)]);
    }
}

/// Rewrites the shortest digits, in whichever notation they come, with the point where the API wants it.
fn put_shortest(out: &mut Vec<u8>, text: &str) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("the formatter writes decimal exponents");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = String::with_capacity(24);
    digits.push_str(whole);
    digits.push_str(fraction);
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let digits = digits.trim_matches('0');
    // The value is 0.DIGITS × 10^point.
    let point = whole.len() as i32 + exponent - leading as i32;
    match point {
        -5..=21 => put_plain(out, digits.as_bytes(), point),
        _ => put_exponent(out, digits.as_bytes(), point - 1),
    }
}

fn put_plain(out: &mut Vec<u8>, digits: &[u8], point: i32) {
    let zeros = |out: &mut Vec<u8>, n: usize| out.extend(std::iter::repeat_n(b'0', n));
    let before = usize::try_from(point).unwrap_or(0);
    if before == 0 {
        out.extend_from_slice(b"0.");
        zeros(out, point.unsigned_abs() as usize);
        return out.extend_from_slice(digits);
    }
    let whole = before.min(digits.len());
    out.extend_from_slice(&digits[..whole]);
    zeros(out, before - whole);
    if digits.len() > whole {
        out.push(b'.');
        out.extend_from_slice(&digits[whole..]);
    }
}

fn put_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    if exponent.unsigned_abs() < 10 {
        out.push(b'0');
    }
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(v: f64) -> String {
        let mut out = Vec::new();
        put_float(&mut out, v);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn floats() {
        let check = |v: f64, expected: &str| assert_eq!(float(v), expected);
        check(0.0, "0");
        check(-0.0, "-0");
        check(1.0, "1");
        check(-1.5, "-1.5");
        check(0.1, "0.1");
        check(0.30000000000000004, "0.30000000000000004");
        check(1e-6, "0.000001");
        check(1.5e-6, "0.0000015");
        check(9.99e-7, "9.99e-07");
        check(1e-7, "1e-07");
        check(-2.5e-10, "-2.5e-10");
        check(5e-324, "5e-324");
        check(9007199254740991.0, "9007199254740991");
        check(9007199254740992.0, "9007199254740992");
        check(1e17, "100000000000000000");
        check(1.2345678901234567e20, "123456789012345670000");
        check(9.99e20, "999000000000000000000");
        check(1e21, "1e+21");
        check(1.5e21, "1.5e+21");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
        check(f64::NAN, "NaN");
        check(cardinal_storage::model::stale_nan(), "NaN");
        check(123456.789, "123456.789");
        check(1435781451.781, "1435781451.781");
        check(0.05, "0.05");
        check(100.5, "100.5");
    }

    #[test]
    fn floats_read_back_the_same() {
        let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            bits ^= bits << 13;
            bits ^= bits >> 7;
            bits ^= bits << 17;
            let v = f64::from_bits(bits);
            let text = float(v);
            let back: f64 = text.parse().expect("a float");
            assert!(v.is_nan() && back.is_nan() || v.to_bits() == back.to_bits(), "{v:e} became {text}");
            let small = (bits >> 40) as f64 / 1000.0;
            assert_eq!(float(small), format!("{small}"));
        }
    }

    #[test]
    fn times() {
        let check = |ms: i64, expected: &str| {
            let mut out = Vec::new();
            put_time(&mut out, TimestampMs(ms));
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        };
        check(0, "0");
        check(1_435_781_451_781, "1435781451.781");
        check(1_435_781_451_010, "1435781451.010");
        check(1_435_781_451_000, "1435781451");
        check(-1, "-0.001");
        check(-1500, "-1.500");
        check(i64::MIN, "-9223372036854775.808");
    }
}
