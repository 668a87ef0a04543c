/// Values of one chunk of a norm.
const CHUNK: usize = 128;

/// Partial sums of a chunk.
const LANES: usize = 8;

/// Euclidean norm in the contract's order, in f32.
///
/// The values are cut into chunks of 128. In a chunk, lane j of 8 sums the squares of elements j, j + 8, …; the lanes are
/// added as ((0+4)+(2+6))+((1+5)+(3+7)), and the chunks one after the other.
pub fn norm(values: &[f32]) -> f32 {
    let mut total = 0.0f32;
    for chunk in values.chunks(CHUNK) {
        let mut lanes = [0.0; LANES];
        let (groups, rest) = chunk.as_chunks::<LANES>();
        for group in groups {
            add_squares(&mut lanes, group);
        }
        add_squares(&mut lanes, rest);
        total += combined(&lanes);
    }
    libm::sqrtf(total)
}

/// The [`norm`] of values that come one by one and are kept nowhere.
#[derive(Default)]
pub(super) struct RunningNorm {
    total: f32,
    lanes: [f32; LANES],
    count: usize,
}

impl RunningNorm {
    pub(super) fn push(&mut self, value: f32) {
        add_squares(&mut self.lanes[self.count % LANES..], &[value]);
        self.count += 1;
        if self.count == CHUNK {
            *self = Self { total: self.total + combined(&self.lanes), ..Self::default() };
        }
    }

    pub(super) fn value(self) -> f32 {
        // Lanes that nothing was added to are zeros, which change no sum.
        libm::sqrtf(self.total + combined(&self.lanes))
    }
}

fn add_squares(lanes: &mut [f32], values: &[f32]) {
    for (lane, value) in lanes.iter_mut().zip(values) {
        *lane += value * value;
    }
}

fn combined(l: &[f32; LANES]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}
