//! Messages of sessions, with the feature `defmt`; without it, nothing.

use super::{Counters, Outcome, SessionError};

/// A step has ended.
#[cfg(feature = "defmt")]
pub(super) fn stepped(counters: Counters, outcome: Outcome) {
    let Outcome { loss, correct, images } = outcome;
    defmt::debug!("batch {}: loss {}, {} of {} images found", counters.batches, loss, correct, images);
}

/// A step or an update was refused; the weights are clean.
#[cfg(feature = "defmt")]
pub(super) fn refused(error: &SessionError) {
    defmt::warn!("step refused, clean weights: {}", error);
}

#[cfg(not(feature = "defmt"))]
pub(super) const fn stepped(_: Counters, _: Outcome) {}

#[cfg(not(feature = "defmt"))]
pub(super) const fn refused(_: &SessionError) {}
