//! Planted faults: each kind is found, with the place named, and its correct twin passes.
#![allow(missing_docs)]

mod support;
use cuda_emulator::exec::fault::{Fault, Kind};
use cuda_emulator::exec::launch::Races;
use support::{Device, kernel, kernel_ok, module};

const HEAD: &str = "ld.param.u64 %d1, [a]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r1;
    mul.wide.u32 %d2, %r4, 4; add.u64 %d3, %d1, %d2; shl.b32 %r5, %r1, 2; add.u32 %r5, %r5, 1024;";

/// Launches `body` after `HEAD` on a buffer of 64 written words.
fn launch(body: &str, grid: u32, block: u32) -> Result<(), Box<Fault>> {
    let mut device = Device::new();
    let a = device.buffer(&[1; 64]);
    let program = kernel_ok(".u64 a", &format!("{HEAD}\n{body}"));
    device.launch(&program, grid, block, 256, &[a]).map(|_| ())
}

fn fault(body: &str, grid: u32, block: u32) -> Box<Fault> {
    launch(body, grid, block).expect_err(body)
}

fn fine(body: &str, grid: u32, block: u32) {
    launch(body, grid, block).unwrap_or_else(|fault| panic!("{fault}"));
}

#[test]
fn global_memory() {
    fine("ld.global.u32 %r6, [%d3];", 2, 32);
    let found = fault("\nld.global.u32 %r6, [%d3+4];", 2, 32);
    assert_eq!((found.kind, found.block, found.thread), (Kind::OutOfBounds, [1, 0, 0], Some([31, 0, 0])));
    assert!(found.source.contains("ld.global.u32 %r6, [%d3+4];"), "{found}");
    assert!(found.what.contains("0 bytes past the end of buffer 1 of 256 bytes"), "{found}");
    assert_eq!(fault("st.global.u32 [%d3+256], %r1;", 1, 32).kind, Kind::OutOfBounds);
    assert_eq!(fault("st.global.u32 [%d1+-4], %r1;", 1, 1).kind, Kind::OutOfBounds);
    assert_eq!(fault("mov.u64 %d4, 0; ld.global.u32 %r6, [%d4];", 1, 1).kind, Kind::OutOfBounds);
    assert_eq!(fault("red.global.add.u32 [%d3+240], %r1;", 1, 32).kind, Kind::OutOfBounds);
    assert_eq!(fault("ld.global.u32 %r6, [%d3+2];", 1, 16).kind, Kind::Misaligned);
    assert_eq!(fault("ld.global.v2.u32 {%r6,%r7}, [%d1+4];", 1, 1).kind, Kind::Misaligned);
    assert_eq!(fault("ld.global.u32 %r6, [%r1];", 1, 1).kind, Kind::OutOfBounds, "a shared address");
}

#[test]
fn freed_and_unwritten_buffers() {
    let mut device = Device::new();
    let program = kernel_ok(".u64 a", &format!("{HEAD} ld.global.u32 %r6, [%d3];"));
    let a = device.empty(32);
    let found = device.launch(&program, 1, 32, 0, &[a]).unwrap_err();
    assert_eq!(found.kind, Kind::UninitialisedMemory);
    let b = device.buffer(&[0; 32]);
    device.launch(&program, 1, 32, 0, &[b]).unwrap();
    assert!(device.arena.free(b));
    let found = device.launch(&program, 1, 32, 0, &[b]).unwrap_err();
    assert!(found.kind == Kind::OutOfBounds && found.what.contains("which was freed"), "{found}");
    // What the kernel itself wrote may be read.
    let program = kernel_ok(".u64 a", &format!("{HEAD} st.global.u32 [%d3], %r1; ld.global.u32 %r6, [%d3];"));
    device.launch(&program, 1, 32, 0, &[a]).unwrap();
    let half = kernel_ok(".u64 a", &format!("{HEAD} st.global.u16 [%d3], %r1; ld.global.u32 %r6, [%d3];"));
    let c = device.empty(32);
    assert_eq!(device.launch(&half, 1, 32, 0, &[c]).unwrap_err().kind, Kind::UninitialisedMemory);
}

