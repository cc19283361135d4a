//! Label names in paths: `U__http_2e_status` stands for `http.status`.

use super::error::{ApiError, Limit};

/// The longest name that a path may carry.
const NAME_BYTES_MAX: usize = 4096;

/// The label name that the path's `segment` means.
pub(super) fn label_name(segment: &str) -> Result<String, ApiError> {
    if segment.is_empty() {
        return Err(ApiError::bad_data(format!("invalid label name: {segment:?}")));
    }
    if segment.len() > NAME_BYTES_MAX {
        let message =
            format!("invalid label name: it has {} bytes, the limit is {NAME_BYTES_MAX}", segment.len());
        return Err(ApiError::bad_data(message).limit(Limit::LabelNameBytes));
    }
    let Some(escaped) = segment.strip_prefix("U__") else {
        return Ok(segment.to_owned());
    };
    // As in the reference: what is no valid escape means itself.
    Ok(unescape(escaped).unwrap_or_else(|| segment.to_owned()))
}

/// `_` is doubled, other characters come as `_<hex>_`; letters, digits and `:` stand for themselves.
fn unescape(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            name.push(Some(c).filter(|c| c.is_ascii_alphanumeric() || *c == ':')?);
            continue;
        }
        if let Some(tail) = rest.strip_prefix('_') {
            name.push('_');
            rest = tail;
            continue;
        }
        let (hex, tail) = rest.split_once('_')?;
        let digits = (1..=6).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
        name.push(u32::from_str_radix(hex, 16).ok().filter(|_| digits).and_then(char::from_u32)?);
        rest = tail;
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |segment: &str, expected: &str| assert_eq!(label_name(segment).as_deref(), Ok(expected));
        check("job", "job");
        check("http.status", "http.status");
        check("U__http_2e_status__code", "http.status_code");
        check("U___1f600_", "😀");
        check("U__a:b", "a:b");
        check("U__", "");
        check("U__a_b", "U__a_b");
        check("U__a_zz_", "U__a_zz_");
        check("U___d800_", "U___d800_");
        check("U___0000000041_", "U___0000000041_");
        assert_eq!(label_name("").expect_err("empty").message, "invalid label name: \"\"");
        assert!(label_name(&"a".repeat(NAME_BYTES_MAX + 1)).is_err());
    }
}
