//! The list of unconfirmed mutations as the application is told it: what has changed since the last time, so that a page
//! that shows how much waits does not pay for the whole queue at each write.

use crate::effect::{MutationInfo, Outcome};
use serde::Serialize;

/// So far ahead it is looked for a mutation that is not where it is expected, so that a list that is new as a whole is
/// quickly told. What is further away is told again.
const LOOK_AHEAD: usize = 1_000;

/// A part of the list. The parts come in the order of the list and make it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ListPart {
    /// Of the list that was told last those from the first place up to, not including, the second.
    Kept(usize, usize),
    /// One that was not in it, or not in this state.
    Told(MutationInfo),
}

/// What was told of one mutation, as far as it can differ another time: what it calls never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    /// The place of the client's id in `clients`.
    client: usize,
    id: u64,
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Confirmed,
    Failed,
    Uncertain,
}

/// The list as it was told last.
#[derive(Debug, Default)]
pub(super) struct Listing {
    clients: Vec<String>,
    lines: Vec<Line>,
}

impl Listing {
    /// The parts that make these mutations out of what was told last; `info` gives all of one.
    pub(super) fn tell<'a>(
        &mut self,
        mutations: impl Iterator<Item = (&'a str, u64, Option<&'a Outcome>)>,
        info: impl Fn(usize) -> MutationInfo,
    ) -> Vec<ListPart> {
        let mut parts = Vec::new();
        let mut lines = Vec::with_capacity(self.lines.len());
        // Up to here the last list is used: mostly it is the new one, but for those that have gone and come.
        let mut from = 0;
        for (place, (client_id, id, outcome)) in mutations.enumerate() {
            let line = Line {
                client: self.client(client_id),
                id,
                state: outcome.map(State::of),
            };
            lines.push(line);
            let rest = self.lines.get(from..).unwrap_or_default();
            let mut near = rest.iter().take(LOOK_AHEAD);
            let Some(skipped) = near.position(|known| *known == line) else {
                parts.push(ListPart::Told(info(place)));
                continue;
            };
            let found = from + skipped;
            from = found + 1;
            match parts.last_mut() {
                Some(ListPart::Kept(_, end)) if *end == found => *end = from,
                _ => parts.push(ListPart::Kept(found, from)),
            }
        }
        self.lines = lines;
        parts
    }

    fn client(&mut self, client_id: &str) -> usize {
        let known = self.clients.iter().position(|known| known == client_id);
        known.unwrap_or_else(|| {
            self.clients.push(client_id.to_owned());
            self.clients.len() - 1
        })
    }
}

impl State {
    fn of(outcome: &Outcome) -> State {
        match outcome {
            Outcome::Confirmed => State::Confirmed,
            Outcome::Failed { .. } => State::Failed,
            Outcome::Uncertain => State::Uncertain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn info(&(client, id, failed): &(&str, u64, bool)) -> MutationInfo {
        MutationInfo {
            client_id: client.to_owned(),
            mutation_id: id,
            name: "m".to_owned(),
            args_json: "[]".to_owned(),
            outcome: failed.then_some(Outcome::Uncertain),
        }
    }

    fn tell(listing: &mut Listing, infos: &[MutationInfo]) -> Vec<ListPart> {
        let lines = infos
            .iter()
            .map(|m| (m.client_id.as_str(), m.mutation_id, m.outcome.as_ref()));
        listing.tell(lines, |place| infos[place].clone())
    }

    fn put_together(before: &[MutationInfo], parts: &[ListPart]) -> Vec<MutationInfo> {
        let of = |part: &ListPart| match part {
            ListPart::Kept(from, until) => before[*from..*until].to_vec(),
            ListPart::Told(info) => vec![info.clone()],
        };
        parts.iter().flat_map(of).collect()
    }

    #[test]
    fn only_what_is_new_is_told() {
        let mut listing = Listing::default();
        let waiting = [("a", 1, false), ("b", 1, false), ("a", 2, false)].map(|m| info(&m));
        tell(&mut listing, &waiting);
        assert_eq!(tell(&mut listing, &waiting), [ListPart::Kept(0, 3)]);
        let later = [
            ("b", 1, false),
            ("a", 2, false),
            ("a", 3, false),
            ("a", 1, true),
        ];
        let later = later.map(|m| info(&m));
        let parts = tell(&mut listing, &later);
        let told = |place: usize| ListPart::Told(later[place].clone());
        assert_eq!(parts, [ListPart::Kept(1, 3), told(2), told(3)]);
        assert_eq!(tell(&mut listing, &[]), []);
    }

    #[test]
    fn what_is_far_away_is_told_again() {
        let mut listing = Listing::default();
        let list: Vec<MutationInfo> = (0..3_000).map(|id| info(&("a", id, false))).collect();
        tell(&mut listing, &list);
        let parts = tell(&mut listing, &list[500..]);
        assert_eq!(parts, [ListPart::Kept(500, 3_000)]);
        let parts = tell(&mut listing, &list[2_900..]);
        assert_eq!(put_together(&list, &parts), list[2_900..]);
        assert_eq!(parts.len(), 100);
    }

    #[test]
    fn the_parts_make_up_any_list() {
        let mut random = Random::new([7; 32]);
        let mut below = |limit: usize| (random.fraction() * limit as f64) as usize;
        let mut listing = Listing::default();
        let mut before = Vec::new();
        for _ in 0..500 {
            let mut list: Vec<MutationInfo> = Vec::new();
            for client in ["a", "b"] {
                for id in 0..6 {
                    if below(2) == 0 {
                        let place = below(list.len() + 1);
                        list.insert(place, info(&(client, id, below(3) == 0)));
                    }
                }
            }
            let parts = tell(&mut listing, &list);
            assert_eq!(put_together(&before, &parts), list);
            before = list;
        }
    }
}
