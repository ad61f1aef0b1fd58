//! How much work fits into a task of the page: steps of the client related to time, as this machine is just now, and how
//! long the application's calls have kept it.

/// From so many steps on a call tells how long one takes.
const TELLING_STEPS: usize = 100;

/// Fewer would cost more in going on than they save, and small queries could not be answered at once.
const FEWEST_STEPS: f64 = 250.0;

/// The steps that a slice may take.
pub(crate) struct Pace {
    steps: f64,
    most: f64,
    ms: f64,
}

impl Pace {
    /// Calls should take so many milliseconds, and no more than `most` steps where the machine is fast.
    pub(crate) fn new(ms: f64, most: usize) -> Pace {
        let most = most as f64;
        Pace {
            steps: most,
            most,
            ms,
        }
    }

    /// A call has taken so many steps and so long; gives how many the next one may take.
    /// Little by little: a step may be much or little work, and the machine may have done something else meanwhile.
    pub(crate) fn after(&mut self, spent: usize, ms: f64) -> usize {
        if spent >= TELLING_STEPS && ms > 0.0 {
            let fitting = self.ms * spent as f64 / ms;
            let (least, limit) = (self.steps / 2.0, self.steps * 1.25);
            // Not `clamp`: its panic shows both bounds, with all the code that writes fractions.
            self.steps = fitting.max(least).min(limit);
            self.steps = self.steps.max(FEWEST_STEPS).min(self.most);
        }
        self.steps as usize
    }
}

/// Calls of the application in one task put off what they can when they have taken so long, with what is between them:
/// first answers are made, shown, and compiled there.
const CALLS_MS: f64 = 8.0;

/// Calls that have taken less than this together are not looked after.
const UNNOTICED_MS: f64 = 2.0;

/// The calls of the application in the present task. Nobody tells when a task ends: so a turn of work is asked for, and
/// until it comes the task counts as the same.
#[derive(Default)]
pub(crate) struct Calls {
    // Since when the page is kept, once a turn is asked for.
    begun_ms: Option<f64>,
    took_ms: f64,
}

impl Calls {
    /// Whether a call that begins now should put off what it can.
    pub(crate) fn are_long(&self, now: f64) -> bool {
        self.begun_ms.is_some_and(|begun| now - begun >= CALLS_MS)
    }

    /// A call has ended; whether a turn is to be asked for.
    pub(crate) fn ended(&mut self, begun: f64, now: f64) -> bool {
        self.took_ms += now - begun;
        if self.begun_ms.is_some() || self.took_ms < UNNOTICED_MS {
            return false;
        }
        self.begun_ms = Some(now - self.took_ms);
        true
    }

    /// The turn has come, which is a task of its own.
    pub(crate) fn turn(&mut self) {
        *self = Calls::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_calls_in_one_task_are_not_many_slices() {
        let mut calls = Calls::default();
        // Each takes two milliseconds, and the page takes one for what came of it.
        let made = (0..6).map(|n| {
            let begun = f64::from(n) * 3.0;
            (calls.are_long(begun), calls.ended(begun, begun + 2.0))
        });
        let [asks, goes_on, is_put_off] = [(false, true), (false, false), (true, false)];
        let expected = [asks, goes_on, goes_on, is_put_off, is_put_off, is_put_off];
        assert!(made.eq(expected));
        calls.turn();
        assert!(!calls.are_long(20.0));
    }

    #[test]
    fn calls_in_tasks_of_their_own_are_never_put_off() {
        let mut calls = Calls::default();
        for n in 0..1_000 {
            let begun = f64::from(n) * 16.0;
            assert!(!calls.are_long(begun), "{n}");
            if calls.ended(begun, begun + 0.5) {
                calls.turn();
            }
        }
    }

    #[test]
    fn slices_become_as_long_as_they_should_be() {
        // Microseconds that a step takes, and the steps of a slice after some calls.
        for (step_us, expected) in [(0.5, 2_000), (2.0, 2_000), (8.0, 500), (1_000.0, 250)] {
            let mut pace = Pace::new(4.0, 2_000);
            let mut steps = 2_000;
            for _ in 0..20 {
                steps = pace.after(steps, steps as f64 * step_us / 1_000.0);
            }
            assert_eq!(steps, expected, "{step_us}");
        }
    }

    #[test]
    fn one_slow_call_is_forgotten() {
        let mut pace = Pace::new(4.0, 2_000);
        assert_eq!(pace.after(2_000, 80.0), 1_000);
        let mut calls = 0;
        let mut steps = 1_000;
        while steps < 2_000 {
            steps = pace.after(steps, 0.1);
            calls += 1;
        }
        assert!(calls <= 4, "{calls}");
    }

    #[test]
    fn what_was_short_tells_nothing() {
        let mut pace = Pace::new(4.0, 2_000);
        assert_eq!(pace.after(10, 30.0), 2_000);
        assert_eq!(pace.after(2_000, 0.0), 2_000);
    }
}
