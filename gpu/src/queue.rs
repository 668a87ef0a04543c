//! Passes of a step that wait to go through the network together.

use crate::ghosts::Ghosts;
use crate::noise::Series;
use smoothout::backend::{Draw, Pass};
use smoothout::ghost::GhostBatches;
use smoothout::noise::Address;
use smoothout::step::Method;

/// An evaluation point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum At {
    /// The clean weights.
    Clean,
    /// The clean weights under a draw that was not made yet.
    Draw(Draw),
    /// What lies in the first perturbed copy, and packed.
    Copy,
}

/// A pass to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) at: At,
    pub(crate) pass: Pass,
    /// Share of its gradient in the mean.
    pub(crate) weight: f32,
}

/// Passes to come, all of which can go through the network together.
#[derive(Debug)]
pub(crate) struct Queue {
    /// The evaluation point of passes to come.
    pub(crate) at: At,
    pub(crate) entries: Vec<Entry>,
    pub(crate) ghosts: GhostBatches,
    /// Share of the batch's loss in the step's.
    pub(crate) share: f32,
    /// How the method's draws are numbered.
    pub(crate) series: Series,
    /// Whether noise stays.
    pub(crate) stays: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { at: At::Clean, entries: Vec::new(), ghosts: GhostBatches::new(0, 1), share: 1.0, series: Series::PLAIN, stays: false }
    }
}

impl Queue {
    /// A batch begins, of a step by this method; its loss has this share in the step's.
    pub(crate) fn begin(&mut self, ghosts: GhostBatches, share: f32, method: Method) {
        self.ghosts = ghosts;
        self.share = share;
        (self.series, self.stays) = match method {
            Method::SmoothOut(method) => {
                let draws = method.draws;
                (Series { many: draws.count.max(1), pairs: draws.antithetic }, !method.denoise)
            }
            Method::Sgd | Method::Sam { .. } => (Series::PLAIN, false),
        };
    }

    /// Forgets everything, as after a failure.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.at = At::Clean;
    }

    /// Whether an entry can go through the network with those that wait, of which there is room for `most`.
    pub(crate) fn takes(&self, next: &Entry, most: Ghosts) -> bool {
        let Some((first, last)) = self.entries.first().zip(self.entries.last()) else { return true };
        let alike = first.weight == next.weight
            && first.pass.statistics == next.pass.statistics
            && first.pass.address.seed == next.pass.address.seed
            && first.pass.address.step == next.pass.address.step;
        let one = self.entries.len() == 1;
        let shared = (one || self.shares_point()) && self.continues(first, last, next);
        let count = self.entries.len() + 1;
        let room = self.series.many == 1 || count * self.size(first) <= most.images;
        let own = (one || !self.shares_point()) && room && self.follows(first, last, next);
        alike && (shared || own) && count <= most.count()
    }

    /// Whether an entry has the point of those before and the next ghost batch.
    fn continues(&self, first: &Entry, last: &Entry, next: &Entry) -> bool {
        // Masks of dropout go from ghost batch to ghost batch by one step.
        let even = self.entries.len() == 1 || number_of(next).wrapping_sub(number_of(last)) == self.mask_step();
        next.at == first.at && last.pass.ghost + 1 == next.pass.ghost && even
    }

    /// Whether an entry has the draw that comes next by the method's numbers, of a ghost batch of the same size or, if each has
    /// one draw, a shorter last one.
    fn follows(&self, first: &Entry, last: &Entry, next: &Entry) -> bool {
        let alike = |a: Draw, b: Draw| b == Draw { address: Address { draw: b.address.draw, ..a.address }, ..a };
        let draws = self.positive(first).zip(self.positive(next));
        draws.is_some_and(|(a, b)| alike(a, b))
            && number_of(next) == number_of(last).wrapping_add(1)
            && (self.series.many == 1 || self.size(first) == self.size(next))
    }

    /// The draw of an entry, of pairs that of the positive sign, if it is the one that the method's numbers give its pass.
    pub(crate) fn positive(&self, entry: &Entry) -> Option<Draw> {
        let At::Draw(draw) = entry.at else { return None };
        let (number, other) = self.series.noise_of(number_of(entry));
        let noise = if other { draw.noise.negated() } else { draw.noise };
        let is = draw.address.draw == number && number_of(entry) / self.series.many == entry.pass.ghost as u32;
        is.then_some(Draw { noise, ..draw })
    }

    /// Images of an entry's ghost batch.
    fn size(&self, entry: &Entry) -> usize {
        self.ghosts.range(entry.pass.ghost).len()
    }

    /// Whether all that wait have one evaluation point.
    fn shares_point(&self) -> bool {
        self.entries.windows(2).all(|pair| pair[0].at == pair[1].at)
    }

    fn mask_step(&self) -> u32 {
        match &self.entries[..] {
            [first, second, ..] => number_of(second).wrapping_sub(number_of(first)),
            _ => 0,
        }
    }
}

/// Number of a pass among those of the step, by which its dropout masks go.
pub(crate) const fn number_of(entry: &Entry) -> u32 {
    entry.pass.address.draw
}

/// Whether two entries see one ghost batch.
pub(crate) fn repeats(entries: &[Entry]) -> bool {
    entries.windows(2).any(|pair| pair[0].pass.ghost == pair[1].pass.ghost)
}
