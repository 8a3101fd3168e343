//! `pipeline.NAME.expect`, `.owner`, `.runbook`, `.expected`: what a hop passes on, who sees to it, who reports.

use chaperone_audit::Width;
use chaperone_collector::{Counting, Expect, Expected, Stage, StageKind};

use super::{Mistakes, suggestion};
use crate::config::file;

/// Characters of an owner's or application's name, and of a runbook's address.
const NAME_MAX: usize = 200;
const ADDRESS_MAX: usize = 1_000;
const AT_LEAST_MAX: u32 = 100_000;

/// Puts what is expected into each stage.
pub(super) fn expect(path: &str, raw: &file::Pipeline, stages: &mut [Stage], m: &mut Mistakes) {
    let after: Vec<&str> = raw.stages.iter().skip(1).map(String::as_str).collect();
    for (name, text) in &raw.expect {
        let path = format!("{path}.expect.\"{name}\"");
        let Some(stage) = stages.iter_mut().skip(1).find(|stage| stage.name == *name) else {
            let meant = suggestion(name, &after);
            m.add(path, format!("'{name}' is no stage of this pipeline that has one before it{meant}"));
            continue;
        };
        let expect = text.parse::<Expect>().map_err(|e| e.to_string());
        stage.expect = m.take(path, expect).unwrap_or_default();
    }
}

/// How its messages are counted, for those who read the page.
pub(super) fn counting(raw: &file::Pipeline, width: Width) -> Counting {
    let as_said = |said: &Option<String>, default: String| said.clone().unwrap_or(default);
    let default = Counting::default();
    Counting {
        time: as_said(&raw.time, default.time),
        unit: as_said(&raw.unit, default.unit),
        id: as_said(&raw.id, default.id),
        width_ms: width.ms(),
    }
}

/// Who owns the pipeline.
pub(super) fn owner(path: &str, raw: &file::Pipeline, m: &mut Mistakes) -> Option<String> {
    let owner = raw.owner.clone()?;
    m.take(format!("{path}.owner"), plain(owner))
}

/// Its runbook: pages make a link of it.
pub(super) fn runbook(path: &str, raw: &file::Pipeline, m: &mut Mistakes) -> Option<String> {
    let text = raw.runbook.clone()?;
    let address = text.starts_with("https://") || text.starts_with("http://");
    let printable = text.len() <= ADDRESS_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if address && printable {
        return Some(text);
    }
    let allowed = "an address that begins with https:// or http://, at most 1000 characters, without blanks";
    m.add(format!("{path}.runbook"), format!("'{}' is none; allowed: {allowed}", short(&text)));
    None
}

/// Who is expected to report.
pub(super) fn expected(path: &str, raw: &file::Pipeline, stages: &[Stage], m: &mut Mistakes) -> Vec<Expected> {
    let linked = stages.iter().filter(|stage| stage.kind == StageKind::Client);
    let linked: Vec<&str> = linked.flat_map(Stage::reported).map(String::as_str).collect();
    let mut all: Vec<Expected> = Vec::new();
    for (i, one) in raw.expected.iter().enumerate() {
        let path = format!("{path}.expected[{i}]");
        if !linked.contains(&one.stage.as_str()) {
            let meant = suggestion(&one.stage, &linked);
            m.add(format!("{path}.stage"), format!("'{}' is no linked stage of this pipeline{meant}", one.stage));
        }
        let application = m.take(format!("{path}.application"), plain(one.application.clone())).unwrap_or_default();
        let at_least = one.at_least.unwrap_or(1);
        if !(1..=AT_LEAST_MAX).contains(&at_least) {
            m.add(format!("{path}.at_least"), format!("{at_least} is not allowed; allowed: 1 to {AT_LEAST_MAX}"));
        }
        if all.iter().any(|other| other.stage == one.stage && other.application == application) {
            m.add(&path, format!("'{application}' is expected at '{}' twice", one.stage));
        }
        all.push(Expected { stage: one.stage.clone(), application, at_least });
    }
    all
}

fn plain(text: String) -> Result<String, String> {
    let length = text.chars().count();
    if (1..=NAME_MAX).contains(&length) && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(format!("'{}' is not allowed; allowed: 1 to {NAME_MAX} characters without line breaks", short(&text)))
}

fn short(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_default).collect()
}
