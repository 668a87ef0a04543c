use crate::backend::{Backend, Base, Draw, Reception};
use crate::optimizer::Update;
use crate::plan::Tensor;
use core::fmt;
use core::ops::Range;

/// How the clean weights come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Strategy {
    /// They stay untouched and the perturbed copy stands elsewhere: exact.
    Shadow,
    /// Noise is added in place, made again from its address and taken away; see
    /// [`Noise::take_away`](crate::noise::Noise::take_away) for the bound of the error.
    Replay,
}

/// The slices that parameters live in. All but `weights` may be empty where nothing needs them, and hold as many
/// values as `weights` otherwise.
#[derive(Debug)]
pub struct Memory<'a> {
    /// Clean weights.
    pub weights: &'a mut [f32],
    /// Perturbed copy: needed by [`Strategy::Shadow`].
    pub shadow: &'a mut [f32],
    /// Scale of each filter's noise, one a filter: needed by [`Strategy::Replay`].
    pub scales: &'a mut [f32],
    /// Stored gradient; not needed by [`Stepper::fused`](crate::step::Stepper::fused).
    pub gradient: &'a mut [f32],
    /// Momentum, or Adam's first moment; zeros at first.
    pub first: &'a mut [f32],
    /// Adam's second moment; zeros at first.
    pub second: &'a mut [f32],
    /// Average of the clean weights.
    pub average: &'a mut [f32],
}

/// What parameters in slices cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MemoryError {
    /// A slice has the wrong length.
    Length {
        /// Which one.
        what: &'static str,
        /// Values needed.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// The noise cannot be taken away again, so that [`Strategy::Replay`] refuses it.
    NotReplayable,
    /// [`Strategy::Replay`] has no memory for this.
    NeedsShadow {
        /// What was asked for.
        what: &'static str,
    },
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryError::Length { what, needed, given } => {
                write!(f, "the slice for {what} holds {given} values, {needed} are needed")
            }
            MemoryError::NotReplayable => {
                write!(f, "this noise cannot be taken away in place: use the strategy shadow")
            }
            MemoryError::NeedsShadow { what } => write!(f, "{what} needs the strategy shadow"),
        }
    }
}

impl core::error::Error for MemoryError {}

/// Parameters in slices: the portable backend.
#[derive(Debug)]
pub struct Parameters<'a> {
    tensors: &'a [Tensor],
    memory: Memory<'a>,
    strategy: Strategy,
    /// The draw at the evaluation point, when that is not the clean weights.
    draw: Option<Draw>,
    perturbed: bool,
}

fn check(what: &'static str, given: usize, needed: usize) -> Result<(), MemoryError> {
    if given == needed { Ok(()) } else { Err(MemoryError::Length { what, needed, given }) }
}

impl<'a> Parameters<'a> {
    /// Parameters of the tensors of a plan, in its order.
    ///
    /// # Errors
    /// A slice that is neither empty nor as long as is needed.
    pub fn new(
        tensors: &'a [Tensor],
        memory: Memory<'a>,
        strategy: Strategy,
    ) -> Result<Self, MemoryError> {
        let total = tensors.last().map_or(0, |tensor| tensor.range().end);
        check("weights", memory.weights.len(), total)?;
        let optional = [
            ("the gradient", memory.gradient.len()),
            ("the first moment", memory.first.len()),
            ("the second moment", memory.second.len()),
            ("the average", memory.average.len()),
        ];
        for (what, given) in optional.into_iter().filter(|(_, given)| *given != 0) {
            check(what, given, total)?;
        }
        match strategy {
            Strategy::Shadow => check("the perturbed copy", memory.shadow.len(), total)?,
            Strategy::Replay => {
                check("the scales", memory.scales.len(), tensors.iter().map(|t| t.rows).sum())?;
                memory.scales.fill(0.0);
            }
        }
        Ok(Self { tensors, memory, strategy, draw: None, perturbed: false })
    }

    /// The parameter table.
    pub const fn tensors(&self) -> &'a [Tensor] {
        self.tensors
    }

    /// The evaluation point: w + θ between perturb and denoise, else w.
    pub fn point(&self) -> &[f32] {
        if self.perturbed && self.strategy == Strategy::Shadow {
            self.memory.shadow
        } else {
            self.memory.weights
        }
    }

    /// The slices. With [`Strategy::Replay`] the weights are perturbed between perturb and denoise.
    pub const fn memory(&self) -> &Memory<'a> {
        &self.memory
    }

    fn perturb_copy(&mut self, draw: &Draw, base: Base) {
        let Memory { weights, shadow, .. } = &mut self.memory;
        if base == Base::Clean {
            shadow.copy_from_slice(weights);
        }
        for tensor in self.tensors.iter().filter(|t| draw.selection.contains(t.role)) {
            let key = draw.address.tensor(tensor.index);
            for filter in filters(tensor) {
                let start = filter.start - tensor.offset;
                // `add` scales by the values that it finds: the clean ones, or those whose noise stays.
                draw.noise.add(key, start, &mut shadow[filter]);
            }
        }
    }

    fn perturb_in_place(&mut self, draw: &Draw) {
        let Memory { weights, scales, .. } = &mut self.memory;
        let mut scales = scales.iter_mut();
        for tensor in self.tensors {
            let selected = draw.selection.contains(tensor.role);
            let key = draw.address.tensor(tensor.index);
            for (filter, scale) in filters(tensor).zip(&mut scales) {
                let start = filter.start - tensor.offset;
                *scale =
                    if selected { draw.noise.add(key, start, &mut weights[filter]) } else { 0.0 };
            }
        }
    }

    /// Takes the noise away from filters that still have some, of one tensor.
    fn clean(&mut self, draw: &Draw, tensor: &Tensor, rows: Range<usize>) {
        let before: usize = self.tensors.iter().take(tensor.index as usize).map(|t| t.rows).sum();
        let key = draw.address.tensor(tensor.index);
        for row in rows {
            let start = row * tensor.row_len;
            let at = tensor.offset + start;
            let scale = core::mem::take(&mut self.memory.scales[before + row]);
            let filter = &mut self.memory.weights[at..at + tensor.row_len];
            draw.noise.take_away(key, start, scale, filter);
        }
    }

    fn apply(&mut self, update: &Update, gradient: Option<&[f32]>, at: Range<usize>) {
        let Memory { weights, first, second, gradient: stored, .. } = &mut self.memory;
        let moments = update.optimizer.moments();
        let first = if moments > 0 { &mut first[at.clone()] } else { &mut [][..] };
        let second = if moments > 1 { &mut second[at.clone()] } else { &mut [][..] };
        let gradient = gradient.unwrap_or(&stored[at.clone()]);
        update.apply(&mut weights[at], gradient, first, second);
    }

    fn check_moments(&self, update: &Update) -> Result<(), MemoryError> {
        let total = self.memory.weights.len();
        let moments = update.optimizer.moments();
        if moments > 0 {
            check("the first moment", self.memory.first.len(), total)?;
        }
        if moments > 1 {
            check("the second moment", self.memory.second.len(), total)?;
        }
        Ok(())
    }

    fn check_gradient(&self) -> Result<(), MemoryError> {
        check("the gradient", self.memory.gradient.len(), self.memory.weights.len())
    }
}

