//! Slots as bytes: what a reporter's row holds, a few dozen bytes a slot.
//!
//! ```text
//! version 1 · strings (topics, flags): count, each length and bytes · slots: count, each:
//!   id − previous id · topic · window · width and class (a byte each) · rule (8 bytes) · presence (2 bytes, see `bit`)
//!   n · bytes · acked · failed · what is present, in the order of the bits · flags: count, each a string
//! ```
//! Numbers are LEB128 varints, signed ones zigzag, fingerprints 16 bytes, histograms pairs (cell, count). One slot set
//! has one encoding; decoding refuses what no encoder wrote.

use std::collections::BTreeMap;

use chaperone_audit::histogram::CELLS;
use chaperone_audit::wire::SlotRecord;
use chaperone_audit::{Class, Fingerprint, Histogram, RuleId, SlotState, Width, WindowStart};

use super::slots::Slot;

/// Version of the form.
pub(super) const VERSION: u8 = 1;

/// What is present.
mod bit {
    pub(super) const F_IN: u16 = 1;
    pub(super) const HIST: u16 = 1 << 1;
    pub(super) const MIN: u16 = 1 << 2;
    pub(super) const MAX: u16 = 1 << 3;
    pub(super) const LAST: u16 = 1 << 4;
    pub(super) const F_ACKED: u16 = 1 << 5;
    pub(super) const F_FAILED: u16 = 1 << 6;
    pub(super) const SKETCH_N: u16 = 1 << 7;
    pub(super) const SKETCH: u16 = 1 << 8;
    pub(super) const FINAL: u16 = 1 << 9;
    pub(super) const DIVERGED: u16 = 1 << 10;
}

/// Bytes that no encoder wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cut off or damaged near byte {0}")]
pub(super) struct Damaged(usize);

/// Writes slots, in the order of their ids.
pub(super) fn encode<'a>(slots: impl Iterator<Item = &'a Slot> + Clone) -> Vec<u8> {
    let mut strings: BTreeMap<&str, u64> = BTreeMap::new();
    let mut count = 0;
    for slot in slots.clone() {
        count += 1;
        strings.entry(&slot.record.topic).or_default();
        for flag in &slot.record.state.flags {
            strings.entry(flag).or_default();
        }
    }
    let mut out = vec![VERSION];
    put(&mut out, strings.len() as u64);
    for ((text, no), i) in strings.iter_mut().zip(0..) {
        *no = i;
        put(&mut out, text.len() as u64);
        out.extend(text.as_bytes());
    }
    put(&mut out, count);
    let mut last_id = 0;
    for slot in slots {
        put(&mut out, slot.record.id.wrapping_sub(last_id));
        last_id = slot.record.id;
        put_slot(&mut out, slot, &strings);
    }
    out
}

pub(super) fn put(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push((v & 0x7f) as u8 | 0x80);
        v >>= 7;
    }
    out.push((v & 0x7f) as u8);
}

pub(super) fn put_signed(out: &mut Vec<u8>, v: i64) {
    put(out, ((v << 1) ^ (v >> 63)).cast_unsigned());
}

