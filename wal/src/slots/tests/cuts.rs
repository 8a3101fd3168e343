//! A writer that dies after each of its stores in turn: what is left is the state before or after what it was doing.

use proptest::prelude::*;

use super::*;
use crate::slots::mutant::{self, Mutant};
use crate::slots::word::fuse;

#[derive(Debug, Clone, Copy)]
enum Step {
    Open { name: usize },
    Count { line: usize, cell: u8, weight: u64 },
    Add { line: usize, addends: [u64; 2] },
    HandOver { line: usize },
    Close { line: usize },
    Free { line: usize },
    Note { line: usize, value: u64 },
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let line = 0..3usize;
    let step = prop_oneof![
        3 => (0..3usize).prop_map(|name| Step::Open { name }),
        10 => (line.clone(), 0..6u8, any::<u64>()).prop_map(|(line, cell, weight)| Step::Count { line, cell, weight }),
        6 => (line.clone(), any::<[u64; 2]>()).prop_map(|(line, addends)| Step::Add { line, addends }),
        1 => line.clone().prop_map(|line| Step::HandOver { line }),
        2 => line.clone().prop_map(|line| Step::Close { line }),
        2 => line.clone().prop_map(|line| Step::Free { line }),
        1 => (line, any::<u64>()).prop_map(|(line, value)| Step::Note { line, value }),
    ];
    proptest::collection::vec(step, 1..most)
}

/// The table and its model. Lines are those that were opened, by their order modulo 3.
struct World {
    table: Table,
    lines: Vec<(At, Option<Line>)>,
    model: Vec<Slot>,
}

const NAMES: [&str; 3] = ["orders", "a-name-of-24-bytes-at-all", "ü"];

impl World {
    fn new() -> Self {
        Self { table: heap(SMALL), lines: Vec::new(), model: Vec::new() }
    }

    fn line(&mut self, line: usize) -> Option<(usize, Option<usize>)> {
        let back = self.lines.len().checked_sub(line + 1)?;
        let at = self.lines[back].0;
        Some((back, self.model.iter().position(|slot| slot.at == at)))
    }

    /// Does a step, and then the same to the model.
    fn step(&mut self, step: Step) {
        match step {
            Step::Open { name } => {
                let tags = std::array::from_fn(|i| 100 + i as u64);
                match self.table.open(7, NAMES[name], &tags) {
                    Ok(line) => {
                        let at = line.at();
                        self.model.push(empty(at, NAMES[name], tags));
                        self.model.sort_by_key(|slot| slot.at);
                        self.lines.push((at, Some(line)));
                    }
                    Err(refused) => assert!(matches!(refused, Refused::Full | Refused::NamesFull)),
                }
            }
            Step::Count { line, cell, weight } => {
                let Some((back, modelled)) = self.line(line) else { return };
                let Some(line) = &mut self.lines[back].1 else { return };
                let next = |words: &mut Words| {
                    for (i, word) in (0..).zip(words) {
                        *word = word.wrapping_add(weight.rotate_left(i));
                    }
                    cell
                };
                let counted = line.count(next).is_ok();
                let slot = modelled.map(|i| &mut self.model[i]).filter(|slot| !slot.closed);
                assert_eq!(counted, slot.is_some());
                if let Some(slot) = slot {
                    slot.n += 1;
                    slot.cells[usize::from(next(&mut slot.words_in)).min(3)] += 1;
                }
            }
            Step::Add { line, addends } => {
                let Some((back, modelled)) = self.line(line) else { return };
                let mut all = [0; WORDS];
                all[..2].copy_from_slice(&addends);
                all[5] = 1;
                let slot = modelled.map(|i| &mut self.model[i]).filter(|slot| !slot.closed && slot.m < slot.n);
                let Some(slot) = slot else { return };
                self.table.add(self.lines[back].0, &all).unwrap();
                slot.m += 1;
                for (word, addend) in slot.words_out.iter_mut().zip(all) {
                    *word = word.wrapping_add(addend);
                }
            }
            Step::HandOver { line } => {
                let Some((back, _)) = self.line(line) else { return };
                let (at, line) = &mut self.lines[back];
                *line = None;
                *line = self.table.adopt(*at, 7).ok();
            }
            Step::Close { line } => {
                let Some((back, Some(i))) = self.line(line) else { return };
                let closed = self.table.close_if(self.lines[back].0, |standing| standing.n == standing.m);
                let slot = &mut self.model[i];
                if !slot.closed && slot.n == slot.m && fuse::left() != Some(0) {
                    slot.closed = true;
                    assert_eq!(closed, Ok(Some(slot.clone())));
                } else {
                    slot.closed |= slot.n == slot.m;
                }
            }
            Step::Free { line } => {
                let Some((back, Some(i))) = self.line(line) else { return };
                let freed = self.table.free(self.lines[back].0).is_ok();
                if self.model[i].closed {
                    assert!(freed || fuse::left() == Some(0));
                    self.model.remove(i);
                }
            }
            Step::Note { line, value } => {
                let Some((back, Some(i))) = self.line(line) else { return };
                self.table.note(self.lines[back].0, value).unwrap();
                self.model[i].note = value;
            }
        }
    }
}