/// The filters of a tensor, as ranges of all parameters.
fn filters(tensor: &Tensor) -> impl Iterator<Item = Range<usize>> {
    let Tensor { offset, row_len, rows, .. } = *tensor;
    (0..rows).map(move |row| offset + row * row_len..offset + (row + 1) * row_len)
}

impl Backend for Parameters<'_> {
    type Gradient<'g> = &'g [f32];
    type Error = MemoryError;

    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<(), MemoryError> {
        match self.strategy {
            Strategy::Shadow => self.perturb_copy(draw, base),
            Strategy::Replay => {
                if !draw.noise.is_replayable() {
                    return Err(MemoryError::NotReplayable);
                }
                if base == Base::Perturbed {
                    return Err(MemoryError::NeedsShadow { what: "noise that stays over several draws" });
                }
                self.perturb_in_place(draw);
            }
        }
        self.draw = Some(*draw);
        self.perturbed = true;
        Ok(())
    }

    fn ascend(&mut self, scale: f32) -> Result<(), MemoryError> {
        self.check_gradient()?;
        if self.strategy == Strategy::Replay {
            return Err(MemoryError::NeedsShadow { what: "SAM" });
        }
        let Memory { weights, shadow, gradient, .. } = &mut self.memory;
        for ((s, w), g) in shadow.iter_mut().zip(weights.iter()).zip(gradient.iter()) {
            *s = w + scale * g;
        }
        self.perturbed = true;
        Ok(())
    }

    fn denoise(&mut self) -> Result<(), MemoryError> {
        if let (Strategy::Replay, Some(draw)) = (self.strategy, self.draw.take()) {
            for tensor in self.tensors {
                self.clean(&draw, tensor, 0..tensor.rows);
            }
        }
        self.perturbed = false;
        Ok(())
    }

    fn keep_noise(&mut self) -> Result<(), MemoryError> {
        if self.perturbed && self.strategy == Strategy::Shadow {
            self.memory.weights.copy_from_slice(self.memory.shadow);
        }
        self.memory.scales.fill(0.0);
        self.draw = None;
        self.perturbed = false;
        Ok(())
    }

    fn clear_gradient(&mut self) -> Result<(), MemoryError> {
        self.check_gradient()?;
        self.memory.gradient.fill(0.0);
        Ok(())
    }

    fn receive(
        &mut self,
        tensor: &Tensor,
        first_row: usize,
        gradient: &[f32],
        reception: &Reception,
    ) -> Result<(), MemoryError> {
        let start = tensor.offset + first_row * tensor.row_len;
        let at = start..start + gradient.len();
        match reception {
            Reception::Add { weight } => {
                self.check_gradient()?;
                let stored = &mut self.memory.gradient[at];
                stored.iter_mut().zip(gradient).for_each(|(s, g)| *s += weight * g);
            }
            Reception::Update(update) => {
                self.check_moments(update)?;
                if let (Strategy::Replay, Some(draw)) = (self.strategy, self.draw) {
                    let rows = gradient.len() / tensor.row_len;
                    self.clean(&draw, tensor, first_row..first_row + rows);
                }
                self.apply(update, Some(gradient), at);
            }
        }
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f32, MemoryError> {
        self.check_gradient()?;
        // In f64, as a sum of squares of f32 can overflow where the norm does not.
        let square = |g: &f32| f64::from(*g) * f64::from(*g);
        Ok(libm::sqrt(self.memory.gradient.iter().map(square).sum::<f64>()) as f32)
    }

    fn update(&mut self, update: &Update) -> Result<(), MemoryError> {
        self.check_gradient()?;
        self.check_moments(update)?;
        self.apply(update, None, 0..self.memory.weights.len());
        Ok(())
    }

    fn average(&mut self, share: f32) -> Result<(), MemoryError> {
        let Memory { weights, average, .. } = &mut self.memory;
        check("the average", average.len(), weights.len())?;
        average.iter_mut().zip(weights.iter()).for_each(|(a, w)| *a += share * (w - *a));
        Ok(())
    }
}
