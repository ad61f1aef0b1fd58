//! What Postgres sends, damaged at random, keeps the laws that the fuzzers check.

#[path = "../../../fuzz/src/laws.rs"]
mod laws;
#[path = "../../../../zql/fuzz/src/mutation.rs"]
mod mutation;
#[path = "../../../fuzz/src/seeds.rs"]
mod seeds;

use super::{copy_text, kind, pgoutput, values};

#[test]
fn damaged_bytes_keep_the_laws() {
    let laws = laws::LAWS;
    let share = mutation::budget() / u32::try_from(laws.len()).expect("few laws");
    for (name, law) in laws {
        mutation::try_law(name, law, share);
    }
}