fn empty(at: At, name: &str, tags: [u64; TAGS]) -> Slot {
    Slot {
        at,
        closed: false,
        owner: 7,
        name: name.to_owned(),
        tags,
        note: 0,
        n: 0,
        words_in: [0; WORDS],
        cells: vec![0; 4],
        m: 0,
        words_out: [0; WORDS],
        troubles: Vec::new(),
    }
}

/// Runs the steps with so many stores; what is left must be the model before or after the step that was cut.
fn cut_after(stores: u64, steps: &[Step]) -> Result<bool, String> {
    let mut world = World::new();
    fuse::set(Some(stores));
    for (i, step) in steps.iter().enumerate() {
        let before = world.model.clone();
        world.step(*step);
        if fuse::left() == Some(0) {
            fuse::set(None);
            let left = recovered(&world.table);
            let fits = left == before || left == world.model;
            return if fits { Ok(true) } else { Err(format!("cut after {stores} stores, in step {i}: {left:#?}")) };
        }
        if recovered(&world.table) != world.model {
            fuse::set(None);
            return Err(format!("step {i} without a cut: {:#?}", recovered(&world.table)));
        }
    }
    fuse::set(None);
    Ok(false)
}

/// Every cut of these steps.
fn all_cuts(steps: &[Step]) -> Result<u64, String> {
    let mut stores = 1;
    while cut_after(stores, steps)? {
        stores += 1;
    }
    Ok(stores)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 96 }))]
    #[test]
    fn a_kill_after_any_store_leaves_the_state_before_or_after(steps in steps(if cfg!(miri) { 5 } else { 24 })) {
        let cuts = all_cuts(&steps);
        prop_assert!(cuts.is_ok(), "{}", cuts.unwrap_err());
    }
}

/// Each of these is a way to get it wrong; the cuts must tell.
#[test]
fn cuts_find_every_known_mistake() {
    let step = |cell| Step::Count { line: 0, cell, weight: 0x0123_4567_89ab_cdef };
    let add = Step::Add { line: 0, addends: [1, 0x0123_4567_89ab_cdef] };
    let steps = [Step::Open { name: 0 }, step(1), step(2), step(3), add, add];
    let cuts = all_cuts(&steps).unwrap();
    assert!(cuts > 60, "{cuts} cuts");
    for mistake in [Mutant::CountFirst, Mutant::OneCopy, Mutant::NoPendingCell, Mutant::CellFirst] {
        mutant::set(Some(mistake));
        let found = all_cuts(&steps);
        mutant::set(None);
        fuse::set(None);
        assert!(found.is_err(), "{mistake:?} was not found");
    }
    // The *out* line by itself.
    for mistake in [Mutant::CountFirst, Mutant::OneCopy] {
        mutant::set(None);
        let mut world = World::new();
        for step in &steps[..4] {
            world.step(*step);
        }
        let found = (1..40).any(|stores| {
            mutant::set(None);
            let mut world = World::new();
            steps[..4].iter().for_each(|step| world.step(*step));
            mutant::set(Some(mistake));
            let before = world.model.clone();
            fuse::set(Some(stores));
            world.step(add);
            fuse::set(None);
            let left = recovered(&world.table);
            left != before && left != world.model
        });
        mutant::set(None);
        assert!(found, "{mistake:?} of the out line was not found");
    }
}
