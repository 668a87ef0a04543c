//! What goes wrong in the field: damaged models, too little memory, bad data, losses that are not finite, power cuts.
//! Every one is a typed error, and leaves clean weights.
//!
//! Not on small boards: copies of a model and a flash need more memory.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::micro::crc::Crc32;
use smoothout::micro::storage::{Storage, StorageError};
use smoothout::micro::model::HEADER;
use smoothout::micro::{Config, Counters, ModelError, ModelFile, Session, SessionError, Slices};
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Draws, Method, SmoothOut};
use smoothout_qemu::digits::MODEL;
use smoothout_qemu::flash::{CAPACITY, Failure, Flash};
use smoothout_qemu::workloads::{LABELS, W1, W3B, Workload};
use smoothout_qemu::{image, say};

smoothout_qemu::panics_do_not_link!();
image!(run);

/// Values of the largest session's state, and of its arena.
const STATE: usize = 3000;
const ARENA: usize = 16_000;

const ACCEPTED: &str = "is accepted";

fn run() -> Result<(), &'static str> {
    models();
    let mut arena = [0.0; ARENA];
    let refused = |_| "a session is refused";
    sessions::<_, 2>(&W1, &mut arena).map_err(refused)?;
    sessions::<_, 5>(&W3B, &mut arena).map_err(refused)?;
    let network = W1.network().map_err(|_| "no network")?;
    let plan = Plan::new(&network, 8, Purpose::Training).map_err(|_| "no plan")?;
    power(&plan, &mut arena)
}

fn models() {
    let mut copy = [0; 9000];
    let Some(copy) = copy.get_mut(..MODEL.len()) else { return };
    let len = MODEL.len();
    let mut change = |what: &str, at: usize, bits: &[u8], len: usize, seal: bool| {
        turn(copy, at, bits, seal);
        let bytes = copy.get(..len).unwrap_or_default();
        say!("a model ", what, if seal { ", its checksum renewed: " } else { ": " }, verdict(bytes));
    };
    change("that is whole", 0, &[0], len, false);
    change("that is empty", 0, &[0], 0, false);
    change("that is cut off", 0, &[0], len - 4, false);
    change("that is something else", 0, &[1], len, false);
    change("of a newer version", 4, &[3], len, false);
    change("with a damaged weight", len / 2, &[16], len, false);
    change("with a layer too many", 12, &[1], len, true);
    change("of images that no layer fits", 28, &[64], len, true);
    change("with a layer of no kind", HEADER, &[64], len, true);
    // The last value of all, before the checksum.
    let value = MODEL.iter().rev().skip(4).zip(f32::INFINITY.to_be_bytes());
    let mut bits = [0; 4];
    bits.iter_mut().rev().zip(value).for_each(|(to, (now, then))| *to = now ^ then);
    change("with a value that is not finite", len - 8, &bits, len, true);
    for seal in [false, true] {
        let (mut damaged, mut refused) = (0u32, 0u32);
        for at in (0..len).step_by(97) {
            turn(copy, at, &[1 << (at % 8)], seal);
            damaged += 1;
            refused += u32::from(verdict(copy) != ACCEPTED);
        }
        let renewed = if seal { ", their checksums renewed" } else { "" };
        say!("models with one bit turned", renewed, ": ", damaged, ", refused: ", refused);
    }
}

/// Makes `copy` the model with some bits turned from byte `at` on, and with the checksum of what it holds then.
fn turn(copy: &mut [u8], at: usize, bits: &[u8], seal: bool) {
    copy.copy_from_slice(MODEL);
    copy.iter_mut().skip(at).zip(bits).for_each(|(byte, bits)| *byte ^= bits);
    if let (true, Some((contents, crc))) = (seal, copy.split_last_chunk_mut()) {
        let words = contents.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        *crc = words.fold(Crc32::new(), Crc32::word).value().to_le_bytes();
    }
}

