//! Types of lane values, and loops over the 32 lanes that the compiler turns into vector instructions.

use super::machine::Machine;
use super::program::Row;
use crate::ptx::module::Width;

/// All lanes take part.
pub const ALL: u32 = u32::MAX;

/// What rows hold: 32 or 64 bits a lane.
pub trait Raw: Copy + Default {
    /// The lanes of a row.
    ///
    /// # Safety
    /// `row` is valid for this width.
    unsafe fn lanes<'a>(row: *mut Row) -> &'a mut [Self; 32] {
        // SAFETY: rows are arrays of plain numbers, aligned to 64 bytes; the caller answers for the length.
        unsafe { &mut *row.cast() }
    }
}

impl Raw for u32 {}
impl Raw for u64 {}

/// A type of PTX, kept in a row.
pub trait Lane: Copy {
    /// What the row holds.
    type Raw: Raw;
    /// Width of its register.
    const WIDTH: Width;
    /// The value in a row's lane.
    fn of(raw: Self::Raw) -> Self;
    /// The row's lane for a value.
    fn raw(self) -> Self::Raw;
}

macro_rules! lane {
    ($t:ty, $raw:ty, $width:ident, $of:expr, $to:expr) => {
        impl Lane for $t {
            type Raw = $raw;
            const WIDTH: Width = Width::$width;
            #[inline(always)]
            fn of(raw: $raw) -> $t {
                $of(raw)
            }
            #[inline(always)]
            fn raw(self) -> $raw {
                $to(self)
            }
        }
    };
}

lane!(u32, u32, B32, |r| r, |v| v);
lane!(i32, u32, B32, |r| r as i32, |v| v as u32);
lane!(f32, u32, B32, f32::from_bits, f32::to_bits);
lane!(u16, u32, B16, |r| r as u16, u32::from);
lane!(i16, u32, B16, |r| r as i16, |v| u32::from(v as u16));
lane!(u64, u64, B64, |r| r, |v| v);
lane!(i64, u64, B64, |r| r as i64, |v| v as u64);
lane!(f64, u64, B64, f64::from_bits, f64::to_bits);

impl Machine<'_> {
    /// The lanes of a source register.
    #[inline(always)]
    #[must_use]
    pub fn get<R: Raw>(&self, register: u16) -> &[R; 32] {
        debug_assert!((register as usize) < self.program.rows);
        // SAFETY: the decoder gives only registers of the program, of the width that the handler's operand has.
        unsafe { R::lanes(self.rows.add(register as usize)) }
    }

    /// Writes the mask's lanes of a destination register.
    #[inline(always)]
    pub fn put<R: Raw>(&mut self, register: u16, mask: u32, values: &[R; 32]) {
        debug_assert!((register as usize) < self.program.rows);
        // SAFETY: as in `get`.
        let row = unsafe { R::lanes(self.rows.add(register as usize)) };
        if mask == ALL {
            *row = *values;
        } else {
            for i in 0..32 {
                row[i] = if mask >> i & 1 != 0 { values[i] } else { row[i] };
            }
        }
    }

    /// A predicate register.
    #[inline(always)]
    #[must_use]
    pub fn predicate(&self, register: u16) -> u32 {
        debug_assert!((register as usize) < self.program.predicates);
        // SAFETY: the decoder gives only predicates of the program.
        unsafe { *self.predicates.add(register as usize) }
    }

    /// Writes the mask's lanes of a predicate register.
    #[inline(always)]
    pub fn set_predicate(&mut self, register: u16, mask: u32, value: u32) {
        debug_assert!((register as usize) < self.program.predicates);
        // SAFETY: as in `predicate`.
        let place = unsafe { &mut *self.predicates.add(register as usize) };
        *place = *place & !mask | value & mask;
    }
}

/// A handler that computes its destination lane by lane: `lanes!(|a: u32, b: u32| -> u32 { a & b })`. Gives the handler
/// and the operands it wants.
#[macro_export]
macro_rules! lanes {
    (|$($x:ident: $X:ty),+| -> $D:ty $e:block) => {{
        fn run(m: &mut $crate::exec::machine::Machine<'_>, c: &$crate::exec::program::Code, mask: u32)
            -> $crate::exec::program::Step {
            use $crate::exec::lanes::Lane;
            let mut operand = 0;
            $(
                operand += 1;
                let $x = m.get::<<$X as Lane>::Raw>(c.r[operand]);
            )+
            let mut out = [Default::default(); 32];
            for i in 0..32 {
                $(let $x = <$X as Lane>::of($x[i]);)+
                let value: $D = $e;
                out[i] = value.raw();
            }
            m.put::<<$D as Lane>::Raw>(c.r[0], mask, &out);
            Ok(())
        }
        use $crate::{decode::operands::Arg, exec::lanes::Lane};
        const ARGS: &[Arg] = &[Arg::D(<$D as Lane>::WIDTH), $(Arg::S(<$X as Lane>::WIDTH)),+];
        (run as $crate::exec::program::Handler, ARGS)
    }};
}
