//! A straight line through what was looked at, and how sure its slope is.

/// A line fitted by least squares.
#[derive(Debug, Clone, Copy)]
pub struct Line {
    /// The value in the middle.
    pub middle: f64,
    /// How much it rises a minute.
    pub slope: f64,
    /// Twice the slope's standard error.
    pub error: f64,
}

impl Line {
    /// Through points of (minutes, value); `None` for fewer than ten.
    pub fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 10 {
            return None;
        }
        let count = points.len() as f64;
        let x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|(at, _)| (at - x).powi(2)).sum();
        let common: f64 = points
            .iter()
            .map(|(at, value)| (at - x) * (value - y))
            .sum();
        let slope = common / spread;
        let off: f64 = points
            .iter()
            .map(|(at, value)| (value - y - slope * (at - x)).powi(2))
            .sum();
        Some(Self {
            middle: y,
            slope,
            error: 2.0 * (off / (count - 2.0) / spread).sqrt(),
        })
    }

    /// Whether it rises by more than `bound` a minute, beyond doubt.
    pub fn surely_rises_more_than(&self, bound: f64) -> bool {
        self.slope - self.error > bound
    }
}
