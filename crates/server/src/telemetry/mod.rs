//! Traces and metrics for an OpenTelemetry collector, if the program is built with the feature and told of one.
//!
//! What is traced: pushes, what queries by name mean, and calls of the app's endpoints, each as part of the page's own
//! trace where its messages name one; and each first reading of a query, as a trace of its own, since it is nobody's
//! alone. Spans name groups, clients, mutations, queries and tables, and hold no values.

#[cfg(feature = "opentelemetry")]
mod http;
#[cfg(not(feature = "opentelemetry"))]
mod none;
#[cfg(feature = "opentelemetry")]
mod otlp;
#[cfg(feature = "opentelemetry")]
mod recorder;

#[cfg(not(feature = "opentelemetry"))]
pub(crate) use none::{Telemetry, current_trace, install_recorder, join_trace};
#[cfg(feature = "opentelemetry")]
pub(crate) use otlp::{Telemetry, current_trace, install_recorder, join_trace};

/// The target of spans that are for traces, so that log lines stay as they are.
pub(crate) const TRACE: &str = "landfall_trace";

/// Whether a text is a `traceparent` that may be passed on: four groups of hexadecimal digits.
fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let parts: Vec<&str> = text.split('-').collect();
    let is_hex = |part: &str| {
        part.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    parts.len() == lengths.len()
        && parts
            .iter()
            .zip(lengths)
            .all(|(part, length)| part.len() == length && is_hex(part))
}

#[cfg(test)]
mod tests {
    use super::is_traceparent;

    #[test]
    fn only_well_formed_trace_parents_are_passed_on() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(is_traceparent(good));
        let capitals = good.to_uppercase();
        for bad in [
            "",
            "00",
            &good[1..],
            &capitals,
            &format!("{good}-x"),
            "00-\r\nx: y-1-01",
        ] {
            assert!(!is_traceparent(bad), "{bad:?}");
        }
    }
}
