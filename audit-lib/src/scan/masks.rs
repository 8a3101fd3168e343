//! 64 bytes of a document as bit masks: bit `i` stands for byte `i`. What reaches over a block's edge is carried.

#![expect(clippy::inline_always, reason = "what is not inlined into the dispatched function loses its instructions")]

use fearless_simd::{Simd, prelude::*, u8x64};

/// Bytes in a block.
pub(super) const BLOCK: usize = 64;

/// The masks of one block.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Masks {
    /// `{` and `[` outside strings.
    pub(super) open: u64,
    /// `}` and `]` outside strings.
    pub(super) close: u64,
    /// Quotes that open a string.
    pub(super) starts: u64,
    /// Quotes that close a string.
    pub(super) ends: u64,
    /// Strings, from the opening quote to the byte before the closing one.
    pub(super) strings: u64,
    /// Backslashes, wherever they are.
    pub(super) backslashes: u64,
}

impl Masks {
    /// Opening quotes of strings that may be the name: they begin with its first byte (`probe`: where it stands) or an
    /// escape and, where no escape is near, end where it does, `beyond` bytes on, if that is still in this block.
    #[inline(always)]
    pub(super) const fn like(&self, probe: u64, beyond: u32) -> u64 {
        let first = ((probe | self.backslashes) >> 1) | (1 << 63);
        let seen = self.backslashes == 0 && beyond < 64;
        let last = if seen { (self.ends >> beyond) | (!0 << (64 - beyond)) } else { !0 };
        self.starts & first & last
    }
}

/// What one block tells the next.
#[derive(Debug, Clone, Copy)]
pub(super) struct Carry {
    /// All ones in a string, else zero.
    inside: u64,
    /// 1 if the next block's first byte is escaped.
    escaped: u64,
}

impl Carry {
    /// Before the first block.
    pub(super) const START: Self = Self { inside: 0, escaped: 0 };
}

/// 64 bytes; only those from `skip` on are of this block.
#[derive(Clone, Copy)]
pub(super) struct Block<S: Simd> {
    bytes: u8x64<S>,
    skip: u32,
}

/// The masks of the 64 bytes from `base`, `carry` being what the blocks before it left; what the document lacks is zeros or
/// spaces, which mean nothing to any mask.
#[inline(always)]
pub(super) fn block<S: Simd>(simd: S, document: &[u8], base: usize, carry: &mut Carry) -> (Block<S>, Masks) {
    if let Some(whole) = document.get(base..base + BLOCK) {
        let block = Block { bytes: u8x64::from_slice(simd, whole), skip: 0 };
        return (block, masks(simd, block, carry));
    }
    let rest = document.get(base..).unwrap_or_default();
    let block = if let Some(last) = document.last_chunk::<BLOCK>() {
        // Not by a copy: bytes that were just copied to memory cannot be loaded as one for a while.
        let skip = u32::try_from(BLOCK - rest.len()).unwrap_or(0);
        Block { bytes: u8x64::from_slice(simd, last), skip }
    } else {
        let mut padded = [b' '; BLOCK];
        if let Some(part) = padded.get_mut(..rest.len()) {
            part.copy_from_slice(rest);
        }
        Block { bytes: u8x64::from_slice(simd, &padded), skip: 0 }
    };
    (block, masks(simd, block, carry))
}

#[inline(always)]
fn masks<S: Simd>(simd: S, Block { bytes, skip }: Block<S>, carry: &mut Carry) -> Masks {
    // Nothing else has the brackets' codes but for this bit.
    let folded = bytes | u8x64::splat(simd, 0x20);
    let quotes = bytes.simd_eq(u8x64::splat(simd, b'"')).to_bitmask() >> skip;
    let backslashes = bytes.simd_eq(u8x64::splat(simd, b'\\')).to_bitmask() >> skip;
    let open = folded.simd_eq(u8x64::splat(simd, b'{')).to_bitmask() >> skip;
    let close = folded.simd_eq(u8x64::splat(simd, b'}')).to_bitmask() >> skip;
    let inside = carry.inside;
    let quotes = quotes & !escaped(backslashes, &mut carry.escaped);
    let strings = prefix_xor(quotes) ^ inside;
    carry.inside = 0u64.wrapping_sub(strings >> 63);
    Masks {
        open: open & !strings,
        close: close & !strings,
        starts: quotes & strings,
        ends: quotes & !strings,
        strings,
        backslashes,
    }
}

