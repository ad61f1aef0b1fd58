//! Which versions of the protocol there are for us.

use crate::error_body::{ErrorBody, ErrorKind};

/// What our client speaks.
pub const PROTOCOL_VERSION: u32 = 51;
/// The oldest client that our server serves.
pub const MIN_VERSION: u32 = 30;
/// The newest client that our server serves.
pub const MAX_VERSION: u32 = 52;
/// From this version on poke parts travel as binary frames.
pub const POKE_CHUNKS_SINCE: u32 = 52;
/// The version of our own extension: the URL parameter `landfall` and the key `landfall` of `connected`.
pub const LANDFALL_VERSION: u32 = 1;

/// Refuses clients that our server does not serve.
pub fn check_version(version: u32) -> Result<(), ErrorBody> {
    let known = (MIN_VERSION..=MAX_VERSION).contains(&version);
    known.then_some(()).ok_or_else(|| {
        ErrorBody::new(
            ErrorKind::VersionNotSupported,
            format!(
                "the server speaks protocol versions {MIN_VERSION} to {MAX_VERSION}, the client speaks version {version}"
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_what_zero_serves() {
        for version in [30, 51, 52] {
            assert!(check_version(version).is_ok());
        }
        for version in [0, 29, 53, u32::MAX] {
            let error = check_version(version).expect_err("refused");
            assert_eq!(error.kind(), ErrorKind::VersionNotSupported);
        }
    }
}
