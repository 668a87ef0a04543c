//! A session as core's backend and objective: it writes down what a step asks for, and launches as much at once as it can.
//!
//! Core's [`Stepper`](smoothout::step::Stepper) goes from draw to draw: noise, forward, backward, no noise.
//! On a GPU that would be many small launches. So draws and passes are queued, and those that follow each other go
//! through the network together: ghost batches with one evaluation point, or each with the parameters of its own draw, or
//! several draws of each ghost batch, whose images then lie there as often. What the stepper is told meanwhile is not yet
//! known: losses count as 0 and norms as 1, and the device itself looks at the true ones (see [`Session`]). It asks for a
//! norm for SAM alone, whose step is the gradient over its norm: that norm is divided by on the device.

use crate::error::{GpuError, Result};
use crate::memory::Pointer;
use crate::network::{Ghosts, Input, Mask, Mode, Point};
use crate::noise::{Draws, Packed, Series};
use crate::parameters::Piece;
use crate::session::Session;
use smoothout::backend::{Backend, Base, Draw, Objective, Pass, Reception};
use smoothout::ghost::GhostBatches;
use smoothout::noise::Address;
use smoothout::optimizer::Update;
use smoothout::plan::Tensor;
use smoothout::step::Method;

/// An evaluation point.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The clean weights.
    Clean,
    /// The clean weights under a draw that was not made yet.
    Draw(Draw),
    /// What lies in the first perturbed copy, and packed.
    Copy,
}

/// A pass to come.
#[derive(Clone, Copy, Debug)]
struct Entry {
    at: At,
    pass: Pass,
    /// Share of its gradient in the mean.
    weight: f32,
}

