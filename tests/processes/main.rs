//! Chaperone's own processes and what they lean on: taps, collector and page apart from each other; a store on PostgreSQL that
//! several share, and that dies; a store that cannot be written; two datacenters in one process, one of them frozen, or copied
//! late into an aggregate of both.
//!
//! Each time: nothing lost, nothing doubled, nothing said to be well that is not known, and it goes on by itself. Each
//! has a control: the same comparison, made while something is broken, finds a difference.

mod apart;
mod backup;
mod database;
mod datacenters;
mod fanin;
mod refused;
mod scene;
