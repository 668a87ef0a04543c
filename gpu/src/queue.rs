//! A session as core's backend and objective: it writes down what a step asks for, and launches as much at once as it can.
//!
//! Core's [`Stepper`](smoothout::step::Stepper) goes from ghost batch to ghost batch: noise, forward, backward, no noise.
//! On a GPU that would be many small launches. So draws and passes are queued, and ghost batches that follow each other go
//! through the network together, each with the parameters of its own draw. What the stepper is told meanwhile is not yet
//! known: losses count as 0 and norms as 1, and the device itself looks at the true ones (see [`Session`]). It asks for a
//! norm for SAM alone, whose step is the gradient over its norm: that norm is divided by on the device.

use crate::error::{GpuError, Result};
use crate::memory::Pointer;
use crate::network::{Ghosts, Mask, Mode, Point};
use crate::parameters::Piece;
use crate::session::Session;
use smoothout::backend::{Backend, Base, Draw, Objective, Pass, Reception};
use smoothout::ghost::GhostBatches;
use smoothout::optimizer::Update;
use smoothout::plan::Tensor;

/// An evaluation point.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    /// The clean weights.
    Clean,
    /// The clean weights under a draw that was not made yet.
    Draw(Draw),
    /// What lies in the first perturbed copy.
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
}

impl Default for Queue {
    fn default() -> Self {
        Self { at: At::Clean, entries: Vec::new(), ghosts: GhostBatches::new(0, 1), share: 1.0 }
    }
}

impl Queue {
    /// A batch begins, whose loss has this share in the step's.
    pub(crate) fn begin(&mut self, ghosts: GhostBatches, share: f32) {
        self.ghosts = ghosts;
        self.share = share;
    }

    /// Forgets everything, as after a failure.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.at = At::Clean;
    }

    /// Whether an entry can go through the network with those that wait.
    fn takes(&self, next: &Entry, most: usize) -> bool {
        let Some((first, last)) = self.entries.first().zip(self.entries.last()) else { return true };
        let alike = first.weight == next.weight
            && first.pass.statistics == next.pass.statistics
            && first.pass.address.seed == next.pass.address.seed
            && first.pass.address.step == next.pass.address.step
            && last.pass.ghost + 1 == next.pass.ghost;
        // Masks of dropout go from ghost batch to ghost batch by one step.
        let draw = |entry: &Entry| entry.pass.address.draw;
        let even = self.entries.len() == 1 || draw(next).wrapping_sub(draw(last)) == self.mask_step();
        let own = |entry: &Entry| matches!(entry.at, At::Draw(_));
        let points = if self.shares_point() { self.entries.len() == 1 || next.at == first.at } else { next.at != last.at };
        let points = points && (next.at == first.at || own(first) && own(next));
        alike && even && points && self.entries.len() < most
    }

    /// Whether all that wait have one evaluation point.
    fn shares_point(&self) -> bool {
        self.entries.windows(2).all(|pair| pair[0].at == pair[1].at)
    }

    fn mask_step(&self) -> u32 {
        match &self.entries[..] {
            [first, second, ..] => second.pass.address.draw.wrapping_sub(first.pass.address.draw),
            _ => 0,
        }
    }
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
        let Some((first, last)) = entries.first().zip(entries.last()) else { return Ok(()) };
        let ghosts = self.queue.ghosts;
        let (start, end) = (ghosts.range(first.pass.ghost).start, ghosts.range(last.pass.ghost).end);
        let at = Ghosts { images: end - start, size: ghosts.size() };
        let point = self.point(entries)?;
        let mask_step = entries.get(1).map_or(0, |e| e.pass.address.draw.wrapping_sub(first.pass.address.draw));
        let mask = Mask { address: first.pass.address, step: mask_step };
        let running = self.statistics.pointer();
        self.network.forward(point, running, self.batches.input(start), at, Mode::Train(mask))?;
        self.network.loss(true)?;
        // SAM's second pass is no part of the loss.
        let share = if first.pass.statistics { first.weight * self.queue.share } else { 0.0 };
        let (number, failed) = (self.number(), self.parameters.failed());
        self.network.record(first.pass.ghost, share, [self.record(), failed], number)?;
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

    /// Makes the evaluation point of entries that go together.
    fn point(&mut self, entries: &[Entry]) -> Result<Point> {
        let of = |start: Pointer| Point { start, pitch: 0 };
        let first = entries.first().map_or(At::Clean, |entry| entry.at);
        let shared = entries.iter().all(|entry| entry.at == first);
        match first {
            At::Clean => Ok(of(self.parameters.weights.pointer())),
            At::Copy => Ok(of(self.parameters.copy(0))),
            At::Draw(draw) if shared => {
                self.parameters.perturb(&draw, Base::Clean, 0)?;
                Ok(of(self.parameters.copy(0)))
            }
            At::Draw(_) => {
                for (number, entry) in entries.iter().enumerate() {
                    if let At::Draw(draw) = &entry.at {
                        self.parameters.perturb(draw, Base::Clean, number)?;
                    }
                }
                let pitch = crate::parameters::pitch(self.parameters.weights.len());
                Ok(Point { start: self.parameters.copy(0), pitch })
            }
        }
    }
}

impl Backend for Session {
    type Gradient<'g> = Piece;
    type Error = GpuError;

    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<()> {
        self.queue.at = match (base, self.queue.at) {
            (Base::Clean, _) | (Base::Perturbed, At::Clean) => At::Draw(*draw),
            (Base::Perturbed, at) => {
                // Noise on noise: what is there is made before more comes.
                self.flush()?;
                if let At::Draw(before) = at {
                    self.parameters.perturb(&before, Base::Clean, 0)?;
                }
                self.parameters.perturb(draw, Base::Perturbed, 0)?;
                At::Copy
            }
        };
        Ok(())
    }

    fn ascend(&mut self, scale: f32) -> Result<()> {
        self.flush()?;
        self.parameters.ascend(scale)?;
        self.queue.at = At::Copy;
        Ok(())
    }

    fn denoise(&mut self) -> Result<()> {
        self.queue.at = At::Clean;
        Ok(())
    }

    fn keep_noise(&mut self) -> Result<()> {
        self.flush()?;
        match std::mem::replace(&mut self.queue.at, At::Clean) {
            At::Clean => return Ok(()),
            At::Draw(draw) => self.parameters.perturb(&draw, Base::Clean, 0)?,
            At::Copy => {}
        }
        self.parameters.keep_noise()
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
        if !session.queue.takes(&entry, session.network.most().count()) {
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
