//! The microcontroller backend under core's conformance suite, on the machine itself. The reference runs there as
//! well, in f64, so that the distances from it are the same to the bit on every machine; their hash is printed.
//!
//! Not on small boards: the reference needs more memory.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::conformance::{Memory, Micro, run};
use smoothout_qemu::hash::Fnv;
use smoothout_qemu::{Hex, image, say};

// The reference is made of the portable kernels, which index.
smoothout_qemu::panics_fail!();
image!(suite);

fn suite() -> Result<(), &'static str> {
    let (mut memory, mut arena) = (Memory::new(), [0.0; Micro::ARENA]);
    let mut hash = Fnv::default();
    let summary = run(&mut Micro { arena: &mut arena }, &mut memory, |finding| match finding {
        Ok(finding) => {
            hash.push(finding.distance as f32);
            if !finding.passes() {
                say!("too far off: ", finding.case, ", step ", finding.step as usize);
            }
        }
        Err(name) => say!("not supported: ", name),
    });
    say!("cases: ", summary.cases, ", not supported: ", summary.unsupported);
    say!("comparisons: ", summary.checks, ", too far off: ", summary.failures);
    say!("largest distance in per cent of its tolerance: ", (summary.worst * 100.0) as u32);
    say!("hash of all distances: ", Hex(hash.value()));
    if summary.failures == 0 { Ok(()) } else { Err("the backend does not conform") }
}
