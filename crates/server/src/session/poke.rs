//! Frames of one poke: start, the group's own changes, the shared row changes, end.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use landfall_protocol::{
    Cookie, DownQueryOp, Downstream, MutationOp, PokeBuilder, PokeEnd, PokeStart, StateVersion,
    chunk_frames, part_message,
};

use super::outbound::{Form, Frame};
use crate::cvr::CvrVersion;
use crate::queries::{PokeBody, PokePart};

/// The first protocol version that takes parts as binary frames.
const BINARY_SINCE: u32 = 52;
/// What stands before the body in a text part.
const PART_PREFIX: &str = r#"["pokePart","#;

/// What a poke tells beside rows.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// Void everything first.
    pub(super) clear: bool,
    /// The cookie that the client really has, when the poke starts afresh.
    pub(super) base: Option<CvrVersion>,
    pub(super) lmids: Vec<(String, u64)>,
    pub(super) desired: BTreeMap<String, Vec<DownQueryOp>>,
    pub(super) got: Vec<DownQueryOp>,
    pub(super) results: Vec<MutationOp>,
}

impl Extras {
    pub(super) fn is_empty(&self) -> bool {
        !self.clear
            && self.lmids.is_empty()
            && self.desired.values().all(Vec::is_empty)
            && self.got.is_empty()
            && self.results.is_empty()
    }

    fn bodies(&self, poke_id: &str) -> Vec<String> {
        let mut builder = PokeBuilder::new(poke_id);
        if self.clear {
            builder.clear();
        }
        for (client, id) in &self.lmids {
            builder.last_mutation_id(client, *id);
        }
        for (client, ops) in &self.desired {
            ops.iter().for_each(|op| builder.desired(client, op));
        }
        self.got.iter().for_each(|op| builder.got(op));
        self.results
            .iter()
            .for_each(|op| builder.mutation_result(op));
        builder.finish()
    }
}

/// The text of a version.
pub(super) fn cookie(version: CvrVersion) -> Cookie {
    Cookie::new(StateVersion(version.state), version.config)
}

/// All frames of a poke.
pub(super) fn frames(
    base: Option<CvrVersion>,
    to: CvrVersion,
    extras: &Extras,
    rows: Option<&Arc<PokeBody>>,
    protocol: u32,
) -> Vec<Frame> {
    let base = extras.base.or(base);
    let (start, end, own) = match rows {
        Some(body) if extras.is_empty() => {
            let (start, end) = body.ends(base, to, || ends(base, to, &body.poke_id));
            (start, end, Vec::new())
        }
        _ => {
            let poke_id =
                rows.map_or_else(|| cookie(to).as_str().to_owned(), |r| r.poke_id.clone());
            let (start, end) = ends(base, to, &poke_id);
            (start, end, extras.bodies(&poke_id))
        }
    };
    let mut frames = Vec::with_capacity(2 + own.len() + rows.map_or(1, |body| body.parts.len()));
    frames.push(Frame::Text(start));
    if protocol >= BINARY_SINCE {
        binary_parts(&own, rows, &mut frames);
    } else {
        frames.extend(
            own.iter()
                .map(|body| Frame::Text(part_message(body).into())),
        );
        for (at, part) in rows.iter().flat_map(|body| body.parts.iter().enumerate()) {
            frames.push(match part {
                PokePart::Text(text) => Frame::Text(text.clone()),
                PokePart::Stored { .. } => stored(rows, at, Form::Text),
            });
        }
    }
    frames.push(Frame::Text(end));
    frames
}

/// The messages around the parts.
fn ends(base: Option<CvrVersion>, to: CvrVersion, poke_id: &str) -> (Utf8Bytes, Utf8Bytes) {
    let start = PokeStart {
        poke_id: poke_id.to_owned(),
        base_cookie: base.map(|b| cookie(b).as_str().to_owned()),
        schema_versions: None,
        timestamp: None,
    };
    let end = PokeEnd::new(poke_id.to_owned(), cookie(to).as_str().to_owned());
    (
        Downstream::PokeStart(start).encode().into(),
        Downstream::PokeEnd(end).encode().into(),
    )
}

