//! Asynchronous copies from global to shared memory. A copy's source is read when it is issued; its bytes arrive when it
//! is waited for, and until then nobody may touch the place.

use super::memory::{ADDRESS64, is_hint, place};
use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::fault::{Fault, Kind};
use crate::exec::machine::{AsyncCopies, Machine, PendingCopy, lanes_of};
use crate::exec::program::{Class, Code, Handler, NONE, Step};
use crate::memory::races::{Access, SharedActor, SharedConflict};
use crate::memory::region::Refusal;
use crate::ptx::module::{Space, Width};

/// `cp.async`.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let ("cp", rest) = op.plain()? else { return None };
    let found = |run: Handler, args| Some(Found { needs: 80, ..Found::new(Class::Copy, (run, args)) });
    match rest {
        ["async", cache @ ("ca" | "cg"), "shared" | "shared::cta", "global", hints @ ..]
            if hints.iter().all(|h| is_hint(h, true)) =>
        {
            let args: &[Arg] = match op.operands.len() {
                3 => &[Arg::Memory(Space::Shared), Arg::Memory2(Space::Global), Arg::Imm],
                4 => {
                    &[Arg::Memory(Space::Shared), Arg::Memory2(Space::Global), Arg::Imm, Arg::S(Width::B32)]
                }
                _ => return None,
            };
            found(copy, args).map(|f| f.with(0, [u8::from(*cache == "cg"), 0]))
        }
        ["async", "commit_group"] => found(commit, &[]),
        ["async", "wait_group"] => found(wait, &[Arg::Imm]),
        ["async", "wait_all"] => found(wait_all, &[]),
        _ => None,
    }
}

/// Bit of `small[1]`: the second address register has 64 bits.
pub const ADDRESS64_SECOND: u8 = 64;

/// `imm` holds the size; the offsets of both addresses were added by the decoder.
fn copy(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let bytes = c.imm as u64;
    if !matches!((bytes, c.small[0]), (4 | 8 | 16, 0) | (16, 1)) {
        return Err(m.fault(Kind::IllegalInstruction, None, format!("cp.async of {bytes} bytes")));
    }
    let plain = Code { imm: 0, ..*c };
    let to = m.addresses(&plain, c.r[0], c.small[1] & ADDRESS64 != 0);
    let from = m.addresses(&plain, c.r[1], c.small[1] & ADDRESS64_SECOND != 0);
    // Of `bytes`, only the first ones are read; the rest become zero.
    let mut read = [bytes; 32];
    if c.r[2] != NONE {
        read = m.get::<u32>(c.r[2]).map(u64::from);
    }
    if let Some(lane) = lanes_of(mask).find(|&lane| read[lane] > bytes) {
        let text = format!("cp.async reads {} of {bytes} bytes", read[lane]);
        return Err(m.fault(Kind::OutOfBounds, Some(lane as u32), text));
    }
    let full = lanes_of(mask).filter(|&lane| read[lane] == bytes).fold(0, |s, i| s | 1 << i);
    let mut data = [[0u8; 16]; 32];
    let mut fetch = |m: &mut Machine<'_>, part: u32, from: &[u64; 32], bytes: u64| -> Step {
        let places = m.places(Space::Global, from, part, bytes, Access::Read)?;
        for lane in lanes_of(part) {
            // SAFETY: the place was found accessible for these bytes.
            unsafe { std::ptr::copy_nonoverlapping(place(&places, lane, bytes), data[lane].as_mut_ptr(), bytes as usize) };
        }
        Ok(())
    };
    if full != 0 {
        fetch(m, full, &from, bytes)?;
    }
    for lane in lanes_of(mask & !full) {
        let part = m.partial(&from, lane, read[lane])?;
        data[lane][..part.len()].copy_from_slice(&part);
    }
    m.counts.shared_requests += 1;
    m.counts.shared_bytes += bytes * u64::from(mask.count_ones());
    let shape = m.patterns[usize::from(c.pattern) + 1].shape::<true>(&to, mask, bytes);
    m.counts.bank_conflicts += u64::from(shape.conflicts);
    for lane in lanes_of(mask) {
        m.issue(PendingCopy { to: to[lane], bytes: bytes as u8, thread: m.thread(lane as u32) as u16, data: data[lane] }, lane as u32)?;
    }
    Ok(())
}

