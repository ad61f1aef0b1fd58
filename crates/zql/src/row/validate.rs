//! The check of packed bytes that come from outside.

use super::{
    ENTRIES, FALSE, JSON, Layout, MOST, NULL, NUMBER, RowError, STRING, TRUE, number, pack_number,
    wide_integer,
};
use crate::json::is_json;

pub(super) fn validate(bytes: &[u8]) -> Result<(), RowError> {
    if bytes.len() < ENTRIES {
        return Err(RowError::Length);
    }
    let layout = Layout::of(bytes);
    let payload = bytes.get(layout.payload()..).ok_or(RowError::Length)?;
    if payload.len() > MOST || Layout::new(layout.count, payload.len()) != layout {
        return Err(RowError::Header);
    }
    let mut start = 0;
    for column in 0..layout.count {
        let (tag, end) = layout.entry(bytes, column);
        let slice = payload.get(start..end).ok_or(RowError::Extent(column))?;
        match tag {
            NULL | FALSE | TRUE if slice.is_empty() => {}
            NUMBER => validate_number(slice, column)?,
            STRING | JSON => {
                let text = std::str::from_utf8(slice).map_err(|_| RowError::Utf8(column))?;
                if tag == JSON {
                    validate_json(text, column)?;
                }
            }
            NULL | FALSE | TRUE => return Err(RowError::Extent(column)),
            _ => return Err(RowError::Tag(column)),
        }
        start = end;
    }
    if start == payload.len() {
        Ok(())
    } else {
        Err(RowError::Length)
    }
}

fn validate_number(slice: &[u8], column: usize) -> Result<(), RowError> {
    // Every number has one form, the shortest.
    let is_shortest = match *slice {
        [_] => true,
        [a, b] => i8::try_from(i16::from_le_bytes([a, b])).is_err(),
        [a, b, c, d] => i16::try_from(i32::from_le_bytes([a, b, c, d])).is_err(),
        [a, b, c, d, e, f] => i32::try_from(wide_integer([a, b, c, d, e, f])).is_err(),
        [_, _, _, _, _, _, _, _] => {
            let number = number(slice);
            number.is_finite() && pack_number(number) == (number.to_le_bytes(), 8)
        }
        _ => return Err(RowError::Extent(column)),
    };
    match is_shortest {
        true => Ok(()),
        false => Err(RowError::Number(column)),
    }
}

pub(super) fn validate_json(text: &str, column: usize) -> Result<(), RowError> {
    match is_json(text) && text != "null" {
        true => Ok(()),
        false => Err(RowError::Json(column)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Row;
    use super::*;

    fn refuse(bytes: &[u8], expected: RowError) {
        assert_eq!(Row::from_bytes(bytes), Err(expected), "{bytes:?}");
    }

    /// The bytes of a row with one column.
    fn one_column(tag: u8, payload: &[u8]) -> Vec<u8> {
        let end = u8::try_from(payload.len()).unwrap();
        [&[1, 0x80, end, tag << 5], payload].concat()
    }

    #[test]
    fn a_number_has_one_form() {
        let ends = [7, 8, 15, 16, 31, 32, 47].map(|bits| 1_i64 << bits);
        let near = ends.iter().flat_map(|end| [end - 1, *end, end + 1]);
        for integer in near.flat_map(|near| [near, -near]).chain([0]) {
            for size in [1, 2, 4, 6] {
                let bytes = &integer.to_le_bytes()[..size];
                let (packed, shortest) = pack_number(number(bytes));
                let is_shortest = bytes == &packed[..shortest];
                let expected = is_shortest.then_some(()).ok_or(RowError::Number(0));
                assert_eq!(validate_number(bytes, 0), expected, "{bytes:?}");
            }
        }
    }

    #[test]
    fn foreign_bytes_are_checked() {
        refuse(&[], RowError::Length);
        refuse(&[1], RowError::Length);
        refuse(&[1, 0], RowError::Length);
        refuse(&[0, 0], RowError::Header);
        refuse(&[1, 0x80], RowError::Length);
        refuse(&[0, 0x80, 0], RowError::Length);
        refuse(&[1, 0, 1, 0, 0, 4 << 5, b'x'], RowError::Header);
        refuse(&one_column(0, b"x"), RowError::Extent(0));
        refuse(&one_column(3, b"1234567"), RowError::Extent(0));
        refuse(&one_column(3, b""), RowError::Extent(0));
        for wrong in [f64::NAN, f64::INFINITY, -0.0, 1.0] {
            refuse(&one_column(3, &wrong.to_le_bytes()), RowError::Number(0));
        }
        refuse(&one_column(3, &[127, 0]), RowError::Number(0));
        refuse(
            &one_column(3, &[0xff, 0xff, 0xff, 0xff]),
            RowError::Number(0),
        );
        refuse(&one_column(4, &[0xff]), RowError::Utf8(0));
        refuse(&one_column(5, b"{"), RowError::Json(0));
        refuse(&one_column(5, b"null"), RowError::Json(0));
        refuse(&one_column(6, b""), RowError::Tag(0));
        refuse(&one_column(7, b""), RowError::Tag(0));
        let mut short = one_column(4, b"abc");
        short.pop();
        refuse(&short, RowError::Extent(0));
        refuse(&[2, 0x80, 1, 4 << 5, 0, 0, b'a'], RowError::Extent(1));
        assert!(Row::from_bytes(&[0, 0x80]).unwrap().is_empty());
    }
}