fn put_slot(out: &mut Vec<u8>, slot: &Slot, strings: &BTreeMap<&str, u64>) {
    let (r, s) = (&slot.record, &slot.record.state);
    let number = |text: &str| strings.get(text).copied().unwrap_or_default();
    put(out, number(&r.topic));
    put_signed(out, r.window_ms.0);
    out.push(place(&Width::ALL, &r.width_ms));
    out.push(place(&Class::ALL, &r.class));
    out.extend(r.rule.0.to_le_bytes());
    let present = [
        (s.f_in.is_some(), bit::F_IN),
        (s.hist.is_some(), bit::HIST),
        (s.min_ms.is_some(), bit::MIN),
        (s.max_ms.is_some(), bit::MAX),
        (s.last_ms.is_some(), bit::LAST),
        (s.f_acked.is_some(), bit::F_ACKED),
        (s.f_failed.is_some(), bit::F_FAILED),
        (s.sketch_n.is_some(), bit::SKETCH_N),
        (s.sketch.is_some(), bit::SKETCH),
        (s.is_final, bit::FINAL),
        (slot.diverged, bit::DIVERGED),
    ];
    let bits = present.iter().filter(|(is, _)| *is).fold(0, |bits, (_, bit)| bits | bit);
    out.extend(bits.to_le_bytes());
    for n in [s.n, s.bytes, s.acked, s.failed] {
        put(out, n);
    }
    out.extend(s.f_in.iter().flat_map(|f| f.to_bytes()));
    if let Some(hist) = &s.hist {
        put(out, hist.iter().count() as u64);
        for (cell, count) in hist.iter() {
            put(out, cell as u64);
            put(out, count);
        }
    }
    [s.min_ms, s.max_ms, s.last_ms].into_iter().flatten().for_each(|ms| put_signed(out, ms));
    out.extend(s.f_acked.iter().chain(&s.f_failed).flat_map(|f| f.to_bytes()));
    s.sketch_n.iter().for_each(|n| put(out, *n));
    if let Some(sketch) = &s.sketch {
        put(out, sketch.len() as u64);
        out.extend(sketch.as_bytes());
    }
    put(out, s.flags.len() as u64);
    s.flags.iter().for_each(|flag| put(out, number(flag)));
}

#[expect(clippy::cast_possible_truncation, reason = "a handful of widths and classes")]
fn place<T: PartialEq>(all: &[T], one: &T) -> u8 {
    all.iter().position(|a| a == one).unwrap_or_default() as u8
}

/// Reads slots.
pub(super) fn decode(bytes: &[u8]) -> Result<BTreeMap<u64, Slot>, Damaged> {
    Input::new(bytes).whole(Input::slots)
}

pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }
    /// What `read` makes of all the bytes.
    pub(super) fn whole<T>(mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Result<T, Damaged> {
        read(&mut self).filter(|_| self.at == self.bytes.len()).ok_or(Damaged(self.at))
    }
    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(part)
    }
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(u8::from_le_bytes(self.array()?))
    }
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if low.checked_shl(shift).is_none_or(|l| l >> shift != low) {
                return None;
            }
            v |= low << shift;
            if byte & 0x80 == 0 {
                return Some(v);
            }
        }
        None
    }
    pub(super) fn signed(&mut self) -> Option<i64> {
        let v = self.number()?;
        Some((v >> 1).cast_signed() ^ -(v & 1).cast_signed())
    }
    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.number()?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }
    fn fingerprint(&mut self) -> Option<Fingerprint> {
        self.array().map(Fingerprint::from_bytes)
    }
    fn histogram(&mut self) -> Option<Histogram> {
        let mut hist = Histogram::new();
        for _ in 0..self.number()? {
            let cell = usize::try_from(self.number()?).ok().filter(|c| *c < CELLS)?;
            hist.add_cell(cell, self.number()?);
        }
        Some(hist)
    }

    fn slots(&mut self) -> Option<BTreeMap<u64, Slot>> {
        if self.byte()? != VERSION {
            return None;
        }
        let mut strings = Vec::new();
        for _ in 0..self.number()? {
            strings.push(self.text()?);
        }
        let mut slots = BTreeMap::new();
        let mut id = 0u64;
        for _ in 0..self.number()? {
            id = id.wrapping_add(self.number()?);
            slots.insert(id, self.slot(id, &strings)?);
        }
        Some(slots)
    }

    fn slot(&mut self, id: u64, strings: &[&str]) -> Option<Slot> {
        let string = |no: u64| strings.get(usize::try_from(no).ok()?).map(|s| (*s).to_owned());
        let topic = string(self.number()?)?;
        let window_ms = WindowStart(self.signed()?);
        let width_ms = *Width::ALL.get(usize::from(self.byte()?))?;
        let class = *Class::ALL.get(usize::from(self.byte()?))?;
        let rule = RuleId(u64::from_le_bytes(self.array()?));
        let bits = u16::from_le_bytes(self.array()?);
        let has = |bit: u16| bits & bit != 0;
        let [n, bytes, acked, failed] = [self.number()?, self.number()?, self.number()?, self.number()?];
        let f_in = if has(bit::F_IN) { Some(self.fingerprint()?) } else { None };
        let hist = if has(bit::HIST) { Some(self.histogram()?) } else { None };
        let min_ms = if has(bit::MIN) { Some(self.signed()?) } else { None };
        let max_ms = if has(bit::MAX) { Some(self.signed()?) } else { None };
        let last_ms = if has(bit::LAST) { Some(self.signed()?) } else { None };
        let f_acked = if has(bit::F_ACKED) { Some(self.fingerprint()?) } else { None };
        let f_failed = if has(bit::F_FAILED) { Some(self.fingerprint()?) } else { None };
        let sketch_n = if has(bit::SKETCH_N) { Some(self.number()?) } else { None };
        let sketch = if has(bit::SKETCH) { Some(self.text()?.to_owned()) } else { None };
        let flags = (0..self.number()?).map(|_| string(self.number()?)).collect::<Option<_>>()?;
        let is_final = has(bit::FINAL);
        let state = SlotState {
            n,
            bytes,
            f_in,
            hist,
            min_ms,
            max_ms,
            last_ms,
            acked,
            failed,
            f_acked,
            f_failed,
            sketch_n,
            sketch,
            flags,
            is_final,
        };
        let record = SlotRecord { id, topic, window_ms, width_ms, class, rule, state };
        Some(Slot { record, diverged: has(bit::DIVERGED) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn any_slot()(id in prop_oneof![0u64..200, any::<u64>()], topic in "[a-z.]{1,6}", window in any::<i64>(), width in 0usize..3,
                      class in 0usize..5, rule in any::<u64>(), n in prop_oneof![0u64..300, any::<u64>()],
                      acked in any::<u32>(), f in proptest::option::of(any::<u128>()), delays in proptest::collection::vec(any::<u32>(), 0..5),
                      times in any::<(Option<i64>, Option<i64>, Option<i64>)>(), sketch in proptest::option::of("[a-z]{0,4}"),
                      flags in proptest::collection::btree_set("[a-z_]{1,4}", 0..3), is_final in any::<bool>(),
                      diverged in any::<bool>()) -> Slot {
            let mut hist = Histogram::new();
            for d in &delays {
                hist.record(i64::from(*d));
            }
            let state = SlotState {
                n, bytes: n ^ 5, f_in: f.map(Fingerprint::from_u128), hist: (!delays.is_empty()).then_some(hist),
                min_ms: times.0, max_ms: times.1, last_ms: times.2, acked: acked.into(), failed: u64::from(acked) / 2,
                f_acked: f.map(|v| Fingerprint::from_u128(!v)), f_failed: None, sketch_n: sketch.as_ref().map(|_| n), sketch,
                flags, is_final,
            };
            let record = SlotRecord {
                id, topic, window_ms: WindowStart(window), width_ms: Width::ALL[width], class: Class::ALL[class], rule: RuleId(rule), state,
            };
            Slot { record, diverged }
        }
    }

    proptest! {
        #[test]
        fn slots_round_trip_and_every_cut_is_noticed(slots in proptest::collection::vec(any_slot(), 0..6), cut in any::<prop::sample::Index>()) {
            let slots: BTreeMap<u64, Slot> = slots.into_iter().map(|s| (s.record.id, s)).collect();
            let bytes = encode(slots.values());
            prop_assert_eq!(decode(&bytes), Ok(slots));
            prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(decode(&longer).is_err());
        }
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            drop(decode(&bytes));
            drop(decode(&[&[VERSION, 1, 1, b'a', 1], bytes.as_slice()].concat()));
        }
    }

    #[test]
    fn a_slot_is_a_few_dozen_bytes() {
        let state =
            SlotState { n: 1_000, bytes: 200_000, f_in: Some(Fingerprint { hi: 1, lo: 2 }), ..SlotState::default() };
        let record = SlotRecord {
            id: 5,
            topic: "orders".into(),
            window_ms: WindowStart(1_790_000_000_000),
            width_ms: Width::TEN_SECONDS,
            class: Class::Bare,
            rule: RuleId(7),
            state,
        };
        let slots: Vec<Slot> =
            (0..100).map(|id| Slot { record: SlotRecord { id, ..record.clone() }, diverged: false }).collect();
        assert!(encode(slots.iter()).len() < 100 * 48);
    }
}
