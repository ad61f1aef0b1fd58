//! Queries that were damaged at random: what can still be decoded is refused, or has an answer that stays right while
//! rows go and come back.

#[path = "../../zql/fuzz/src/laws.rs"]
#[allow(dead_code, reason = "the other laws are the language's")]
mod laws;
#[path = "../../zql/fuzz/src/mutation.rs"]
mod mutation;
#[path = "../../zql/fuzz/src/pipeline.rs"]
mod pipeline;
#[path = "../../zql/fuzz/src/seeds.rs"]
mod seeds;

#[test]
fn damaged_queries_are_refused_or_answered() {
    mutation::try_law("pipeline", pipeline::pipeline, mutation::budget());
}
