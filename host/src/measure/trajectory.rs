//! The plane in which a training moved most: the first two principal components of its checkpoints about the network
//! (Li et al. 2018, section 7).

use super::MeasureError;
use super::linear_algebra::eigen;

/// Two directions and the way of a training in their plane.
#[derive(Clone, Debug, PartialEq)]
pub struct Trajectory {
    /// Orthogonal directions, each scaled so that the farthest checkpoint along it is at a distance of 1.
    pub directions: [Vec<f32>; 2],
    /// The checkpoints in the plane, in units of the directions; the network itself is at (0, 0).
    pub path: Vec<(f64, f64)>,
    /// Share of the checkpoints' squared distances from the network that lies along each direction.
    pub shares: [f64; 2],
}

/// The plane of checkpoints, in their order, about a network.
///
/// # Errors
/// Fewer than two checkpoints, one of another size, or checkpoints that span no plane with the network.
pub fn trajectory(checkpoints: &[Vec<f32>], network: &[f32]) -> Result<Trajectory, MeasureError> {
    if checkpoints.len() < 2 || checkpoints.iter().any(|c| c.len() != network.len()) {
        return Err(MeasureError::Request("a trajectory needs at least 2 checkpoints of the same network".into()));
    }
    let inner = |a: &[f32], b: &[f32]| -> f64 {
        let away = |((a, b), w): ((&f32, &f32), &f32)| (f64::from(*a) - f64::from(*w)) * (f64::from(*b) - f64::from(*w));
        a.iter().zip(b).zip(network).map(away).sum()
    };
    let gram: Vec<Vec<f64>> = checkpoints.iter().map(|a| checkpoints.iter().map(|b| inner(a, b)).collect()).collect();
    let total: f64 = (0..gram.len()).map(|i| gram[i][i]).sum();
    let pairs = eigen(gram);
    if pairs[1].0 <= 1e-9 * total || total == 0.0 {
        return Err(MeasureError::Request("the checkpoints lie on one line with the network and span no plane".into()));
    }
    // For a unit vector u of the Gram matrix with eigenvalue e, sum of u_i (c_i - w) / sqrt(e) is a unit direction, along
    // which checkpoint i lies at sqrt(e) u_i.
    let axis = |(value, u): &(f64, Vec<f64>)| {
        let along: Vec<f64> = u.iter().map(|u| u * value.sqrt()).collect();
        let extent = along.iter().fold(0.0f64, |m, a| m.max(a.abs()));
        let mut direction = vec![0.0f64; network.len()];
        for (checkpoint, u) in checkpoints.iter().zip(u) {
            let share = u / value.sqrt() * extent;
            let moved = checkpoint.iter().zip(network).map(|(c, w)| f64::from(*c) - f64::from(*w));
            direction.iter_mut().zip(moved).for_each(|(d, m)| *d += share * m);
        }
        let places: Vec<f64> = along.iter().map(|a| a / extent).collect();
        (direction.iter().map(|d| *d as f32).collect::<Vec<f32>>(), places)
    };
    let (first, xs) = axis(&pairs[0]);
    let (second, ys) = axis(&pairs[1]);
    Ok(Trajectory {
        directions: [first, second],
        path: xs.into_iter().zip(ys).collect(),
        shares: [pairs[0].0 / total, pairs[1].0 / total],
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn checkpoints_in_a_plane_are_met_exactly() {
        let network: Vec<f32> = (0..30).map(|i| (i as f32).sin()).collect();
        let place = |x: f32, y: f32| -> Vec<f32> {
            network.iter().enumerate().map(|(i, w)| w + x * (i % 3) as f32 + y * (i % 5) as f32).collect()
        };
        let checkpoints = [place(4.0, 1.0), place(2.0, 1.5), place(1.0, 0.2), place(0.0, 0.0)];
        let found = trajectory(&checkpoints, &network).unwrap();
        assert!((found.shares[0] + found.shares[1] - 1.0).abs() < 1e-6);
        for (checkpoint, (x, y)) in checkpoints.iter().zip(&found.path) {
            for (i, value) in checkpoint.iter().enumerate() {
                let met = f64::from(network[i])
                    + x * f64::from(found.directions[0][i])
                    + y * f64::from(found.directions[1][i]);
                assert!((met - f64::from(*value)).abs() < 1e-5, "{met} instead of {value}");
            }
        }
        assert_eq!(found.path.iter().fold(0.0f64, |m, p| m.max(p.0.abs())), 1.0);
    }

    #[test]
    fn a_line_is_no_plane() {
        let line = [vec![1.0f32, 1.0], vec![2.0, 2.0]];
        assert!(trajectory(&line, &[0.0, 0.0]).is_err());
        assert!(trajectory(&line[..1], &[0.0, 0.0]).is_err());
        assert!(trajectory(&line, &[0.0]).is_err());
    }
}
