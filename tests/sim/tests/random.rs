//! Random worlds, for a while: `LANDFALL_TEST_SECONDS` of them, from `LANDFALL_SEED` on.

use landfall_sim::random_run;
use std::time::{Duration, Instant};

/// Lists every seed that fails and what it said.
#[test]
fn random_worlds_keep_the_promises() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("LANDFALL_TEST_SECONDS").unwrap_or(3.0);
    let first = number("LANDFALL_SEED").map_or(1, |seed| seed as u64);
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut failures = Vec::new();
    let mut seed = first;
    while seed == first || Instant::now() < end {
        match std::panic::catch_unwind(|| random_run::run(seed)) {
            Ok(run) if std::env::var_os("LANDFALL_STATS").is_some() => eprintln!("{seed}: {run}"),
            Ok(_) => {}
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text =
                    text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
                let text: String = text.unwrap_or_default().chars().take(300).collect();
                let failure = format!("LANDFALL_SEED={seed}: {text}");
                eprintln!("{failure}");
                failures.push(failure);
            }
        }
        seed += 1;
        if (seed - first).is_multiple_of(1000) {
            eprintln!("{} seeds, {} fail", seed - first, failures.len());
        }
    }
    eprintln!("{} seeds", seed - first);
    assert!(
        failures.is_empty(),
        "{} seeds fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}