#[test]
fn shared_memory() {
    fine("st.shared.u32 [%r5], %r1; ld.shared.u32 %r6, [%r5];", 1, 64);
    assert_eq!(fault("st.shared.u32 [%r5+4], %r1;", 1, 64).kind, Kind::OutOfBounds);
    assert_eq!(fault("st.shared.u32 [%r1], %r1;", 1, 1).kind, Kind::OutOfBounds);
    assert_eq!(fault("ld.shared.u32 %r6, [%r5];", 1, 64).kind, Kind::UninitialisedMemory);
    assert_eq!(fault("st.shared.u32 [%r5], %r1; ld.shared.u32 %r6, [%r5+1];", 1, 32).kind, Kind::Misaligned);
    // The next block finds nothing of the last one's.
    let body = "setp.eq.u32 %p1, %r2, 0; @%p1 st.shared.u32 [%r5], %r1; ld.shared.u32 %r6, [%r5];";
    let found = fault(body, 2, 32);
    assert_eq!((found.kind, found.block), (Kind::UninitialisedMemory, [1, 0, 0]));
}

#[test]
fn registers_that_were_never_written() {
    let store = "st.global.u32 [%d3], %r7;";
    let found = fault(&format!("add.u32 %r7, %r1, %r8; {store}"), 1, 32);
    assert!(found.kind == Kind::UninitialisedRegister && found.what.contains("%r7"), "{found}");
    // Written on one of two ways: only the lanes that went the other way are at fault.
    let ways = |lanes: u32| format!("setp.lt.u32 %p1, %r1, {lanes}; @!%p1 bra L; mov.u32 %r6, 5; L: add.u32 %r7, %r6, 1; {store}");
    fine(&ways(32), 1, 32);
    let found = fault(&ways(31), 1, 32);
    assert_eq!((found.kind, found.thread), (Kind::UninitialisedRegister, Some([31, 0, 0])));
    // To compute with it is no fault, if a selection drops what came of it.
    let select = |bound: u32| format!("add.u32 %r6, %r1, %r8; setp.lt.u32 %p1, %r1, {bound}; selp.u32 %r7, %r1, %r6, %p1; {store}");
    fine(&select(32), 1, 32);
    assert_eq!(fault(&select(31), 1, 32).kind, Kind::UninitialisedRegister);
    let both = |op: &str, value: u32| format!("setp.eq.u32 %p1, %r8, 0; setp.eq.u32 %p2, %r1, {value}; {op}.pred %p3, %p2, %p1; @%p3 bra L; L:");
    fine(&both("and", 100), 1, 32);
    assert_eq!(fault(&both("and", 0), 1, 32).kind, Kind::UninitialisedRegister);
    fine(&both("or", 0), 1, 1);
    assert_eq!(fault(&both("or", 0), 1, 2).kind, Kind::UninitialisedRegister);
    fine("mov.u32 %r6, %r7; mov.b64 %d5, {%r1, %r6}; mov.u32 %r6, 1; st.global.u32 [%d3], %r6;", 1, 32);
    for body in ["mov.u32 %r7, %r8; st.global.u32 [%d3], %r7;", "@%p3 add.u32 %r6, %r1, 1;", "@%p3 bra L; L:", "@%p3 ret;", "ld.global.u32 %r6, [%d9];",
        "st.shared.u32 [%r8], %r1;", "shfl.sync.bfly.b32 %r6, %r1, %r8, 31, -1;", "shfl.sync.bfly.b32 %r6, %r8, 1, 31, -1; st.global.u32 [%d3], %r6;", "red.global.add.u32 [%d1], %r8;", "bar.red.popc.u32 %r6, 0, %p3;"] {
        assert_eq!(fault(body, 1, 32).kind, Kind::UninitialisedRegister, "{body}");
    }
    // A shuffle hands on the lane that is read: the others' need not be written.
    let leader = |from: u32| format!("setp.eq.u32 %p1, %r1, 3; @%p1 mov.u32 %r6, 7; shfl.sync.idx.b32 %r7|%p2, %r6, {from}, 31, -1; @%p2 st.global.u32 [%d3], %r7;");
    fine(&leader(3), 1, 32);
    assert_eq!(fault(&leader(4), 1, 32).kind, Kind::UninitialisedRegister);
    // Once round a loop is enough.
    fine("mov.u32 %r6, 0; L: setp.eq.u32 %p1, %r6, 0; @!%p1 bra M; mov.u32 %r7, 9; bra N; M: st.global.u32 [%d3], %r7; N: add.u32 %r6, %r6, 1; setp.lt.u32 %p2, %r6, 3; @%p2 bra L;", 1, 32);
}

