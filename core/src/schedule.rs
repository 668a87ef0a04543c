//! Schedules of the noise strength over the training (the authors' program; the paper has none).

/// How the strength changes from update to update: its factor at update t of T.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Schedule {
    /// 1 throughout.
    #[default]
    Constant,
    /// (1 + t)^-0.275.
    Anneal,
    /// (tanh(10 (t/T - 1/2)) + 1) / 2: from 0 to 1.
    TanhRising,
    /// (tanh(10 (1/2 - t/T)) + 1) / 2: from 1 to 0.
    TanhFalling,
}

impl Schedule {
    /// Factor of the strength after `updates` updates of `total`.
    pub fn factor(self, updates: u64, total: u64) -> f32 {
        let progress = updates as f64 / total.max(1) as f64 - 0.5;
        let factor = match self {
            Schedule::Constant => 1.0,
            Schedule::Anneal => libm::pow(1.0 + updates as f64, -0.275),
            Schedule::TanhRising => (libm::tanh(10.0 * progress) + 1.0) / 2.0,
            Schedule::TanhFalling => (libm::tanh(-10.0 * progress) + 1.0) / 2.0,
        };
        factor as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_formulas() {
        assert_eq!(Schedule::Constant.factor(7, 9), 1.0);
        assert_eq!(Schedule::Anneal.factor(0, 100), 1.0);
        assert!((Schedule::Anneal.factor(1023, 0) - 0.148_650_9).abs() < 1e-6); // 1024^-0.275
        assert!((Schedule::TanhRising.factor(0, 100) - 4.539_787e-5).abs() < 1e-9);
        assert_eq!(Schedule::TanhRising.factor(50, 100), 0.5);
        assert!((Schedule::TanhRising.factor(100, 100) - 0.999_954_6).abs() < 1e-6);
        for t in [0, 13, 50, 99] {
            let both = Schedule::TanhRising.factor(t, 100) + Schedule::TanhFalling.factor(t, 100);
            assert!((both - 1.0).abs() < 1e-6);
        }
    }
}
