//! Averages of the clean weights over the training: SWA (Izmailov et al. 2018) and exponential moving average.

/// Which average is kept beside the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Averaging {
    /// None.
    #[default]
    None,
    /// The plain mean of the weights after update `start` and every `every` updates after that (0 counts as 1).
    Swa {
        /// First update whose weights are part of the mean.
        start: u64,
        /// Updates between two weights that are part of it.
        every: u64,
    },
    /// average = decay * average + (1 - decay) * weights after every update; starts as the weights after the first.
    Ema {
        /// Share of the past, in [0, 1).
        decay: f32,
    },
}

impl Averaging {
    /// Share of the present weights in the average after update number `update` (from 0), or `None` to leave it alone:
    /// average += share * (weights - average). A share of 1 makes the average equal to the weights.
    pub fn share(self, update: u64) -> Option<f32> {
        match self {
            Averaging::None => None,
            Averaging::Swa { start, every } => {
                let since = update.checked_sub(start)?;
                let every = every.max(1);
                since.is_multiple_of(every).then(|| 1.0 / ((since / every + 1) as f32))
            }
            Averaging::Ema { decay } => Some(if update == 0 { 1.0 } else { 1.0 - decay }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swa_is_the_mean_of_the_chosen_weights() {
        let swa = Averaging::Swa { start: 3, every: 2 };
        let (mut average, mut sum, mut count) = (99.0, 0.0, 0);
        for update in 0..20u64 {
            let weight = (update * update) as f32;
            if let Some(share) = swa.share(update) {
                average += share * (weight - average);
                sum += weight;
                count += 1;
            }
        }
        assert_eq!(count, 9);
        assert!((average - sum / count as f32).abs() < 1e-3);
        assert_eq!(Averaging::None.share(5), None);
    }
}
