#![allow(clippy::unwrap_used)]

mod flash;
mod training;

use super::*;
use flash::{Failure, Flash, Torn};
use std::vec::Vec;

const IDENTITY: u32 = 0xC0FF_EE00;

/// What is saved the `n`-th time: two parts.
fn state(n: u32, values: usize) -> [Vec<f32>; 2] {
    let value = |i: usize| f32::from_bits(n.wrapping_mul(2_654_435_761) ^ (i as u32).wrapping_mul(40_503));
    let first = values / 3;
    [(0..first).map(value).collect(), (first..values).map(value).collect()]
}

fn counters(n: u32) -> Counters {
    Counters { batches: u64::from(n) << 31, updates: u64::from(n) << 30 | 1 << 63 }
}

fn save<F: NorFlash>(storage: &mut Storage<F>, n: u32, values: usize) -> Result<(), F> {
    let [first, second] = state(n, values);
    storage.save(counters(n), &[&first, &second])
}

/// The number of the state in the storage, which must be whole.
fn loaded<F: NorFlash>(storage: &mut Storage<F>, values: usize) -> Option<u32>
where
    F::Error: core::fmt::Debug,
{
    let [mut first, mut second] = state(u32::MAX, values).map(|part| std::vec![0.0; part.len()]);
    let found = storage.load(&mut [&mut first, &mut second]).expect("a state that loads")?;
    let n = (found.batches >> 31) as u32;
    let bits = |part: &[f32]| part.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let [a, b] = state(n, values);
    assert_eq!((bits(&first), bits(&second)), (bits(&a), bits(&b)), "state {n} is mixed with another");
    assert_eq!(found, counters(n));
    Some(n)
}

/// Cuts power at every programmed and erased unit of four saves, in many ways; whatever remains must be the state
/// before or the new one, and the saves after it, one of which is cut again, must work.
fn cut_everywhere<const WRITE: usize, const ERASE: usize>(values: usize) {
    type Opened<const W: usize, const E: usize> = Storage<Flash<W, E>>;
    let bytes = Opened::<WRITE, ERASE>::bytes(values).expect("small");
    let region = ERASE as u32..ERASE as u32 + bytes;
    let open = |flash| Storage::open(flash, region.clone(), IDENTITY).expect("opens");
    let mut storage = open(Flash::<WRITE, ERASE>::new(2 * ERASE + bytes as usize));
    assert_eq!(loaded(&mut storage, values), None);
    let ways: Vec<Torn> = [Torn::Not, Torn::Whole].into_iter().chain((0..6).map(Torn::Bits)).collect();
    for n in 0..4 {
        let before = storage.into_flash().restart();
        storage = open(before.clone());
        save(&mut storage, n, values).expect("power is there");
        assert_eq!(loaded(&mut storage, values), Some(n));
        let after = storage.into_flash();
        for (event, torn) in (0..after.events).flat_map(|event| ways.iter().map(move |way| (event, *way))) {
            let mut cut = before.clone();
            cut.cut = Some((event, torn));
            let mut storage = open(cut);
            assert_eq!(save(&mut storage, n, values), Err(StorageError::Flash(Failure::Power)));
            let mut storage = open(storage.into_flash().restart());
            let found = loaded(&mut storage, values);
            let older = n.checked_sub(1);
            assert!(found == older || found == Some(n), "{found:?} after a cut in event {event} of save {n}");
            if torn != Torn::Whole || event + 1 < after.events {
                // The header's last words, when torn, may have become whole by chance.
                assert!(found == older || event + (4 * HEADER).div_ceil(WRITE) >= after.events);
            } else {
                assert_eq!(found, Some(n));
            }
            // Power goes again in the middle of the next attempt, and the one after that gets through.
            let mut cut = storage.into_flash().restart();
            cut.cut = Some((after.events / 2, torn));
            let mut storage = open(cut);
            assert!(save(&mut storage, 70, values).is_err());
            let mut storage = open(storage.into_flash().restart());
            assert_eq!(loaded(&mut storage, values), found);
            save(&mut storage, 80, values).expect("power is there");
            let mut storage = open(storage.into_flash().restart());
            assert_eq!(loaded(&mut storage, values), Some(80));
        }
        storage = open(after.restart());
    }
    // What lies beside the region was never touched.
    let bytes = storage.into_flash().bytes;
    let beside = bytes[..ERASE].iter().chain(&bytes[bytes.len() - ERASE..]);
    assert!(beside.copied().all(|byte| byte == 0x5A));
}

#[test]
fn power_cut_at_every_write_and_erase() {
    cut_everywhere::<1, 64>(37);
    cut_everywhere::<2, 128>(50);
    cut_everywhere::<4, 128>(121);
    cut_everywhere::<8, 256>(300);
    cut_everywhere::<32, 128>(65);
    cut_everywhere::<64, 64>(16);
}

#[test]
fn an_empty_state() {
    let mut storage = Storage::open(Flash::<4, 128>::new(256), 0..256, 1).unwrap();
    save(&mut storage, 3, 0).unwrap();
    let mut storage = Storage::open(storage.into_flash(), 0..256, 1).unwrap();
    assert_eq!(loaded(&mut storage, 0), Some(3));
}