#[test]
fn local_memory() {
    let run = |access: &str| {
        let text = format!(
            ".version 7.0 .target sm_75 .address_size 64 .visible .entry k() {{ .reg .b32 %r<9>; .reg .b64 %d<4>; .local .align 4 .b8 s[32];
             mov.u64 %d1, s; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.u64 %d3, %d1, %d2; st.local.u32 [%d3], %r1; {access} ret; }}"
        );
        Device::new().launch(&module(&text).unwrap(), 1, 8, 0, &[]).map(|_| ())
    };
    assert!(run("ld.local.u32 %r2, [%d3];").is_ok());
    assert_eq!(run("ld.local.u32 %r2, [%d1];").unwrap_err().kind, Kind::UninitialisedMemory, "of another thread");
    assert_eq!(run("ld.local.u32 %r2, [%d3+32];").unwrap_err().kind, Kind::OutOfBounds);
}

#[test]
fn a_missing_barrier() {
    let swap = |barrier: &str| format!("st.shared.u32 [%r5], %r1; {barrier} xor.b32 %r6, %r1, 32; shl.b32 %r6, %r6, 2; add.u32 %r6, %r6, 1024; ld.shared.u32 %r7, [%r6];");
    fine(&swap("bar.sync 0;"), 1, 64);
    assert_eq!(fault(&swap(""), 1, 64).kind, Kind::UninitialisedMemory, "the other warp has not written yet");
    let round = |barrier: &str| format!("st.shared.u32 [%r5], %r1; bar.sync 0; {} {barrier} st.shared.u32 [%r5], %r1;", swap(""). replacen("st.shared.u32 [%r5], %r1;", "", 1));
    fine(&round("bar.sync 0;"), 1, 64);
    let found = fault(&round(""), 1, 64);
    assert_eq!(found.kind, Kind::Race);
    assert!(found.what.contains("without a barrier between"), "{found}");
    // Within a warp, too, unless the warp synchronises.
    let turn = |barrier: &str| format!("st.shared.u32 [%r5], %r1; {barrier} xor.b32 %r6, %r5, 4; ld.shared.u32 %r7, [%r6];");
    assert_eq!(fault(&turn(""), 1, 32).kind, Kind::Race);
    fine(&turn("bar.warp.sync -1;"), 1, 32);
    // All threads store to one word; atomics may.
    assert_eq!(fault("st.shared.u32 [1024], %r1;", 1, 32).kind, Kind::Race);
    fine("setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [1024], %r1; bar.sync 0; red.shared.add.u32 [1024], 1; bar.sync 0; ld.shared.u32 %r6, [1024];", 1, 64);
    assert_eq!(fault("setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [1024], %r1; bar.sync 0; red.shared.add.u32 [1024], 1; ld.shared.u32 %r6, [1024];", 1, 64).kind, Kind::Race);
}

#[test]
fn races_between_blocks() {
    fine("st.global.u32 [%d3], %r1;", 2, 32);
    assert_eq!(fault("mul.wide.u32 %d4, %r1, 4; add.u64 %d5, %d1, %d4; st.global.u32 [%d5], %r1;", 2, 32).kind, Kind::Race);
    let found = fault("ld.global.u32 %r6, [%d1]; st.global.u32 [%d3], %r6;", 2, 32);
    assert!(found.kind == Kind::Race && found.what.contains("unordered"), "{found}");
    fine("red.global.add.u32 [%d1], 1;", 2, 32);
    assert_eq!(fault("red.global.add.u32 [%d1], 1; ld.global.u32 %r6, [%d1];", 2, 32).kind, Kind::Race);
    // Two warps of one block, in one interval.
    assert_eq!(fault("and.b32 %r6, %r1, 31; mul.wide.u32 %d4, %r6, 4; add.u64 %d5, %d1, %d4; st.global.u32 [%d5], %r1;", 1, 64).kind, Kind::Race);
    fine("setp.lt.u32 %p1, %r1, 32; @%p1 st.global.u32 [%d3], %r1; bar.sync 0; @!%p1 st.global.u32 [%d3+-128], %r1;", 1, 64);
}

