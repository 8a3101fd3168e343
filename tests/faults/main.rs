//! Faults around us: garbage on the audit topic, and Kafka gone for a minute.
//!
//! Garbage must end in quarantine, each piece with its reason, while counting goes on. An outage must not change how a
//! producer's calls behave (a control without the library runs beside it), and every count must arrive afterwards.
//! A configuration that is changed while taps count loses and doubles nothing, and one that is refused changes nothing.
//! And a configuration tried against a secured broker names each right that is missing.

mod check_config;
mod garbage;
mod outage;
mod reload;
mod scene;
