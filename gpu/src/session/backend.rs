//! A session as core's backend and objective: it writes down what a step asks for, and launches as much at once as it can.
//!
//! Core's [`Stepper`](smoothout::step::Stepper) goes from draw to draw: noise, forward, backward, no noise.
//! On a GPU that would be many small launches. So draws and passes are queued, and those that follow each other go
//! through the network together: ghost batches with one evaluation point, or each with the parameters of its own draw, or
//! several draws of each ghost batch, whose images then lie there as often. What the stepper is told meanwhile is not yet
//! known: losses count as 0 and norms as 1, and the device itself looks at the true ones (see [`Session`]). It asks for a
//! norm for SAM alone, whose step is the gradient over its norm: that norm is divided by on the device.

use super::Session;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::network::{Input, Mask, Mode, Point};
use crate::noise::{Draws, Packed};
use crate::parameters::Piece;
use crate::pointer::Pointer;
use crate::queue::{At, Entry, number_of, repeats};
use smoothout::backend::{Backend, Base, Draw, Objective, Pass, Reception};
use smoothout::ghost::GhostBatches;
use smoothout::optimizer::Update;
use smoothout::plan::Tensor;

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
