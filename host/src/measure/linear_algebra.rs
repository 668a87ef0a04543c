//! The little linear algebra of the measurements: small dense symmetric matrices, long vectors.

/// The inner product.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// The Euclidean norm.
pub(super) fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

/// y += scale * x.
pub(super) fn add_scaled(y: &mut [f64], scale: f64, x: &[f64]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += scale * x);
}

/// Solves S x = b for a symmetric positive definite S by Cholesky's factorisation; none where S is not.
pub(super) fn solve(matrix: &[Vec<f64>], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    let mut lower = vec![vec![0.0; n]; n];
    for (i, row) in matrix.iter().enumerate() {
        for j in 0..=i {
            let rest = row[j] - dot(&lower[i][..j], &lower[j][..j]);
            if i == j {
                if rest <= 1e-12 * row[i] {
                    return None;
                }
                lower[i][i] = rest.sqrt();
            } else {
                lower[i][j] = rest / lower[j][j];
            }
        }
    }
    let mut x = right.to_vec();
    for (i, row) in lower.iter().enumerate() {
        x[i] = (x[i] - dot(&row[..i], &x[..i])) / row[i];
    }
    for i in (0..n).rev() {
        let above: f64 = (i + 1..n).map(|k| lower[k][i] * x[k]).sum();
        x[i] = (x[i] - above) / lower[i][i];
    }
    Some(x)
}

/// All eigenvalues of a symmetric matrix, in descending order, each with its vector of length 1 (Jacobi's method).
pub(super) fn eigen(mut matrix: Vec<Vec<f64>>) -> Vec<(f64, Vec<f64>)> {
    let n = matrix.len();
    // Row i becomes the i-th eigenvector.
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    // Convergence is quadratic: a handful of sweeps reaches the rounding of f64.
    for _ in 0..60 {
        let outside: f64 = (0..n).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| matrix[i][j].powi(2)).sum();
        let inside: f64 = (0..n).map(|i| matrix[i][i].powi(2)).sum();
        if outside <= 1e-30 * inside {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = vectors.into_iter().enumerate().map(|(i, v)| (matrix[i][i], v)).collect();
    pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
    pairs
}

/// Turns the plane of axes p and q so that the matrix has a 0 there.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    if matrix[p][q] == 0.0 {
        return;
    }
    let ratio = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    let tangent = ratio.signum() / (ratio.abs() + (ratio * ratio + 1.0).sqrt());
    let cosine = 1.0 / (tangent * tangent + 1.0).sqrt();
    let sine = tangent * cosine;
    let turn = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
    for row in matrix.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    for k in 0..matrix.len() {
        (matrix[p][k], matrix[q][k]) = turn(matrix[p][k], matrix[q][k]);
        (vectors[p][k], vectors[q][k]) = turn(vectors[p][k], vectors[q][k]);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_system_is_solved_and_a_singular_one_refused() {
        let matrix = vec![vec![4.0, 2.0, 0.5], vec![2.0, 5.0, 1.0], vec![0.5, 1.0, 3.0]];
        let x = solve(&matrix, &[1.0, -2.0, 3.0]).unwrap();
        for (row, b) in matrix.iter().zip([1.0, -2.0, 3.0]) {
            assert!((dot(row, &x) - b).abs() < 1e-12);
        }
        assert_eq!(solve(&[vec![1.0, 1.0], vec![1.0, 1.0]], &[1.0, 1.0]), None);
    }

    #[test]
    fn eigenpairs_are_those_of_the_matrix() {
        let n = 12;
        let entry = |i: usize, j: usize| ((i * j) as f64 * 0.7).cos() + if i == j { i as f64 } else { 0.0 };
        let matrix: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
        let pairs = eigen(matrix.clone());
        assert!(pairs.windows(2).all(|w| w[0].0 >= w[1].0));
        for (value, vector) in &pairs {
            assert!((norm(vector) - 1.0).abs() < 1e-12);
            for (row, v) in matrix.iter().zip(vector) {
                assert!((dot(row, vector) - value * v).abs() < 1e-11);
            }
        }
        let trace: f64 = (0..n).map(|i| matrix[i][i]).sum();
        assert!((pairs.iter().map(|p| p.0).sum::<f64>() - trace).abs() < 1e-10);
    }
}