/// The grid's last block adds up what all wrote: right with a fence before the counter, a race without.
#[test]
fn the_last_block() {
    let run = |fence: &str| {
        let body = format!(
            "ld.param.u64 %d6, [o]; st.global.u32 [%d3], %r4; {fence} bar.sync 0; setp.eq.u32 %p1, %r1, 0; @!%p1 bra W;
             atom.global.add.u32 %r6, [%d6], 1; st.shared.u32 [1024], %r6; W: bar.sync 0; ld.shared.u32 %r7, [1024]; setp.ne.u32 %p2, %r7, 1; @%p2 bra E;
             xor.b32 %r8, %r4, 32; mul.wide.u32 %d7, %r8, 4; add.u64 %d7, %d1, %d7; ld.global.u32 %r9, [%d7]; E:"
        );
        let mut device = Device::new();
        let (a, o) = (device.empty(64), device.buffer(&[0]));
        let program = kernel_ok(".u64 a, .u64 o", &format!("{HEAD}\n{body}"));
        device.launch(&program, 2, 32, 4, &[a, o]).map(|_| ())
    };
    run("membar.gl;").unwrap_or_else(|fault| panic!("{fault}"));
    run("fence.acq_rel.gpu;").unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(run("").unwrap_err().kind, Kind::Race);
    assert_eq!(run("membar.cta;").unwrap_err().kind, Kind::Race);
}

/// Whichever of many blocks on several host threads comes last, what the others wrote is ordered before it.
#[test]
fn the_last_of_many_blocks() {
    let text = format!(
        "{HEAD} ld.param.u64 %d6, [o]; st.global.u32 [%d3], %r4; membar.gl; bar.sync 0; setp.eq.u32 %p1, %r1, 0; @!%p1 bra W;
         atom.global.inc.u32 %r6, [%d6], 199; st.shared.u32 [1024], %r6; W: bar.sync 0; ld.shared.u32 %r7, [1024]; setp.ne.u32 %p2, %r7, 199; @%p2 bra E;
         mov.u32 %r8, %r1; mov.u32 %r9, 0; L: mul.wide.u32 %d7, %r8, 4; add.u64 %d7, %d1, %d7; ld.global.u32 %r10, [%d7]; add.u32 %r9, %r9, %r10;
         add.u32 %r8, %r8, 32; setp.lt.u32 %p3, %r8, 6400; @%p3 bra L; red.global.add.u32 [%d6+4], %r9; E:"
    );
    let program = kernel_ok(".u64 a, .u64 o", &text);
    let mut device = Device::new();
    device.workers = 4;
    for _ in 0..100 {
        let (a, o) = (device.empty(6400), device.buffer(&[0, 0]));
        device.launch(&program, 200, 32, 4, &[a, o]).unwrap_or_else(|fault| panic!("{fault}"));
        assert_eq!(device.read(o, 2), [0, 6399 * 6400 / 2]);
    }
}

#[test]
fn divergent_barriers() {
    fine("bar.sync 0;", 1, 48);
    let half = "setp.lt.u32 %p1, %r1, 16;";
    assert_eq!(fault(&format!("{half} @%p1 bra L; bar.sync 0; L:"), 1, 32).kind, Kind::DivergentBarrier);
    assert_eq!(fault(&format!("{half} @%p1 bar.sync 0;"), 1, 32).kind, Kind::DivergentBarrier);
    assert_eq!(fault(&format!("{half} @%p1 exit; bar.sync 0;"), 1, 32).kind, Kind::DivergentBarrier);
    let warp = "setp.lt.u32 %p1, %r1, 32;";
    assert_eq!(fault(&format!("{warp} @%p1 bra L; bar.sync 0; L:"), 1, 64).kind, Kind::DivergentBarrier);
    assert_eq!(fault(&format!("{warp} @%p1 bra L; bar.sync 0; bra E; L: bar.sync 1; E:"), 1, 64).kind, Kind::DivergentBarrier);
}

