/// Values of one chunk of a norm.
const CHUNK: usize = 128;

/// Euclidean norm in the contract's order, in f32.
///
/// The values are cut into chunks of 128. In a chunk, lane j of 8 sums the squares of elements j, j + 8, …; the lanes are
/// added as ((0+4)+(2+6))+((1+5)+(3+7)), and the chunks one after the other.
pub fn norm(values: impl Iterator<Item = f32>) -> f32 {
    let mut total = 0.0f32;
    let mut lanes = [0.0f32; 8];
    let mut count = 0;
    for value in values {
        lanes[count % 8] += value * value;
        count += 1;
        if count == CHUNK {
            total += combined(&lanes);
            lanes = [0.0; 8];
            count = 0;
        }
    }
    if count > 0 {
        total += combined(&lanes);
    }
    libm::sqrtf(total)
}

fn combined(l: &[f32; 8]) -> f32 {
    ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]))
}