fn stored(rows: Option<&Arc<PokeBody>>, part: usize, form: Form) -> Frame {
    match rows {
        Some(body) => Frame::Part(body.clone(), part, form),
        None => Frame::Close(None),
    }
}

/// One list of all bodies, cut where it may: what is in memory is put together, what is stored comes by itself.
fn binary_parts(own: &[String], rows: Option<&Arc<PokeBody>>, frames: &mut Vec<Frame>) {
    let parts = rows.map_or(&[][..], |body| &body.parts);
    let in_memory = parts.iter().map_while(|part| match part {
        PokePart::Text(text) => Some(body_of(text)),
        PokePart::Stored { .. } => None,
    });
    let bodies: Vec<&str> = own.iter().map(String::as_str).chain(in_memory).collect();
    let beyond = bodies.len() - own.len();
    let ends = beyond == parts.len();
    let mut chunks = chunk_frames(&bodies);
    if !ends && let Some(last) = chunks.last_mut() {
        // The list goes on.
        last.pop();
    }
    frames.extend(chunks.into_iter().map(|f| Frame::Binary(f.into())));
    for at in beyond..parts.len() {
        let separator = (at > 0 || !own.is_empty()).then_some(b',');
        frames.push(stored(rows, at, Form::Chunk(separator)));
    }
    if !ends {
        frames.push(Frame::Binary(vec![0, b']'].into()));
    }
}

/// The body of a complete text part.
pub(super) fn body_of(part: &str) -> &str {
    part.strip_prefix(PART_PREFIX)
        .and_then(|p| p.strip_suffix(']'))
        .unwrap_or("{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: u32, extras: Extras, rows: Option<PokeBody>) -> Vec<String> {
        let frames = frames(
            Some(CvrVersion::at(5)),
            CvrVersion::at(6),
            &extras,
            rows.map(Arc::new).as_ref(),
            protocol,
        );
        let text = |frame: Frame| match frame {
            Frame::Text(text) => text.to_string(),
            Frame::Binary(bytes) => {
                format!("{} {}", bytes[0], String::from_utf8_lossy(&bytes[1..]))
            }
            Frame::Part(..) | Frame::Close(_) => "another frame".to_owned(),
        };
        frames.into_iter().map(text).collect()
    }

    fn rows() -> Option<PokeBody> {
        let part = r#"["pokePart",{"pokeID":"06","rowsPatch":[]}]"#;
        Some(PokeBody::new("06", vec![part.into()]))
    }

    fn extras() -> Extras {
        Extras {
            lmids: vec![("c".into(), 1)],
            ..Extras::default()
        }
    }

    #[test]
    fn text_parts() {
        let expected = [
            r#"["pokeStart",{"pokeID":"06","baseCookie":"05"}]"#,
            r#"["pokePart",{"pokeID":"06","lastMutationIDChanges":{"c":1}}]"#,
            r#"["pokePart",{"pokeID":"06","rowsPatch":[]}]"#,
            r#"["pokeEnd",{"pokeID":"06","cookie":"06"}]"#,
        ];
        assert_eq!(check(51, extras(), rows()), expected);
    }

    #[test]
    fn binary_parts() {
        let frames = check(52, extras(), rows());
        let expected = concat!(
            r#"0 [{"pokeID":"06","lastMutationIDChanges":{"c":1}},"#,
            r#"{"pokeID":"06","rowsPatch":[]}]"#
        );
        assert_eq!(frames[1..frames.len() - 1], [expected]);
        assert_eq!(check(52, Extras::default(), None)[1], "0 []");
    }

    #[test]
    fn starting_afresh_keeps_the_real_base() {
        let afresh = Extras {
            clear: true,
            base: Some(CvrVersion::at(2)),
            ..Extras::default()
        };
        let frames = check(51, afresh, rows());
        assert_eq!(
            frames[0],
            r#"["pokeStart",{"pokeID":"06","baseCookie":"02"}]"#
        );
        assert_eq!(
            frames[1],
            r#"["pokePart",{"pokeID":"06","rowsPatch":[{"op":"clear"}]}]"#
        );
    }
}
