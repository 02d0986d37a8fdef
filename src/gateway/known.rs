//! Whether a client has already what it asks for.

use axum::http::{HeaderMap, header};

/// Whether the client says that it has the bytes with this tag, quotes included (RFC 9110, 13.1.2). Tags are compared
/// weakly: nothing but the bytes makes ours differ.
pub(super) fn is_known(tag: &[u8], headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let mut tags = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    tags.any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one).as_bytes() == tag
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tag_is_known_by_itself_weakly_in_a_list_or_by_any() {
        for (sent, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, sent.parse().unwrap());
            assert_eq!(is_known(b"\"a\"", &headers), known, "{sent}");
        }
        assert!(!is_known(b"\"a\"", &HeaderMap::new()));
    }
}
