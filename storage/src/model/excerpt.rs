//! How much of what others wrote goes into a message.

use std::borrow::Cow;

/// Some two lines. Senders keep a thousand bytes of a message, and what was wrong is to be among them.
const EXCERPT_BYTES_MAX: usize = 200;

/// `text` as messages quote it: what exceeds 200 bytes is cut off, and told by `…`.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    if text.len() <= EXCERPT_BYTES_MAX {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(EXCERPT_BYTES_MAX)]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let check = |text: &str, want: &str| assert_eq!(excerpt(text), want);
        check("up", "up");
        check(&"x".repeat(200), &"x".repeat(200));
        check(&"x".repeat(201), &format!("{}…", "x".repeat(200)));
        check(&format!("{}ä", "x".repeat(199)), &format!("{}…", "x".repeat(199)));
    }
}
