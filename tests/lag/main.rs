//! Lag of consumer groups against ground truth on real Kafka: what groups committed is the test's own doing, when messages
//! were appended is in the messages (LogAppendTime).

mod burst;
mod scene;
mod truth;