fn commit(m: &mut Machine<'_>, _: &Code, _: u32) -> Step {
    let group = std::mem::take(&mut m.copies.open);
    m.copies.groups.push_back(group);
    Ok(())
}

fn wait(m: &mut Machine<'_>, c: &Code, _: u32) -> Step {
    while m.copies.groups.len() as i64 > c.imm {
        let group = m.copies.groups.pop_front().unwrap_or_default();
        m.finish(group)?;
    }
    Ok(())
}

fn wait_all(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let open = std::mem::take(&mut m.copies.open);
    m.copies.groups.push_back(open);
    wait(m, &Code { imm: 0, ..*c }, mask)
}

impl Machine<'_> {
    /// The first `count` bytes from an aligned address, fewer than a whole copy.
    fn partial(&mut self, from: &[u64; 32], lane: usize, count: u64) -> Result<Vec<u8>, Box<Fault>> {
        let mut out = Vec::new();
        for k in 0..count {
            let mut at = *from;
            at[lane] += k;
            let places = self.places(Space::Global, &at, 1 << lane, 1, Access::Read)?;
            // SAFETY: the place was found accessible.
            out.push(unsafe { place(&places, lane, 1).read() });
        }
        Ok(out)
    }

    /// Checks the copy's destination, and keeps the copy until it is waited for.
    fn issue(&mut self, copy: PendingCopy, lane: u32) -> Step {
        let bytes = u64::from(copy.bytes);
        if !copy.to.is_multiple_of(bytes) {
            return Err(self.fault(Kind::Misaligned, Some(lane), format!("cp.async to shared address {:#x}", copy.to)));
        }
        if let Some((at, Refusal::Outside)) = self.shared.first_refused(copy.to, bytes, false) {
            let text = format!("cp.async to shared address {at:#x} of {} bytes", self.launch.shared_end());
            return Err(self.fault(Kind::OutOfBounds, Some(lane), text));
        }
        if self.watch_shared {
            let actor = SharedActor { interval: self.interval, epoch: self.warp_epoch, thread: u32::from(copy.thread), several: false };
            let first = ((copy.to - self.shared.start) / 4) as usize;
            for word in first..first + (bytes / 4) as usize {
                if let Err(conflict) = self.shared_races.access(word, 15, actor, Access::Write) {
                    let text = match conflict {
                        SharedConflict::Pending => "two copies to one place are under way".to_string(),
                        SharedConflict::Race(..) => format!("cp.async to shared address {:#x} meets {conflict:?}", copy.to),
                    };
                    return Err(self.fault(Kind::Race, Some(lane), text));
                }
                self.shared_races.set_pending(word, true);
            }
        }
        self.copies.open.push(copy);
        Ok(())
    }

    /// The copies of a group arrive.
    fn finish(&mut self, group: Vec<PendingCopy>) -> Step {
        for copy in group {
            let bytes = u64::from(copy.bytes);
            self.end_pending(&copy);
            if self.watch_shared {
                let actor =
                    SharedActor { interval: self.interval, epoch: self.warp_epoch, thread: u32::from(copy.thread), several: false };
                let first = ((copy.to - self.shared.start) / 4) as usize;
                for word in first..first + (bytes / 4) as usize {
                    if self.shared_races.access(word, 15, actor, Access::Write).is_err() {
                        let lane = u32::from(copy.thread) % 32;
                        let text = format!("a cp.async arrives at shared address {:#x} that others use", copy.to);
                        return Err(self.fault(Kind::Race, Some(lane), text));
                    }
                }
            }
            if let Ok(to) = self.shared.check(copy.to, bytes, false) {
                // SAFETY: the place was found accessible for these bytes.
                unsafe { std::ptr::copy_nonoverlapping(copy.data.as_ptr(), to, bytes as usize) };
            }
        }
        Ok(())
    }

    fn end_pending(&mut self, copy: &PendingCopy) {
        if self.watch_shared {
            let first = ((copy.to - self.shared.start) / 4) as usize;
            (first..first + usize::from(copy.bytes / 4)).for_each(|word| self.shared_races.set_pending(word, false));
        }
    }

    /// At the end of a block: copies that nobody waited for are gone.
    pub fn drop_pending<'c>(&mut self, warps: impl Iterator<Item = &'c mut AsyncCopies>) {
        for copies in warps {
            for copy in copies.open.drain(..).chain(copies.groups.drain(..).flatten()) {
                self.end_pending(&copy);
            }
        }
    }
}
