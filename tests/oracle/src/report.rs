//! Runs programs one after another for a time, and makes a readable report of the first that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::case;
use crate::generate;
use crate::program::Program;
use crate::run::{Expected, Failure};
use crate::shrink::shrink;
use crate::tree::Node;

/// Rows of results beyond which a program takes the time of a thousand others.
const LARGEST: usize = 10_000;

/// What a test did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Programs.
    pub programs: u64,
    /// Transactions.
    pub transactions: u64,
    /// Those of them that change the result.
    pub visible: u64,
    /// Changes of one row.
    pub changes: u64,
    /// Programs that were left out because their results are huge.
    pub left_out: u64,
    /// The longest time that a program took, and its seed.
    pub slowest: (Duration, u64),
}

/// A way to run a program against its answers; it must not depend on anything but the program and the seed.
pub type Runner<'a> = dyn FnMut(u64, &Program, &Expected) -> Result<(), Failure> + 'a;

/// Runs the programs of seeds, from `LANDFALL_TEST_SEED` (1) on, every `stride`th, for `LANDFALL_TEST_SECONDS`; or
/// `LANDFALL_TEST_PROGRAMS` of them, however long it takes.
///
/// # Panics
/// A program fails: with its seed and a smaller program that fails as well.
pub fn programs(name: &str, seconds: u64, stride: u64, runner: &mut Runner<'_>) -> Tally {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("LANDFALL_TEST_SEED").unwrap_or(1);
    let seconds = number("LANDFALL_TEST_SECONDS").unwrap_or(seconds);
    let wanted: Option<u64> = number("LANDFALL_TEST_PROGRAMS");
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tally = Tally::default();
    let mut seed = first;
    while wanted.map_or_else(|| Instant::now() < end, |wanted| tally.programs < wanted) {
        let begun = Instant::now();
        one(name, seed, runner, &mut tally);
        tally.slowest = tally.slowest.max((begun.elapsed(), seed));
        seed += stride;
    }
    println!("{name}: {tally:?} from seed {first} to {seed}");
    tally
}

fn one(name: &str, seed: u64, runner: &mut Runner<'_>, tally: &mut Tally) {
    let program = generate::program(seed);
    let expected = Expected::new(&program);
    if size(&expected) > LARGEST {
        tally.left_out += 1;
        return;
    }
    tally.programs += 1;
    tally.transactions += program.transactions.len() as u64;
    let steps = expected.views.windows(2);
    tally.visible += steps.filter(|step| step[0] != step[1]).count() as u64;
    tally.changes += program.transactions.iter().flatten().count() as u64;
    let Err(failure) = attempt(seed, &program, &expected, runner) else {
        return;
    };
    println!("{name}: seed {seed} fails, making it smaller");
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut again = |smaller: &Program| attempt(seed, smaller, &Expected::new(smaller), runner);
    let small = shrink(&program, &mut |smaller| again(smaller).is_err());
    let last = again(&small).err().unwrap_or(failure);
    std::panic::set_hook(hook);
    panic!(
        "{name}: LANDFALL_TEST_SEED={seed} fails; made smaller, in state {}: {}\n{}",
        last.step,
        last.what,
        case::write(&small, &format!("seed {seed}"))
    );
}

/// Rows of all results of a program together: a few programs join everything with everything.
fn size(expected: &Expected) -> usize {
    fn nodes(list: &[Node]) -> usize {
        let lists = list.iter().flat_map(|node| &node.lists);
        list.len() + lists.map(|list| nodes(list)).sum::<usize>()
    }
    expected.views.iter().map(|view| nodes(view)).sum()
}

/// A panic is a failure like others.
fn attempt(
    seed: u64,
    program: &Program,
    expected: &Expected,
    runner: &mut Runner<'_>,
) -> Result<(), Failure> {
    let run = AssertUnwindSafe(|| runner(seed, program, expected));
    catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Failure {
            step: 0,
            what: format!("panic: {}", text.unwrap_or_default()),
        })
    })
}
