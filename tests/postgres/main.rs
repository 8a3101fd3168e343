//! A store on PostgreSQL: every test of the target `store`, and what only a server can meet: connections that end at any
//! statement, answers that are lost, a database that is away and comes back; and that its schema is that of SQLite.

mod cut;
mod full;
mod place;
mod reading;
mod schema;

#[path = "../../collector/tests/store/account.rs"]
mod account;
#[path = "../../collector/tests/store/actions.rs"]
mod actions;
#[path = "../../collector/tests/store/claims.rs"]
mod claims;
#[path = "../../collector/tests/store/deadline.rs"]
mod deadline;
#[path = "../../collector/tests/store/early.rs"]
mod early;
#[path = "../../collector/tests/store/evidence.rs"]
mod evidence;
#[path = "../../collector/tests/store/fan_in.rs"]
mod fan_in;
#[path = "../../collector/tests/store/five_stages.rs"]
mod five_stages;
#[path = "../../collector/tests/store/flow.rs"]
mod flow;
#[path = "../../collector/tests/store/groups.rs"]
mod groups;
#[path = "../../collector/tests/store/lag.rs"]
mod lag;
#[path = "../../collector/tests/store/lost.rs"]
mod lost;
#[path = "../../collector/tests/store/model.rs"]
mod model;
#[path = "../../collector/tests/store/offsets.rs"]
mod offsets;
#[path = "../../collector/tests/store/passage.rs"]
mod passage;
#[path = "../../collector/tests/store/readers.rs"]
mod readers;
#[path = "../../collector/tests/store/rebuild.rs"]
mod rebuild;
#[path = "../../collector/tests/store/retention.rs"]
mod retention;
#[path = "../../collector/tests/store/rules.rs"]
mod rules;
#[path = "../../collector/tests/store/shares.rs"]
mod shares;
#[path = "../../collector/tests/store/sim.rs"]
mod sim;
#[path = "../../collector/tests/store/sources.rs"]
mod sources;
#[path = "../../collector/tests/store/stamped.rs"]
mod stamped;
#[path = "../../collector/tests/store/upgrade.rs"]
mod upgrade;
#[path = "../../collector/tests/store/watermark.rs"]
mod watermark;
#[path = "../../collector/tests/store/way.rs"]
mod way;
