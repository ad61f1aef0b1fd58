//! Examples to start from.

/// The examples for a law.
pub fn of(law: &str) -> Vec<Vec<u8>> {
    match law {
        "pgoutput" => messages(),
        "copy_text" => COPIED
            .iter()
            .map(|text| [b"\x03", *text].concat())
            .collect(),
        _ => VALUES
            .iter()
            .map(|(kind, text)| [&[*kind], text.as_bytes()].concat())
            .collect(),
    }
}

const COPIED: &[&[u8]] = &[
    b"1\ttitle\t\\N\n2\ta\\tb\\\\\t{\"a\":1}\n",
    b"\n\n",
    b"\\N\t\\N\n",
    "\u{e9}\t\u{1f600}\n".as_bytes(),
];

/// The number of a kind in the law, and a text of it; arrays from 10.
const VALUES: &[(u8, &str)] = &[
    (0, "t"),
    (1, "-9007199254740993"),
    (2, "1.5e-300"),
    (2, "NaN"),
    (3, "text"),
    (4, r#"{"a": [1, null, "\u00e9"]}"#),
    (5, "2024-02-29"),
    (5, "0044-03-15 BC"),
    (6, "2024-01-01 12:34:56.789123"),
    (7, "2024-01-01 12:34:56.789+05:30"),
    (7, "infinity"),
    (8, "24:00:00"),
    (9, "23:59:59.999999-15:59:59"),
    (10, "{t,f,NULL}"),
    (11, "[0:1]={1,2}"),
    (13, r#"{{"a b","c\"d"},{NULL,"NULL"}}"#),
    (14, r#"{"{\"a\": 1}"}"#),
    (17, r#"{"2024-01-01 00:00:00+00"}"#),
    (13, r#"[["a","b"],["c",null]]"#),
    (0, "true"),
    (5, "1709164800000"),
];

fn text(value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len())
        .expect("short texts")
        .to_be_bytes();
    [b"t", &length[..], value.as_bytes()].concat()
}

fn messages() -> Vec<Vec<u8>> {
    let relation = [
        &b"R\0\0\0\x07public\0issue\0d\0\x02"[..],
        b"\x01id\0\0\0\0\x19\xff\xff\xff\xff",
        b"\0title\0\0\0\0\x19\xff\xff\xff\xff",
    ];
    let tuple = [&b"\0\x03"[..], &text("1"), b"n", b"u"].concat();
    vec![
        relation.concat(),
        [&b"I\0\0\0\x07N"[..], &tuple].concat(),
        [&b"U\0\0\0\x07K"[..], &tuple, b"N", &tuple].concat(),
        [&b"U\0\0\0\x07N"[..], &tuple].concat(),
        [&b"D\0\0\0\x07O"[..], &tuple].concat(),
        b"T\0\0\0\x02\0\0\0\0\x07\0\0\0\x08".to_vec(),
        b"M\0anything".to_vec(),
    ]
}
