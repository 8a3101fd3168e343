//! `chaperone watch` between the same two clusters: without a rename it says which is meant, with it the windows are ok.

use std::time::Duration;

use anyhow::{Context, ensure};
use chaperone_tests::programs::{self, Program};

use crate::mirror::ALIAS;
use crate::scene::Scene;

/// A window, its grace and the reports, on a busy machine.
const VERDICT_DEADLINE: Duration = Duration::from_mins(2);

/// See the module's head.
pub(crate) struct Watching {
    renaming: Program,
    topic: String,
}

impl Watching {
    /// Waits for the proposal; then the comparison goes on beside everything else.
    pub(crate) fn start(scene: &Scene) -> anyhow::Result<Self> {
        let proposal = format!("did you mean --to-rename '{ALIAS}\\\\.(.*)=$1'?");
        let mut without = watch(scene, &["--duration", "1"])?;
        let said = without.line("the proposal", VERDICT_DEADLINE, |line| line.contains(&proposal))?;
        println!("watch: {said}");
        let rename = format!("{ALIAS}\\.(.*)=$1");
        Ok(Self { renaming: watch(scene, &["--to-rename", &rename])?, topic: scene.topic.clone() })
    }

    /// The first verdict on a window that had both sides is ok.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let ours = format!("\"topic\":\"{}\"", self.topic);
        let is_ours = |line: &str| line.contains("\"event\":\"verdict\"") && line.contains(&ours);
        let said = self
            .renaming
            .line("a verdict", VERDICT_DEADLINE, |line| is_ours(line) && line.contains("\"verdict\":\"ok\""))?;
        println!("watch: {said}");
        let missing =
            self.renaming.output().lines().any(|line| is_ours(line) && line.contains("\"verdict\":\"missing\""));
        ensure!(!missing, "watch misses messages: {}", self.renaming.output());
        self.renaming.process.kill().context("watch")
    }
}

fn watch(scene: &Scene, more: &[&str]) -> anyhow::Result<Program> {
    let (from, to) = (
        format!("regional={}", scene.bed.regional.bootstrap_plain()),
        format!("agg={}", scene.bed.agg.bootstrap_plain()),
    );
    let arguments = ["--from", &from, "--to", &to, "--topics", &scene.topic, "--grace", "2s", "--port", "0", "--json"];
    programs::chaperone_verb("watch", &[&arguments, more].concat())
}
