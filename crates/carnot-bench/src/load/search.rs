//! The highest rate that holds: doubled until it does not, then halved in between.

/// A search. Asks for rates by [`Search::next`] until there are none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    held: Option<f64>,
    failed: Option<f64>,
    from: f64,
    precision: f64,
}

/// Rates that are not looked at: nobody asks so seldom or so often.
const RANGE: [f64; 2] = [1e-3, 1e6];

impl Search {
    /// Begins at the rate `from`; ends when what holds and what does not are within `precision` (0.05 for 5 %) of each other.
    pub fn new(from: f64, precision: f64) -> Self {
        Self {
            held: None,
            failed: None,
            from,
            precision,
        }
    }

    /// The rate to try; `None` at the end.
    pub fn next(&self) -> Option<f64> {
        let rate = match (self.held, self.failed) {
            (None, None) => self.from,
            (Some(held), None) => 2.0 * held,
            (None, Some(failed)) => failed / 2.0,
            (Some(held), Some(failed)) if failed <= held * (1.0 + self.precision) => return None,
            (Some(held), Some(failed)) => (held * failed).sqrt(),
        };
        (RANGE[0]..=RANGE[1]).contains(&rate).then_some(rate)
    }

    /// What came of it.
    pub fn observe(&mut self, rate: f64, held: bool) {
        if held {
            self.held = Some(self.held.map_or(rate, |known| known.max(rate)));
        } else {
            self.failed = Some(self.failed.map_or(rate, |known| known.min(rate)));
        }
    }

    /// The highest rate that held.
    pub fn held(&self) -> Option<f64> {
        self.held
    }

    /// The lowest that did not.
    pub fn failed(&self) -> Option<f64> {
        self.failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: f64, from: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(from, 0.05);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            search.observe(rate, rate <= limit);
            tries += 1;
        }
        (search.held(), tries)
    }

    #[test]
    fn the_limit_is_found_from_below_and_from_above() {
        for limit in [0.3, 7.0, 900.0] {
            for from in [1.0, 50.0] {
                let (held, tries) = found(limit, from);
                let held = held.unwrap();
                assert!(held <= limit && limit <= 1.05 * held, "{held} of {limit}");
                assert!(tries < 20, "{tries}");
            }
        }
    }

    #[test]
    fn nothing_that_holds_is_nothing() {
        assert_eq!(found(0.0, 1.0).0, None);
    }
}
