//! How much work fits into a task of the page: steps of the client related to time, as this machine is just now.

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

#[cfg(test)]
mod tests {
    use super::*;

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
