//! How often one client may ask: a bucket of tokens an address, filled by the clock. Pure but for its lock.
//!
//! An IPv6 client is its /64. Limits: [`MOST`] addresses; full buckets are forgotten first, and beyond that the ones that
//! were used longest ago. A clock that is set back fills nothing.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

/// Addresses that are remembered.
const MOST: usize = 20_000;

/// So often, on average, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second; at least 1.
    pub per_second: u32,
    /// Requests at once after a pause; at least 1.
    pub burst: u32,
}

/// One address: what is left, in thousandths of a request, and when that was.
#[derive(Clone, Copy)]
struct Bucket {
    left: u64,
    at_ms: i64,
}

pub(crate) struct Buckets {
    rate: Rate,
    of: Mutex<HashMap<IpAddr, Bucket>>,
}

impl Buckets {
    pub(crate) fn new(rate: Rate) -> Self {
        let rate = Rate { per_second: rate.per_second.max(1), burst: rate.burst.max(1) };
        Self { rate, of: Mutex::new(HashMap::new()) }
    }

    /// Takes one, or says after how many seconds there is one again.
    pub(crate) fn take(&self, client: IpAddr, now_ms: i64) -> Result<(), u64> {
        let mut of = self.of.lock();
        let full = u64::from(self.rate.burst) * 1_000;
        if of.len() >= MOST {
            self.forget(&mut of, now_ms);
        }
        let bucket = of.entry(network(client)).or_insert(Bucket { left: full, at_ms: now_ms });
        *bucket = self.filled(*bucket, now_ms);
        match bucket.left.checked_sub(1_000) {
            Some(left) => {
                bucket.left = left;
                Ok(())
            }
            None => Err((1_000 - bucket.left).div_ceil(u64::from(self.rate.per_second) * 1_000).max(1)),
        }
    }

    fn filled(&self, bucket: Bucket, now_ms: i64) -> Bucket {
        let full = u64::from(self.rate.burst) * 1_000;
        // A request a second is one thousandth of a request a millisecond.
        let passed = u64::try_from(now_ms.saturating_sub(bucket.at_ms)).unwrap_or(0);
        let left = bucket.left.saturating_add(passed.saturating_mul(u64::from(self.rate.per_second))).min(full);
        Bucket { left, at_ms: now_ms }
    }

    /// Makes room: a full bucket says nothing.
    fn forget(&self, of: &mut HashMap<IpAddr, Bucket>, now_ms: i64) {
        let full = u64::from(self.rate.burst) * 1_000;
        of.retain(|_, bucket| self.filled(*bucket, now_ms).left < full);
        if of.len() >= MOST {
            let mut times: Vec<i64> = of.values().map(|bucket| bucket.at_ms).collect();
            let (_, median, _) = times.select_nth_unstable(MOST / 2);
            let median = *median;
            of.retain(|_, bucket| bucket.at_ms > median);
        }
    }
}

fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn a_burst_then_the_rate_for_each_address_by_itself() {
        let buckets = Buckets::new(Rate { per_second: 2, burst: 3 });
        let taken = |client: &str, now_ms| buckets.take(ip(client), now_ms);
        assert!((0..3).all(|_| taken("10.0.0.1", 0).is_ok()));
        assert_eq!(taken("10.0.0.1", 0), Err(1));
        assert_eq!(taken("10.0.0.2", 0), Ok(()));
        assert_eq!((taken("10.0.0.1", 500), taken("10.0.0.1", 500)), (Ok(()), Err(1)));
        assert_eq!(taken("10.0.0.1", 400), Err(1), "a clock that is set back fills nothing");
        assert!((0..3).all(|_| taken("10.0.0.1", 100_000).is_ok()), "no more than full");
        assert!(taken("10.0.0.1", 100_000).is_err());
    }

    #[test]
    fn a_client_of_ipv6_is_its_network() {
        let buckets = Buckets::new(Rate { per_second: 1, burst: 1 });
        assert!(buckets.take(ip("2001:db8:0:1::1"), 0).is_ok() && buckets.take(ip("2001:db8:0:1::2"), 0).is_err());
        assert!(buckets.take(ip("2001:db8:0:2::1"), 0).is_ok());
        assert!(buckets.take(ip("::ffff:10.0.0.1"), 0).is_ok() && buckets.take(ip("10.0.0.1"), 0).is_err());
    }

    #[test]
    fn memory_is_bounded_and_who_is_refused_stays_so() {
        let buckets = Buckets::new(Rate { per_second: 1, burst: 1 });
        for n in 0..3 * MOST {
            let bits = u32::try_from(n).expect("small");
            assert!(buckets.take(std::net::Ipv4Addr::from_bits(bits).into(), i64::from(bits / 1_000)).is_ok());
        }
        assert!(buckets.of.lock().len() <= MOST + 1);
        let last = std::net::Ipv4Addr::from_bits(u32::try_from(3 * MOST - 1).expect("small"));
        assert!(buckets.take(last.into(), 60).is_err());
    }
}