#[test]
fn sequence_numbers_wrap() {
    let mut storage = Storage::open(Flash::<4, 128>::new(256), 0..256, 1).unwrap();
    save(&mut storage, 0, 9).unwrap();
    storage.newest.as_mut().unwrap().0.sequence = u32::MAX - 3;
    save(&mut storage, 0, 9).unwrap();
    for n in 1..5 {
        save(&mut storage, n, 9).unwrap();
        storage = Storage::open(storage.into_flash().restart(), 0..256, 1).unwrap();
        assert_eq!(loaded(&mut storage, 9), Some(n));
        assert_eq!(storage.stored().unwrap().sequence, (u32::MAX - 2).wrapping_add(n));
    }
}

/// Any single bit of the newest state's slot that turns brings the older state back.
#[test]
fn every_turned_bit_is_found() {
    let mut storage = Storage::open(Flash::<4, 128>::new(512), 0..512, 1).unwrap();
    save(&mut storage, 0, 20).unwrap();
    save(&mut storage, 1, 20).unwrap();
    let whole = storage.into_flash().restart();
    let used = (256..256 + 40).chain(256 + 64..256 + 64 + 80);
    for (byte, bit) in used.flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut flash = whole.clone();
        flash.bytes[byte] ^= 1 << bit;
        let mut storage = Storage::open(flash, 0..512, 1).unwrap();
        assert_eq!(loaded(&mut storage, 20), Some(0), "bit {bit} of byte {byte}");
    }
}

#[test]
fn what_cannot_be_is_refused() {
    type Small = Flash<4, 128>;
    let open = |region: Range<u32>| Storage::open(Small::new(1024), region, 1).err();
    let refused = |start, end| Some(StorageError::Region { start, end, capacity: 1024 });
    for (start, end) in [(0, 128), (64, 512), (512, 1152), (512, 256), (0, 0)] {
        assert_eq!(open(start..end), refused(start, end));
    }
    assert_eq!(open(0..300), None);
    let geometry = Storage::open(Flash::<3, 96>::new(960), 0..960, 1).err();
    assert_eq!(geometry, Some(StorageError::Geometry { what: "a write unit", value: 3 }));
    assert_eq!(Storage::<Small>::bytes(16), Some(256));
    assert_eq!(Storage::<Small>::bytes(17), Some(512));
    assert_eq!(Storage::<Small>::bytes(usize::MAX), None);

    let mut storage = Storage::open(Small::new(1024), 0..512, 1).unwrap();
    assert_eq!(storage.room(), 48);
    assert_eq!(save(&mut storage, 0, 49), Err(StorageError::TooLarge { values: 49, room: 48 }));
    assert_eq!(loaded(&mut storage, 48), None);
    save(&mut storage, 0, 48).unwrap();
    let mut value = [7.0; 47];
    assert_eq!(storage.load(&mut [&mut value]), Err(StorageError::Length { needed: 47, stored: 48 }));
    let mut other = Storage::open(storage.into_flash(), 0..512, 2).unwrap();
    let identity = Err(StorageError::Identity { needed: 2, stored: 1 });
    assert_eq!(other.load(&mut [&mut value]), identity);
    assert_eq!(value, [7.0; 47]);
    // The new model's state goes beside the old one's and is the newer one.
    save(&mut other, 1, 40).unwrap();
    assert_eq!(other.stored().unwrap().sequence, 1);
    assert_eq!(loaded(&mut other, 40), Some(1));
}

/// A cell that does not take a zero any more is noticed, and the state before is there.
#[test]
fn worn_out_cells_are_noticed() {
    #[derive(Debug)]
    struct Worn(Flash<4, 128>, usize);
    impl embedded_storage::nor_flash::ErrorType for Worn {
        type Error = Failure;
    }
    impl embedded_storage::nor_flash::ReadNorFlash for Worn {
        const READ_SIZE: usize = 1;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> core::result::Result<(), Failure> {
            self.0.bytes[self.1] |= 2;
            self.0.read(offset, bytes)
        }
        fn capacity(&self) -> usize {
            self.0.bytes.len()
        }
    }
    impl NorFlash for Worn {
        const WRITE_SIZE: usize = 4;
        const ERASE_SIZE: usize = 128;
        fn erase(&mut self, from: u32, to: u32) -> core::result::Result<(), Failure> {
            self.0.erase(from, to)
        }
        fn write(&mut self, offset: u32, bytes: &[u8]) -> core::result::Result<(), Failure> {
            self.0.write(offset, bytes)
        }
    }
    // One of the values; one of the header's sequence number.
    for stuck in [128 + 64 + 8, 128 + 4] {
        let mut storage = Storage::open(Worn(Flash::new(256), stuck), 0..256, 1).unwrap();
        let zeros = [0.0; 12];
        storage.save(Counters::default(), &[&zeros]).unwrap();
        assert_eq!(storage.save(counters(1), &[&zeros]), Err(StorageError::Verify { slot: 128 }));
        let mut storage = Storage::open(storage.into_flash(), 0..256, 1).unwrap();
        assert_eq!(storage.load(&mut [&mut [1.0; 12]]), Ok(Some(Counters::default())));
    }
}