/// What a file is refused for, at once or when its plan is asked for.
fn verdict(bytes: &[u8]) -> &'static str {
    match ModelFile::new(bytes).and_then(|model| model.plan::<16>(1, Purpose::Training)) {
        Ok(_) => ACCEPTED,
        Err(ModelError::Magic { .. }) => "is no model",
        Err(ModelError::Version { .. }) => "has an unknown version",
        Err(ModelError::Length { .. }) => "has another length than it says",
        Err(ModelError::Checksum { .. }) => "has another checksum",
        Err(ModelError::Header { .. }) => "has a header that fits nothing",
        Err(ModelError::Layer { .. }) => "has a layer that means nothing",
        Err(ModelError::Tensor { .. }) => "has a tensor that means nothing",
        Err(ModelError::Value { .. }) => "has a value that is not finite",
        Err(ModelError::Plan(_)) => "has no plan",
        Err(_) => "makes no sense",
    }
}

/// What a session refuses leaves its state as it was to the bit: noise is never in the weights.
fn sessions<const N: usize, const S: usize>(
    workload: &Workload<N>,
    arena: &mut [f32],
) -> Result<(), SessionError> {
    let missing = SessionError::Unsupported { what: "this workload" };
    let network = workload.network().map_err(|_| missing)?;
    let plan = Plan::new(&network, 8, Purpose::Training).map_err(|_| missing)?;
    let model = Slices { parameters: workload.parameters, statistics: workload.statistics };
    let images = workload.images;
    let mut bad = [0.0; 512];
    bad.iter_mut().zip(images).for_each(|(to, from)| *to = *from);
    if let Some(last) = bad.last_mut() {
        *last = f32::NAN;
    }
    let ada = SmoothOut::adaptive();
    let draws = Draws { count: 3, ..ada.draws };
    for (name, method, clip) in [
        ("SGD", Method::Sgd, None),
        ("AdaSmoothOut", Method::SmoothOut(ada), None),
        ("AdaSmoothOut, three draws, clipped", Method::SmoothOut(SmoothOut { draws, ..ada }), Some(1.0)),
    ] {
        say!(workload.name, ", ", name, ":");
        let config = Config { clip, ..Config::new(method, 0.01) };
        let needed = Session::required(&plan, &config)?;
        for len in [0, needed - 1] {
            let short = arena.get_mut(..len).unwrap_or_default();
            if let Err(SessionError::Arena { needed, given }) = Session::<S>::new(&plan, &model, config, short) {
                say!("  an arena of ", given, " values is refused, ", needed, " are needed");
            }
        }
        let mut session = Session::<S>::new(&plan, &model, config, arena)?;
        say!("  a good step: ", error(session.step(images, &LABELS)));
        let mut before = [0.0; STATE];
        before.iter_mut().zip(session.state()).for_each(|(to, from)| *to = *from);
        say!("  too few images: ", error(session.step(images, &LABELS[..7])));
        say!("  a label that is no class: ", error(session.step(images, &[0, 1, 2, 3, 4, 5, 6, 10])));
        say!("  a pixel that is not a number: ", error(session.step(&bad, &LABELS)));
        if method != Method::Sgd {
            session.set_strength(f32::INFINITY);
            say!("  noise without bound: ", error(session.step(images, &LABELS)));
            session.set_strength(1e38);
            say!("  noise that leaves no finite loss: ", error(session.step(images, &LABELS)));
            session.set_strength(0.1);
        }
        if clip.is_some() {
            bad.iter_mut().for_each(|pixel| *pixel *= 1e22);
            // The last one is not a number.
            bad.iter_mut().rev().take(1).for_each(|pixel| *pixel = 1e22);
            let overflows = if workload.statistics.is_empty() { "the gradient's norm" } else { "a batch norm's variance" };
            say!("  pixels so large that ", overflows, " overflows: ", error(session.step(&bad, &LABELS)));
        }
        session.begin(images, &LABELS)?;
        while session.pass_logits().is_none() {
            session.advance(images, &LABELS)?;
        }
        say!("  another step within a step: ", error(session.step(images, &LABELS)));
        session.abort();
        let moved = session.state().iter().zip(&before).filter(|(now, then)| now.to_bits() != then.to_bits());
        say!("  values of the state that differ from those before, dropped step and all: ", moved.count());
        say!("  then a good step: ", error(session.step(images, &LABELS)));
    }
    Ok(())
}

