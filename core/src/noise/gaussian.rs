//! Standard normal noise from one 32-bit draw: the inverse of the normal distribution function.
//!
//! Wichura's algorithm AS 241 (PPND7; Applied Statistics 37, 1988, pages 477 to 484) in f32, with the logarithm that its
//! tails need made of integers and + − × ÷ alone, so that every machine gives the same bits.

/// Numerator and denominator near the centre, abs(p - 1/2) <= 0.425, in r = 0.180625 - q²; lowest power first.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
pub const CENTRE: [[f32; 4]; 2] = [
    [3.3871327179, 50.434271938, 159.29113202, 59.109374720],
    [1.0, 17.895169469, 78.757757664, 67.187563600],
];

/// The same in the tail, in r = sqrt(-ln p) - 1.6.
#[expect(clippy::excessive_precision, reason = "the digits of the source")]
pub const TAIL: [[f32; 4]; 2] = [
    [1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103],
    [1.0, 0.73700164250, 0.12021132975, 0.0],
];

/// Where the centre ends. AS 241's far tail, sqrt(-ln p) > 5, is never reached: sqrt(-ln 2^-33) = 4.78.
pub const CENTRE_LIMIT: f32 = 0.425;

/// Coefficients of the logarithm: ln((1+t)/(1-t)) = 2t (1 + t²/3 + t⁴/5 + t⁶/7 + t⁸/9).
pub const LOG: [f32; 5] = [1.0, 0.333_333_34, 0.2, 0.142_857_15, 0.111_111_11];

/// ln 2.
pub const LN_2: f32 = core::f32::consts::LN_2;

/// The standard normal deviate of a draw: the top bit is its sign (1 is negative), the 31 bits m below give the
/// probability p = (m + 1/2) / 2^32 of a value beyond it; abs(z) is at most 6.34.
#[inline]
pub fn unit(draw: u32) -> f32 {
    let m = draw & 0x7fff_ffff;
    // 1/2 - p, from integers so that nothing cancels; exact up to the rounding of the conversion.
    let q = (0xffff_ffff - 2 * m) as f32 * (1.0 / 8_589_934_592.0);
    let z = if q <= CENTRE_LIMIT {
        q * rational(&CENTRE, 0.180_625 - q * q)
    } else {
        rational(&TAIL, libm::sqrtf(minus_ln(2 * m + 1)) - 1.6)
    };
    if draw >> 31 == 1 { -z } else { z }
}

/// -ln(odd / 2^33).
#[inline]
fn minus_ln(odd: u32) -> f32 {
    let bits = (odd as f32).to_bits();
    // odd = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)): the offset is that of 1/sqrt(2).
    let exponent = (bits as i32 - 0x3f35_04f3) >> 23;
    let mantissa = f32::from_bits((bits as i32 - (exponent << 23)) as u32);
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let s = t * t;
    let [a, b, c, d, e] = LOG;
    let series = a + s * (b + s * (c + s * (d + s * e)));
    (33 - exponent) as f32 * LN_2 - 2.0 * t * series
}

#[inline]
fn rational([above, below]: &[[f32; 4]; 2], r: f32) -> f32 {
    let polynomial = |c: &[f32; 4]| ((c[3] * r + c[2]) * r + c[1]) * r + c[0];
    polynomial(above) / polynomial(below)
}