#[test]
fn wrong_masks() {
    fine("shfl.sync.bfly.b32 %r6, %r1, 1, 31, -1;", 1, 32);
    let half = "setp.lt.u32 %p1, %r1, 16;";
    assert_eq!(fault(&format!("{half} @%p1 shfl.sync.bfly.b32 %r6, %r1, 1, 31, -1;"), 1, 32).kind, Kind::WrongMask);
    fine(&format!("{half} @%p1 shfl.sync.bfly.b32 %r6, %r1, 1, 31, 0xffff;"), 1, 32);
    assert_eq!(fault(&format!("{half} @!%p1 shfl.sync.bfly.b32 %r6, %r1, 1, 31, 0xffff;"), 1, 32).kind, Kind::WrongMask);
    assert_eq!(fault(&format!("{half} @%p1 shfl.sync.bfly.b32 %r6, %r1, 16, 31, 0xffff;"), 1, 32).kind, Kind::WrongMask, "from outside");
    assert_eq!(fault("shfl.sync.idx.b32 %r6, %r1, 20, 31, -1;", 1, 20).kind, Kind::WrongMask, "from a lane that is not there");
    assert_eq!(fault("shfl.sync.bfly.b32 %r6, %r1, 1, 31, %r1;", 1, 32).kind, Kind::WrongMask);
    assert_eq!(fault(&format!("{half} @%p1 vote.sync.ballot.b32 %r6, %p1, -1;"), 1, 32).kind, Kind::WrongMask);
    assert_eq!(fault(&format!("{half} @%p1 bar.warp.sync -1;"), 1, 32).kind, Kind::WrongMask);
}

#[test]
fn traps_and_endless_loops() {
    assert_eq!(fault("setp.eq.u32 %p1, %r1, 7; @%p1 trap;", 1, 32).kind, Kind::IllegalInstruction);
    assert_eq!(fault("L: bra L;", 1, 1).kind, Kind::Endless);
}

/// A lock: what its owner writes between taking it and giving it back is seen by the next one. Without the fences it is a race.
#[test]
fn locks_order_blocks() {
    let body = |fence: &str| {
        format!(
            "ld.param.u64 %d1, [a]; add.u64 %d2, %d1, 4; L: atom.global.cas.b32 %r1, [%d1], 0, 1; setp.ne.u32 %p1, %r1, 0; @%p1 bra L;
             {fence} ld.volatile.global.u32 %r2, [%d2]; add.u32 %r2, %r2, 1; st.volatile.global.u32 [%d2], %r2; {fence} atom.global.exch.b32 %r3, [%d1], 0;"
        )
    };
    let run = |fence: &str| {
        let mut device = Device::new();
        device.workers = 2;
        let a = device.buffer(&[0, 0]);
        let result = device.launch(&kernel_ok(".u64 a", &body(fence)), 100, 1, 0, &[a]).map(|_| ());
        (result, device.read(a, 2))
    };
    let (result, words) = run("membar.gl;");
    assert!(result.is_ok() && words == [0, 100], "{result:?} {words:?}");
    assert_eq!(run("").0.unwrap_err().kind, Kind::Race);
}

/// Lanes of one warp may store one value to one place of global memory, not several.
#[test]
fn lanes_that_store_to_one_place() {
    fine("st.global.u32 [%d1], 5;", 1, 32);
    fine("st.global.u8 [%d1], %r2;", 1, 32);
    let found = fault("st.global.u32 [%d1], %r1;", 1, 32);
    assert!(found.kind == Kind::Race && found.what.contains("lanes 0 and 1"), "{found}");
    fine("shr.u32 %r6, %r1, 1; mul.wide.u32 %d4, %r6, 4; add.u64 %d4, %d1, %d4; st.global.u32 [%d4], %r6;", 1, 32);
    assert_eq!(fault("shr.u32 %r6, %r1, 1; mul.wide.u32 %d4, %r6, 4; add.u64 %d4, %d1, %d4; st.global.u32 [%d4], %r1;", 1, 32).kind, Kind::Race);
    assert_eq!(fault("st.global.v2.u32 [%d1], {%r2, %r1};", 1, 2).kind, Kind::Race);
    assert_eq!(fault("cvt.u64.u32 %d4, %r1; st.global.u64 [%d1], %d4;", 1, 2).kind, Kind::Race);
}

