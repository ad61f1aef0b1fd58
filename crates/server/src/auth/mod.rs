//! Who is at the other end, and what they may read and write.

mod judge;
mod policy;
mod token;

pub use judge::PolicyJudge;
pub use policy::{Policy, PolicyError};
pub use token::{AuthError, TokenVerifier};
