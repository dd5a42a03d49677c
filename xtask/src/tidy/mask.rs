//! Blanks out what is not code in a Rust source, so that rules can search the rest as plain text.
//!
//! Not a parser: it knows comments (nested ones too), string, raw string, byte and character literals and
//! tells a lifetime from a character. Line breaks stay, and every blanked byte becomes one space, so that
//! line and column of the rest are those of the source.

use std::ops::RangeInclusive;

/// `text` with comments and the insides of literals replaced by spaces.
pub(super) fn mask(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    while code.len() < bytes.len() {
        let at = code.len();
        let skipped = comment(&bytes[at..]).or_else(|| literal(bytes, at));
        match skipped {
            Some(count) => {
                code.extend(bytes[at..at + count].iter().map(|&byte| if byte == b'\n' { b'\n' } else { b' ' }))
            }
            None => code.push(bytes[at]),
        }
    }
    String::from_utf8(code).expect("literals and comments are blanked as a whole, so no character is cut")
}

/// Bytes of the comment that `rest` starts with.
fn comment(rest: &[u8]) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if !rest.starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return Some(at);
        }
    }
    Some(rest.len())
}

/// Bytes of the literal that starts at `at`, with its prefix.
fn literal(bytes: &[u8], at: usize) -> Option<usize> {
    let within_a_word = at > 0 && is_word(bytes[at - 1]);
    let rest = &bytes[at..];
    match rest {
        [b'"', ..] => Some(quoted(rest, b'"')),
        [b'\'', ..] => character(rest),
        _ if within_a_word => None,
        [b'b' | b'c', b'"', ..] => Some(1 + quoted(&rest[1..], b'"')),
        [b'b', b'\'', ..] => Some(1 + quoted(&rest[1..], b'\'')),
        [b'b' | b'c', b'r', b'"' | b'#', ..] => raw(&rest[2..]).map(|count| 2 + count),
        [b'r', b'"' | b'#', ..] => raw(&rest[1..]).map(|count| 1 + count),
        _ => None,
    }
}

/// Bytes up to and with the closing quote; a backslash takes the next byte with it.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Bytes of a raw string from its hashes on, or `None` for a raw identifier such as `r#type`.
fn raw(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[hashes + 1..];
    let length = inside.windows(end.len()).position(|window| window == end);
    Some(length.map_or(rest.len(), |length| hashes + 1 + length + end.len()))
}

/// Bytes of a character literal, or `None` if the quote starts a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    let first = *rest.get(1)?;
    let is_character = first == b'\\' || !is_word(first) || rest.get(2) == Some(&b'\'');
    is_character.then(|| quoted(rest, b'\''))
}

fn is_word(byte: u8) -> bool {
    // ASCII only, so that `'ä'` is taken for a character and not for a lifetime.
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Lines (from 1) of `#[cfg(test)] mod … { … }` in masked code.
pub(super) fn test_modules(code: &str) -> Vec<RangeInclusive<usize>> {
    let mut found = Vec::new();
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let item = code[start + attribute.len()..].trim_start();
        let is_module = item.starts_with("mod ") || item.starts_with("pub(crate) mod ");
        if !is_module || item.find(';').unwrap_or(usize::MAX) < item.find('{').unwrap_or(usize::MAX) {
            continue;
        }
        let end = block_end(code, start + attribute.len()).unwrap_or(code.len());
        found.push(line_of(code, start)..=line_of(code, end));
    }
    found
}

/// Where the first `{` behind `from` is closed, in masked code.
pub(super) fn block_end(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// The line (from 1) that holds the byte at `offset`.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
}

/// Offsets at which `word` stands alone, not as a part of a longer word.
pub(super) fn word_offsets(text: &str, word: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let alone = |&(start, _): &(usize, &str)| {
        let before = start.checked_sub(1).is_some_and(|before| is_word(bytes[before]));
        let after = bytes.get(start + word.len()).is_some_and(|&byte| is_word(byte));
        !before && !after
    };
    text.match_indices(word).filter(alone).map(|(start, _)| start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, expected: &str) {
        assert_eq!(mask(source), expected, "{source}");
    }

    #[test]
    fn comments_are_blank() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ d */ e", "a                   e");
        check("/// unsafe\nfn", "          \nfn");
        check("a /* open", "a        ");
    }

    #[test]
    fn literals_are_blank() {
        check(r#"f("a\"b", c)"#, "f(      , c)");
        check(r##"f(r#"a"b"#, c)"##, "f(        , c)");
        check(r#"f(b"a", c"b", br"c")"#, "f(    ,     ,      )");
        check(r"f('a', '\'', b'}', '{')", "f(   ,     ,     ,    )");
        check("f('ä')", "f(    )");
        check("f(\"two\nlines\")", "f(    \n      )");
    }

    #[test]
    fn lifetimes_and_raw_identifiers_stay() {
        for source in ["fn f<'a>(x: &'a str) {}", "r#type", "for_r#x", "'outer: loop {}", "x.iter_b"] {
            check(source, source);
        }
    }

    #[test]
    fn test_modules_are_found_by_their_braces() {
        let source = "fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() { \"}\"; }\n}\nfn c() {}\n";
        assert_eq!(test_modules(&mask(source)), [2..=5]);
        assert_eq!(test_modules("#[cfg(test)]\nmod model;\nfn c() {}\n"), []);
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(word_offsets("unsafe_code unsafe { not_unsafe }", "unsafe"), [12]);
    }
}