/// An ordered load does not race with atomics; a plain one does.
#[test]
fn ordered_loads_beside_atomics() {
    let add = "red.global.add.u32 [%d1], 1;";
    for load in ["ld.volatile.global.u32", "ld.relaxed.gpu.global.u32", "ld.acquire.gpu.global.u32"] {
        fine(&format!("{load} %r6, [%d1]; {add}"), 2, 64);
        fine(&format!("{add} {load} %r6, [%d1];"), 2, 64);
        assert_eq!(fault(&format!("{load} %r6, [%d1]; st.global.u32 [%d1], 1;"), 2, 32).kind, Kind::Race);
    }
    assert_eq!(fault(&format!("ld.global.u32 %r6, [%d1]; {add}"), 2, 64).kind, Kind::Race);
    // One plain reader is enough, whoever comes after it.
    let mixed = format!("setp.eq.u32 %p1, %r2, 0; @%p1 ld.global.u32 %r6, [%d1]; ld.volatile.global.u32 %r6, [%d1]; {add}");
    assert_eq!(fault(&mixed, 2, 32).kind, Kind::Race);
}

#[test]
fn one_failing_block_stops_the_others() {
    let mut device = Device::new();
    device.workers = 4;
    let a = device.buffer(&[0; 64]);
    let program = kernel_ok(".u64 a", &format!("{HEAD} setp.eq.u32 %p1, %r2, 500; @!%p1 bra E; ld.global.u32 %r6, [%d1+-4]; E:"));
    let found = device.launch(&program, 100_000, 32, 0, &[a]).unwrap_err();
    assert_eq!((found.kind, found.block), (Kind::OutOfBounds, [500, 0, 0]));
}

#[test]
fn races_can_be_left_out() {
    let mut device = Device::new();
    device.races = Races::Off;
    let a = device.buffer(&[0; 64]);
    let program = kernel_ok(".u64 a", &format!("{HEAD} st.global.u32 [%d1], %r1;"));
    device.launch(&program, 2, 32, 0, &[a]).unwrap();
    device.races = Races::Some;
    assert!(device.launch(&program, 2, 32, 0, &[a]).is_err());
}

#[test]
fn what_is_not_known_names_its_line() {
    let line = |body: &str| kernel("", body).err().unwrap_or_else(|| panic!("{body}"));
    assert_eq!(line("\n\nfoo.s32 %r1, %r2;").line, 9);
    for body in ["add.s33 %r1, %r2, %r3;", "add.s32 %r1, %r2;", "add.s32 %r1, %r2, %r3, %r4;", "add.s32 %r1, %d1, %r3;", "add.s32 %r1, %q1, %r3;",
        "bra NOWHERE;", "ld.global.quick.u32 %r1, [%d1];", "ld.global.u32 %p1, [%d1];", "ld.global.v8.u32 %r1, [%d1];", "mov.u32 %r1, %nothing;",
        "mov.u32 %r1, nowhere;", "call.uni foo, ();", "tex.2d.v4.f32.f32 {%f1,%f2,%f3,%f4}, [t, {%f1,%f2}];",
        "mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, %r5, 0;",
        "mma.sync.aligned.m16n8k16.col.row.f32.f16.f16.f32 {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2}, {%r1,%r2,%r3,%r4};",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32 {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2}, {%r1,%r2,%r3,%r4};",
        "mma.sync.aligned.m16n8k16.row.col.f32.tf32.tf32.f32 {%r1,%r2,%r3,%r4}, {%r1,%r2,%r3,%r4}, {%r1,%r2}, {%r1,%r2,%r3,%r4};",
        "vadd4.u32.u32.u32 %r1.b0, %r2, %r3, %r4;", "div.approx.f64 %g1, %g1, %g2;", "bar.arrive 1, 64;", "sqrt.f32 %f1, %f2;", ".foo;", "st.param.u32 [x], %r1;", "bar.sync %r1;"] {
        let error = line(body);
        assert!(error.to_string().starts_with("PTX line "), "{error}");
    }
    for text in [".version 6.0 .target sm_75", ".target sm_75", ".version 7.0 .target sm_75 .address_size 32", ".version 7.0 .target sm_75 .texref t;",
        ".version 7.0 .target sm_75 .global .b8 a[4294967296][4294967296];", ".version 7.0 .target sm_75 .entry k() { .reg .b32 %r<99999999>; }"] {
        assert!(module(text).is_err(), "{text}");
    }
}
