//! Rounding other than to nearest: from the nearest value and the sign of what it lacks.

/// A direction.
#[derive(Clone, Copy, PartialEq)]
pub enum Toward {
    /// `.rz`
    Zero,
    /// `.rm`
    Minus,
    /// `.rp`
    Plus,
}

/// Rounds `s + rest` (exact, `rest` below half a unit of `s`) to f32.
#[must_use]
pub fn directed(s: f64, rest: f64, toward: Toward) -> f32 {
    let near = s as f32;
    if !s.is_finite() {
        return near;
    }
    let below = |x: f32| {
        // Is x less than s + rest?
        let x = f64::from(x);
        if x == s { rest > 0.0 } else { x < s }
    };
    let above = |x: f32| {
        let x = f64::from(x);
        if x == s { rest < 0.0 } else { x > s }
    };
    let up = toward == Toward::Plus || toward == Toward::Zero && (s < 0.0 || s == 0.0 && rest < 0.0);
    if up {
        if below(near) { near.next_up() } else { near }
    } else if above(near) {
        near.next_down()
    } else {
        near
    }
}

/// Rounds `near + rest` (`near` is the nearest f64; of the rest the sign alone counts) to f64. Arguments were finite, or
/// `near` is what they give exactly.
fn directed64(near: f64, rest: f64, finite: bool, toward: Toward) -> f64 {
    if near.is_nan() || !finite {
        return near;
    }
    if near.is_infinite() {
        // Too large for an f64, but rounded away from infinity.
        let back = toward == Toward::Zero || (toward == Toward::Minus) == (near > 0.0);
        return if back { f64::MAX.copysign(near) } else { near };
    }
    match toward {
        Toward::Plus if rest > 0.0 => near.next_up(),
        Toward::Minus if rest < 0.0 => near.next_down(),
        Toward::Zero if rest < 0.0 && near > 0.0 => near.next_down(),
        Toward::Zero if rest > 0.0 && near < 0.0 => near.next_up(),
        _ => near,
    }
}

/// a + b exactly, as a rounded sum and the rest.
fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

/// a + b.
#[must_use]
pub fn sum(a: f32, b: f32, toward: Toward) -> f32 {
    let (s, rest) = exact_sum(f64::from(a), f64::from(b));
    if s == 0.0 { signed_zero(a, b, toward) } else { directed(s, rest, toward) }
}

/// a * b.
#[must_use]
pub fn product(a: f32, b: f32, toward: Toward) -> f32 {
    let s = f64::from(a) * f64::from(b);
    if s == 0.0 { a * b } else { directed(s, 0.0, toward) }
}

/// a * b + c.
#[must_use]
pub fn fused(a: f32, b: f32, c: f32, toward: Toward) -> f32 {
    let p = f64::from(a) * f64::from(b);
    let (s, rest) = exact_sum(p, f64::from(c));
    if s == 0.0 { signed_zero(p as f32, c, toward) } else { directed(s, rest, toward) }
}

/// a / b.
#[must_use]
pub fn quotient(a: f32, b: f32, toward: Toward) -> f32 {
    let (a, b) = (f64::from(a), f64::from(b));
    let q = a / b;
    directed(q, (-q).mul_add(b, a) / b, toward)
}

/// √a.
#[must_use]
pub fn root(a: f32, toward: Toward) -> f32 {
    let a = f64::from(a);
    let r = a.sqrt();
    directed(r, (-r).mul_add(r, a), toward)
}

/// a + b.
#[must_use]
pub fn sum64(a: f64, b: f64, toward: Toward) -> f64 {
    let (s, rest) = exact_sum(a, b);
    if s == 0.0 {
        return f64::from(signed_zero(a as f32, b as f32, toward));
    }
    directed64(s, rest, a.is_finite() && b.is_finite(), toward)
}

/// a * b.
#[must_use]
pub fn product64(a: f64, b: f64, toward: Toward) -> f64 {
    let p = a * b;
    directed64(p, a.mul_add(b, -p), a.is_finite() && b.is_finite(), toward)
}

/// a * b + c.
#[must_use]
pub fn fused64(a: f64, b: f64, c: f64, toward: Toward) -> f64 {
    let (p, s) = (a * b, a.mul_add(b, c));
    let e = a.mul_add(b, -p);
    if s == 0.0 {
        return f64::from(signed_zero(p as f32, c as f32, toward));
    }
    // a * b + c = p + e + c, and p + c = t + u.
    let (t, u) = exact_sum(p, c);
    let (v, w) = exact_sum(u, e);
    directed64(s, (t - s) + v + w, a.is_finite() && b.is_finite() && c.is_finite(), toward)
}

/// a / b.
#[must_use]
pub fn quotient64(a: f64, b: f64, toward: Toward) -> f64 {
    let q = a / b;
    directed64(q, (-q).mul_add(b, a) / b, a.is_finite() && b.is_finite() && b != 0.0, toward)
}

/// √a.
#[must_use]
pub fn root64(a: f64, toward: Toward) -> f64 {
    let r = a.sqrt();
    directed64(r, (-r).mul_add(r, a), a.is_finite(), toward)
}

/// A sum that is zero: negative when rounding down, unless both are positive zeros.
fn signed_zero(a: f32, b: f32, toward: Toward) -> f32 {
    let both = |negative: bool| a.is_sign_negative() == negative && b.is_sign_negative() == negative;
    if both(true) || toward == Toward::Minus && !both(false) { -0.0 } else { 0.0 }
}
