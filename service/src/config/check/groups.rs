//! `pipeline.NAME.groups`: stages that several others make up. A mistake here would be a sum with something missing in it, or
//! counted twice, so nothing is guessed.

use super::{Mistakes, stage_name, suggestion};
use crate::config::file;

/// Members of a group.
const MEMBERS: std::ops::RangeInclusive<usize> = 2..=64;

/// Everything that may be wrong with the groups of a pipeline.
pub(super) fn check(path: &str, raw: &file::Pipeline, is_tapped: impl Fn(&str) -> bool, m: &mut Mistakes) {
    let known: Vec<&str> = raw.stages.iter().map(String::as_str).collect();
    for (group, members) in &raw.groups {
        let path = format!("{path}.groups.\"{group}\"");
        if !known.contains(&group.as_str()) {
            let meant = suggestion(group, &known);
            m.add(&path, format!("'{group}' is no stage of this pipeline: name it in stages where it stands{meant}"));
        }
        if is_tapped(group) {
            m.add(
                &path,
                format!("'{group}' is the stage of a tap; a group counts nothing itself and needs a name of its own"),
            );
        }
        if !MEMBERS.contains(&members.len()) {
            let (least, most) = (MEMBERS.start(), MEMBERS.end());
            m.add(&path, format!("has {} members; allowed are {least} to {most}", members.len()));
        }
        for (i, member) in members.iter().enumerate() {
            let path = format!("{path}[{i}]");
            stage_name(&path, member, m);
            if members.iter().take(i).any(|other| other == member) {
                m.add(&path, format!("'{member}' is there twice: its messages would count twice"));
            } else if known.contains(&member.as_str()) {
                m.add(
                    &path,
                    format!(
                        "'{member}' is a stage of this pipeline as well; name the group in stages, not its members"
                    ),
                );
            } else if let Some((other, _)) =
                raw.groups.iter().take_while(|(other, _)| *other != group).find(|(_, of)| of.contains(member))
            {
                m.add(&path, format!("'{member}' is a member of '{other}' as well"));
            }
            if member.starts_with("kafka:") && !is_tapped(member) {
                m.add(
                    &path,
                    format!("'{member}' is the stage of no tap: write [{}.tap]", member.replacen(':', ".", 1)),
                );
            }
        }
        let (tapped, linked): (Vec<&String>, Vec<&String>) = members.iter().partition(|member| is_tapped(member));
        if let (Some(tapped), Some(linked)) = (tapped.first(), linked.iter().find(|name| !name.starts_with("kafka:"))) {
            let why = "all members have a tap or all are linked, for what proves a loss differs";
            m.add(&path, format!("'{tapped}' has a tap and '{linked}' is linked; {why}"));
        }
    }
}
