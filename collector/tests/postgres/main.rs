//! What only a store on PostgreSQL can meet: connections that end at any statement, answers that are lost, a database
//! that is away and comes back; and that its schema is that of SQLite.

mod cut;
mod schema;

#[path = "../store/place.rs"]
#[allow(dead_code, reason = "shared with the suite that runs on both")]
mod place;
#[path = "../store/sim.rs"]
#[allow(dead_code, reason = "shared with the suite that runs on both")]
mod sim;