fn error<T>(result: Result<T, SessionError>) -> &'static str {
    match result {
        Ok(_) => "fine",
        Err(SessionError::Length { .. }) => "a length is refused",
        Err(SessionError::Label(_)) => "the label is refused",
        Err(SessionError::Loss { .. }) => "the loss is refused",
        Err(SessionError::Statistic { .. }) => "a batch norm's statistic is refused",
        Err(SessionError::Gradient { .. }) => "the gradient is refused",
        Err(SessionError::Method(_)) => "the noise is refused",
        Err(SessionError::Order { .. }) => "out of order",
        Err(_) => "another error",
    }
}

/// Power goes in every single operation of a save: the first one ever, one beside an older state, and one over the oldest of
/// two. The next save succeeds.
fn power(plan: &Plan<3>, arena: &mut [f32]) -> Result<(), &'static str> {
    let model = Slices { parameters: W1.parameters, statistics: W1.statistics };
    let config = Config::new(Method::SmoothOut(SmoothOut::constant()), 0.01);
    let mut session = Session::<2>::new(plan, &model, config, arena).map_err(|_| "the session is refused")?;
    let mut states = [([0.0f32; 2410], Counters::default()); 2];
    for (state, counters) in &mut states {
        session.step(W1.images, &LABELS).map_err(|_| "a step failed")?;
        state.iter_mut().zip(session.state()).for_each(|(to, from)| *to = *from);
        *counters = session.counters();
    }
    let [before, after] = &states;
    for older_saves in 0..3u32 {
        let (mut cuts, mut older, mut newer) = (0, 0u32, 0u32);
        loop {
            cuts += 1;
            let mut storage = open(Flash::new()).map_err(|_| "the flash is refused")?;
            for _ in 0..older_saves {
                storage.save(before.1, &[&before.0]).map_err(|_| "a save before failed")?;
            }
            let mut flash = storage.into_flash();
            flash.left = Some(cuts);
            let mut storage = open(flash).map_err(|_| "the flash is refused")?;
            let saved = storage.save(after.1, &[&after.0]);
            let mut flash = storage.into_flash();
            flash.left = None;
            let mut storage = open(flash).map_err(|_| "the flash is refused after the cut")?;
            let mut found = [0.0f32; 2410];
            let counters = storage.load(&mut [&mut found]).map_err(|_| "no state can be loaded after the cut")?;
            let is_older = counters == Some(before.1) && found == before.0;
            if if older_saves == 0 { counters.is_none() } else { is_older } {
                older += 1;
            } else if counters == Some(after.1) && found == after.0 {
                newer += 1;
            } else {
                return Err("neither the older nor the newer state is whole");
            }
            storage.save(after.1, &[&after.0]).map_err(|_| "the save after the cut failed")?;
            let counters = storage.load(&mut [&mut found]).map_err(|_| "the state saved after the cut is lost")?;
            if counters != Some(after.1) || found != after.0 {
                return Err("the save after the cut is another");
            }
            if saved.is_ok() {
                break;
            }
        }
        let old = if older_saves == 0 { "nothing" } else { "the older state" };
        say!("power cuts in a save after ", older_saves, " others: ", cuts - 1, "; afterwards ", old, " ", older,
            " times, the newer state ", newer, "; the next saves are whole");
    }
    Ok(())
}

fn open(flash: Flash) -> Result<Storage<Flash>, StorageError<Failure>> {
    Storage::open(flash, 0..CAPACITY as u32, 7)
}
