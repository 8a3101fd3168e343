//! Names compared without a call: those of topics and headers have a dozen bytes, mostly.

/// Whether two names are equal.
#[inline]
pub(crate) fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    // Both ends, which overlap, are all of it.
    match a.len() {
        4..=8 => ends::<4>(a) == ends::<4>(b),
        9..=16 => ends::<8>(a) == ends::<8>(b),
        _ => a == b,
    }
}

#[inline]
fn ends<const N: usize>(name: &[u8]) -> Option<([u8; N], [u8; N])> {
    Some((*name.first_chunk()?, *name.last_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn every_byte_of_every_length_counts() {
        let name = "abcdefghijklmnopqrstuvwxyzabcdefghijklmn";
        for length in 0..=name.len() {
            let a = &name[..length];
            let other = String::from(a);
            assert!(same(a, &other), "{a}");
            assert!(!same(a, &format!("{a}x")), "{a}");
            for at in 0..length {
                let b = format!("{}-{}", &a[..at], &a[at + 1..]);
                assert!(!same(a, &b), "{a} {b}");
            }
        }
    }
}
