//! Cuts PTX text into words, numbers and signs, each with its line.

use super::PtxError;

/// One token of PTX.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name, a directive with its leading dot, or an opcode with its modifiers.
    Word(String),
    /// An integer, as the bits of its two's complement.
    Int(u64),
    /// `0fXXXXXXXX`: the bits of an f32.
    F32(u32),
    /// `0dXXXXXXXXXXXXXXXX`: the bits of an f64.
    F64(u64),
    /// A quoted string, without its quotes.
    Text(String),
    /// Any single other character.
    Sign(char),
}

/// The tokens of `text` with the line (from 1) on which each stands.
///
/// # Errors
/// A number that cannot be read, a comment or string without end.
pub fn tokens(text: &str) -> Result<Vec<(Token, u32)>, PtxError> {
    let bytes = text.as_bytes();
    let (mut at, mut line, mut out) = (0, 1u32, Vec::new());
    while at < bytes.len() {
        let c = bytes[at];
        match c {
            b'\n' => {
                line += 1;
                at += 1;
            }
            0 => break,
            _ if c.is_ascii_whitespace() => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = bytes[at..].iter().position(|&b| b == b'\n').map_or(bytes.len(), |n| at + n);
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                let end = text[at..].find("*/").ok_or_else(|| PtxError::new(line, "comment without end"))?;
                line += text[at..at + end].matches('\n').count() as u32;
                at += end + 2;
            }
            b'"' => {
                let end = text[at + 1..].find('"').ok_or_else(|| PtxError::new(line, "string without end"))?;
                out.push((Token::Text(text[at + 1..at + 1 + end].to_string()), line));
                at += end + 2;
            }
            b'0'..=b'9' => {
                let end = run(bytes, at, |b| b.is_ascii_alphanumeric());
                out.push((number(&text[at..end], line)?, line));
                at = end;
            }
            _ if word_start(c) => {
                let mut end = run(bytes, at + 1, word_part);
                // `::` belongs to a modifier (`.L2::128B`), a single colon ends a label.
                while bytes[end..].starts_with(b"::") && bytes.get(end + 2).is_some_and(|&b| word_part(b)) {
                    end = run(bytes, end + 2, word_part);
                }
                // Directives and types may stand without a space between, as in `.reg.b32`.
                let word = &text[at..end];
                let cuts = word.match_indices('.').map(|(k, _)| k).filter(|&k| k > 0 && c == b'.');
                let mut from = 0;
                for cut in cuts.chain([word.len()]) {
                    out.push((Token::Word(word[from..cut].to_string()), line));
                    from = cut;
                }
                at = end;
            }
            _ => {
                out.push((Token::Sign(c as char), line));
                at += 1;
            }
        }
    }
    Ok(out)
}

fn run(bytes: &[u8], from: usize, part: impl Fn(u8) -> bool) -> usize {
    bytes[from..].iter().position(|&b| !part(b)).map_or(bytes.len(), |n| from + n)
}

fn word_start(c: u8) -> bool {
    c.is_ascii_alphabetic() || matches!(c, b'_' | b'$' | b'%' | b'.')
}

fn word_part(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'_' | b'$' | b'.')
}

fn number(text: &str, line: u32) -> Result<Token, PtxError> {
    let bad = || PtxError::new(line, format!("'{text}' is not a number"));
    let lower = text.to_ascii_lowercase();
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).map_err(|_| bad());
    if let Some(hex) = lower.strip_prefix("0f") {
        return if hex.len() == 8 { Ok(Token::F32(radix(hex, 16)? as u32)) } else { Err(bad()) };
    }
    if let Some(hex) = lower.strip_prefix("0d").filter(|hex| hex.len() == 16) {
        return Ok(Token::F64(radix(hex, 16)?));
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let value = if let Some(hex) = digits.strip_prefix("0x") {
        radix(hex, 16)?
    } else if let Some(binary) = digits.strip_prefix("0b") {
        radix(binary, 2)?
    } else if digits.len() > 1 && digits.starts_with('0') {
        radix(&digits[1..], 8)?
    } else {
        radix(digits, 10)?
    };
    Ok(Token::Int(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_signs_and_lines() {
        let text = "ld.global.L2::128B.f32 %f1, [%rd1+-8]; // end\nL0: mov.f32 %f2, 0f3F800000; 0x10U 0d3FF0000000000000 017";
        let all = tokens(text).unwrap();
        let word = |s: &str| Token::Word(s.to_string());
        assert_eq!(all[0], (word("ld.global.L2::128B.f32"), 1));
        assert_eq!(all[5], (Token::Sign('+'), 1));
        assert_eq!(all[6], (Token::Sign('-'), 1));
        assert_eq!(all[10], (word("L0"), 2));
        assert_eq!(all[11], (Token::Sign(':'), 2));
        assert_eq!(all[15], (Token::F32(0x3f80_0000), 2));
        assert_eq!(all[17].0, Token::Int(16));
        assert_eq!(all[18].0, Token::F64(1f64.to_bits()));
        assert_eq!(all[19].0, Token::Int(15));
    }

    #[test]
    fn what_cannot_be_read_names_its_line() {
        assert_eq!(tokens("\n\n12z").unwrap_err().line, 3);
        assert_eq!(tokens("\n/* ").unwrap_err().line, 2);
    }
}
