//! Splits the text format of `COPY … TO STDOUT` into rows and columns.
//!
//! Feeds on chunks of any size; a row may span several of them.

/// Collects chunks and hands out complete rows.
#[derive(Debug, Default)]
pub struct CopyRows {
    pending: Vec<u8>,
}

/// Why COPY data could not be split.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A row is not UTF-8.
    #[error("copied data is not UTF-8")]
    NotUtf8,
    /// A row ends inside an escape.
    #[error("copied data has an unfinished escape")]
    Escape,
    /// The data ended inside a row.
    #[error("copied data ends inside a row")]
    Unfinished,
}

impl CopyRows {
    /// Adds a chunk and calls `row` with the columns of each row that is complete; `None` is SQL NULL.
    pub fn feed<E: From<CopyError>>(
        &mut self,
        chunk: &[u8],
        mut row: impl FnMut(&[Option<String>]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.pending.extend_from_slice(chunk);
        let mut start = 0;
        let mut columns = Vec::new();
        while let Some(length) = self.pending[start..].iter().position(|&b| b == b'\n') {
            split_row(&self.pending[start..start + length], &mut columns)?;
            row(&columns)?;
            start += length + 1;
        }
        self.pending.drain(..start);
        Ok(())
    }

    /// Checks that nothing is left over.
    pub fn finish(self) -> Result<(), CopyError> {
        if self.pending.is_empty() {
            Ok(())
        } else {
            Err(CopyError::Unfinished)
        }
    }
}

fn split_row(line: &[u8], columns: &mut Vec<Option<String>>) -> Result<(), CopyError> {
    columns.clear();
    for field in line.split(|&b| b == b'\t') {
        columns.push(if field == b"\\N" {
            None
        } else {
            Some(unescape(field)?)
        });
    }
    Ok(())
}

fn unescape(field: &[u8]) -> Result<String, CopyError> {
    if !field.contains(&b'\\') {
        return str::from_utf8(field)
            .map(str::to_owned)
            .map_err(|_| CopyError::NotUtf8);
    }
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match bytes.next().ok_or(CopyError::Escape)? {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
    }
    String::from_utf8(out).map_err(|_| CopyError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(chunks: &[&[u8]], expected: &[&[Option<&str>]]) {
        let mut rows = CopyRows::default();
        let mut found: Vec<Vec<Option<String>>> = Vec::new();
        for chunk in chunks {
            rows.feed::<CopyError>(chunk, |row| {
                found.push(row.to_vec());
                Ok(())
            })
            .unwrap();
        }
        rows.finish().unwrap();
        let found: Vec<Vec<Option<&str>>> = found
            .iter()
            .map(|row| row.iter().map(Option::as_deref).collect())
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn rows_nulls_and_escapes() {
        check(
            &[b"1\ta\n2\t\\N\n"],
            &[&[Some("1"), Some("a")], &[Some("2"), None]],
        );
        check(&[b"a\\tb\\n\\\\N\t\n"], &[&[Some("a\tb\n\\N"), Some("")]]);
        check(
            &[b"1\tx", b"y\n", b"2\tz\n"],
            &[&[Some("1"), Some("xy")], &[Some("2"), Some("z")]],
        );
    }

    #[test]
    fn an_unfinished_row_is_an_error() {
        let mut rows = CopyRows::default();
        rows.feed::<CopyError>(b"1\t", |_| Ok(())).unwrap();
        assert_eq!(rows.finish(), Err(CopyError::Unfinished));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut rows = CopyRows::default();
            let _ = rows.feed::<CopyError>(&bytes, |_| Ok(()));
        }
    }
}
