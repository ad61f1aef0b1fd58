//! Who is at the other end, and what they may read and write.

mod policy;
mod token;

pub use policy::{Policy, PolicyError, PolicyJudge};
pub use token::{AuthError, TokenVerifier};
