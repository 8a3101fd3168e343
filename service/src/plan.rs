//! `chaperone plan`: what auditing topics would cost, before anything is set up.
//!
//! [`observe`] asks a cluster for offsets twice and reads a bounded sample; [`estimate`] makes figures of that, purely, by
//! the formulae of docs/CAPACITY.md; [`mod@print`] shows them. Nothing is created or committed, and no group is joined: READ
//! and DESCRIBE are enough.

pub mod estimate;
pub mod observe;
pub mod print;