/// Where a byte is in a block. Asked anew in each block and never kept: a mask that lives on from one block to the next
/// in a variable is taken apart bit by bit by compilers for AVX2.
#[inline(always)]
pub(super) fn positions<S: Simd>(simd: S, block: Block<S>, byte: u8) -> u64 {
    block.bytes.simd_eq(u8x64::splat(simd, byte)).to_bitmask() >> block.skip
}

/// Which bytes follow a backslash that is not itself escaped.
#[inline(always)]
fn escaped(backslashes: u64, carry: &mut u64) -> u64 {
    /// Odd positions.
    const ODD: u64 = 0xAAAA_AAAA_AAAA_AAAA;
    if backslashes == 0 {
        return std::mem::take(carry);
    }
    // Runs of backslashes: subtracting a run's start from the odd positions behind it ripples to the run's end, and tells
    // whether its length is odd.
    let open_ended = backslashes & !*carry;
    let maybe = open_ended << 1;
    let terminal = (maybe | ODD).wrapping_sub(open_ended) ^ ODD;
    let escaped = terminal ^ (backslashes | *carry);
    *carry = (terminal & backslashes) >> 63;
    escaped
}

/// Bit `i` of the answer is the parity of bits 0 to `i`.
#[inline(always)]
const fn prefix_xor(mut bits: u64) -> u64 {
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    bits ^= bits << 32;
    bits
}

#[cfg(test)]
mod tests {
    use super::*;
    use fearless_simd::{Level, dispatch};
    use proptest::prelude::*;

    /// Byte by byte: the masks as they are meant.
    fn plain(document: &[u8], byte: u8) -> Vec<(Masks, u64)> {
        let (mut inside, mut escaped) = (false, false);
        let mut all = Vec::new();
        for block in document.chunks(BLOCK) {
            let (mut m, mut probe) = (Masks::default(), 0);
            for (i, b) in block.iter().enumerate() {
                let bit = 1u64 << i;
                probe |= if *b == byte { bit } else { 0 };
                m.backslashes |= if *b == b'\\' { bit } else { 0 };
                let quote = *b == b'"' && !escaped;
                escaped = *b == b'\\' && !escaped;
                inside ^= quote;
                m.ends |= if quote && !inside { bit } else { 0 };
                if inside {
                    m.strings |= bit;
                    m.starts |= if quote { bit } else { 0 };
                } else {
                    m.open |= if matches!(b, b'{' | b'[') { bit } else { 0 };
                    m.close |= if matches!(b, b'}' | b']') { bit } else { 0 };
                }
            }
            // Padding is spaces; in a string they belong to it.
            if inside && block.len() < BLOCK {
                m.strings |= !0 << block.len();
            }
            all.push((m, probe));
        }
        all
    }

    fn of(level: Level, document: &[u8], byte: u8) -> Vec<(Masks, u64)> {
        #[inline(always)]
        fn one<S: Simd>(simd: S, document: &[u8], base: usize, byte: u8, carry: &mut Carry) -> (Masks, u64) {
            let (block, masks) = block(simd, document, base, carry);
            (masks, positions(simd, block, byte))
        }
        let mut carry = Carry::START;
        let bases = (0..document.len()).step_by(BLOCK);
        bases.map(|base| dispatch!(level, simd => one(simd, document, base, byte, &mut carry))).collect()
    }

    proptest! {
        #[test]
        fn every_processor_sees_what_is_there(document in "[\"\\\\{}\\[\\]t, ;=\u{1b}\u{5d}]{0,200}", cut in 0usize..70) {
            let document = document.as_bytes().get(cut..).unwrap_or_default();
            let meant = plain(document, b't');
            for level in crate::scan::tests::levels() {
                prop_assert_eq!(&of(level, document, b't'), &meant);
            }
        }
    }

    #[test]
    fn no_other_byte_is_a_bracket() {
        let all: Vec<u8> = (0..=255).filter(|b| !matches!(b, b'"' | b'\\')).collect();
        assert_eq!(of(Level::new(), &all, b't'), plain(&all, b't'));
    }
}