/// Passes to come, all of which can go through the network together.
#[derive(Debug)]
pub(crate) struct Queue {
    at: At,
    entries: Vec<Entry>,
    ghosts: GhostBatches,
    /// Share of the batch's loss in the step's.
    share: f32,
    /// How the method's draws are numbered.
    series: Series,
    /// Whether noise stays.
    stays: bool,
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
    fn takes(&self, next: &Entry, most: Ghosts) -> bool {
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
    fn positive(&self, entry: &Entry) -> Option<Draw> {
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
const fn number_of(entry: &Entry) -> u32 {
    entry.pass.address.draw
}

impl Session {
    /// Launches everything that waits.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn flush(&mut self) -> Result<()> {
        let entries = std::mem::take(&mut self.queue.entries);
        let result = self.launch_passes(&entries);
        // The list's memory is used again.
        self.queue.entries = entries;
        self.queue.entries.clear();
        result
    }

    fn launch_passes(&mut self, entries: &[Entry]) -> Result<()> {
        let Some(first) = entries.first() else { return Ok(()) };
        let (input, at) = self.images(entries)?;
        let point = self.point(entries)?;
        let mask_step = entries.get(1).map_or(0, |next| number_of(next).wrapping_sub(number_of(first)));
        let mask = Mask { address: first.pass.address, step: mask_step };
        let running = self.statistics.pointer();
        self.network.forward(point, running, input, at, Mode::Train(mask))?;
        self.network.loss(true)?;
        // SAM's second pass is no part of the loss.
        let share = if first.pass.statistics { first.weight * self.queue.share } else { 0.0 };
        let (number, failed) = (self.number(), self.parameters.failed());
        let passes = if repeats(entries) { (number_of(first) as usize, self.queue.series.many) } else { (first.pass.ghost, 1) };
        self.network.record(passes, share, [self.record(), failed], number)?;
        if first.pass.statistics {
            self.network.follow(running, failed)?;
        }
        let (gradient, deliver) = self.parameters.gradients(first.weight);
        self.network.backward(point, running, gradient, deliver)?;
        if let Some(seen) = self.seen.last_mut() {
            *seen += at.images;
        }
        Ok(())
    }

    /// The images that entries see, and how they are cut.
    fn images(&self, entries: &[Entry]) -> Result<(Input, Ghosts)> {
        let ghosts = self.queue.ghosts;
        let range = |entry: Option<&Entry>| entry.map_or(0..0, |entry| ghosts.range(entry.pass.ghost));
        let (first, last) = (range(entries.first()), range(entries.last()));
        if !repeats(entries) {
            let at = Ghosts { images: last.end - first.start, size: ghosts.size() };
            return Ok((self.batches.input(first.start), at));
        }
        // All are of one size: the cut's, or that of a shorter last one.
        let at = Ghosts { images: entries.len() * first.len(), size: first.len() };
        let number = entries.first().map_or(0, number_of) % self.queue.series.many;
        Ok((self.batches.repeated(first.start, at, (number, self.queue.series.many))?, at))
    }

    /// Makes the evaluation point of entries that go together.
    fn point(&mut self, entries: &[Entry]) -> Result<Point> {
        let of = |start: Pointer, packed: bool| Point { start, pitch: 0, packed };
        let Some(first) = entries.first() else { return Ok(of(Pointer::NULL, false)) };
        let draw = match first.at {
            At::Clean => return Ok(of(self.parameters.weights.pointer(), false)),
            At::Copy => return Ok(of(self.parameters.copy(0), true)),
            At::Draw(draw) => draw,
        };
        let packed = Some(self.network.packed_copies());
        if entries.iter().all(|entry| entry.at == first.at) {
            self.parameters.perturb(&Draws::one(&draw), Base::Clean, packed)?;
            return Ok(of(self.parameters.copy(0), true));
        }
        let (series, number) = (self.queue.series, number_of(first));
        let draw = self.queue.positive(first).unwrap_or(draw);
        let draws = Draws { draw, series, first: number, count: entries.len() };
        self.parameters.perturb(&draws, Base::Clean, packed)?;
        let pitch = crate::parameters::pitch(self.parameters.weights.len());
        Ok(Point { start: self.parameters.copy(0), pitch, packed: true })
    }
}

/// Whether two entries see one ghost batch.
fn repeats(entries: &[Entry]) -> bool {
    entries.windows(2).any(|pair| pair[0].pass.ghost == pair[1].pass.ghost)
}

impl Backend for Session {
    type Gradient<'g> = Piece;
    type Error = GpuError;

    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<()> {
        if !self.queue.stays {
            self.queue.at = At::Draw(*draw);
            return Ok(());
        }
        // More noise may come on top, and the update starts from there: the copy is made whole.
        self.flush()?;
        let base = if self.queue.at == At::Clean { Base::Clean } else { base };
        let packed = Packed { both: true, ..self.network.packed_copies() };
        self.parameters.perturb(&Draws::one(draw), base, Some(packed))?;
        self.queue.at = At::Copy;
        Ok(())
    }

    fn ascend(&mut self, scale: f32) -> Result<()> {
        self.flush()?;
        self.parameters.ascend(scale, self.network.packed_copies())?;
        self.queue.at = At::Copy;
        Ok(())
    }

    fn denoise(&mut self) -> Result<()> {
        self.queue.at = At::Clean;
        Ok(())
    }

    fn keep_noise(&mut self) -> Result<()> {
        self.flush()?;
        if std::mem::replace(&mut self.queue.at, At::Clean) == At::Copy {
            self.parameters.keep_noise();
        }
        Ok(())
    }

    fn clear_gradient(&mut self) -> Result<()> {
        self.flush()?;
        self.parameters.clear_gradient();
        Ok(())
    }

    fn receive(&mut self, tensor: &Tensor, first_row: usize, gradient: Piece, reception: &Reception) -> Result<()> {
        let start = tensor.offset + first_row * tensor.row_len;
        match reception {
            Reception::Add { weight } => self.parameters.add(*weight, gradient, start),
            Reception::Update(rule) => self.parameters.update_part(rule, gradient, start),
        }
    }

    fn gradient_norm(&mut self) -> Result<f32> {
        self.flush()?;
        let number = self.number();
        self.parameters.take_norm(number)?;
        Ok(1.0)
    }

    fn update(&mut self, rule: &Update) -> Result<()> {
        self.flush()?;
        // Clipping looks at the gradient that the update sees: the stored one times what the update scales it by.
        if self.clip.is_some() {
            let number = self.number();
            self.parameters.take_norm(number)?;
        }
        self.parameters.update(rule, self.clip)
    }

    fn average(&mut self, share: f32) -> Result<()> {
        self.parameters.follow_average(share)
    }
}

/// The ghost batches of a batch that was loaded.
#[derive(Debug)]
pub(crate) struct Passes(pub(crate) GhostBatches);

impl Objective<Session> for Passes {
    type Error = GpuError;

    fn ghosts(&self) -> usize {
        self.0.count()
    }

    fn forward(&mut self, _: &mut Session, _: &Pass) -> Result<f32> {
        Ok(0.0)
    }

    fn backward(&mut self, session: &mut Session, pass: &Pass, reception: &Reception) -> Result<()> {
        let weight = match reception {
            Reception::Add { weight } => *weight,
            Reception::Update(_) => 1.0,
        };
        let entry = Entry { at: session.queue.at, pass: *pass, weight };
        if !session.queue.takes(&entry, session.network.most()) {
            session.flush()?;
        }
        session.queue.entries.push(entry);
        match reception {
            Reception::Add { .. } => Ok(()),
            // One pass and one update: the fused step.
            Reception::Update(rule) => {
                session.parameters.clear_gradient();
                session.update(rule)
            }
        }
    }
}
