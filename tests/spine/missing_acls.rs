//! Each documented ACL taken away gives a message that names it; with all of them there is none.

use std::time::Duration;

use anyhow::Context;
use chaperone_tests::figures;

use crate::acls;
use crate::scene::Scene;
use chaperone_tests::programs::{self, Program};

/// A program that plays the role, on the regional cluster or (a consumer) on the aggregate one.
fn play(scene: &Scene, role: &str, run: usize) -> anyhow::Result<Program> {
    if role == "chaperone" {
        return programs::chaperone(&["run"], &scene.config(&scene.audit)?);
    }
    let cluster = if role == "consumer" { &scene.bed.agg } else { &scene.bed.regional };
    let mut environment = programs::example_settings(cluster, role)?;
    for (key, value) in programs::example_settings(&scene.bed.regional, role)? {
        environment.push((format!("AUDIT_{key}"), value));
    }
    let folder = scene.folder(&format!("{role}-{run}"))?;
    let add = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    environment.extend([
        add("LISTEN", "127.0.0.1:0"),
        add("TOPIC", &scene.topic),
        add("GROUP", &scene.group),
        add("AUDIT_TOPIC", &scene.audit),
        add("STAGE", role),
        add("DATA_DIR", &folder.to_string_lossy()),
        // None of them comes back for what it counted.
        add("SLOTS_DIR", &folder.to_string_lossy()),
        add("COUNT", "1000000"),
    ]);
    programs::example(role, &environment)
}

#[test]
fn each_acl_taken_away_is_named() -> anyhow::Result<()> {
    let scene = Scene::new(false)?;
    let mut named = 0;
    for role in ["chaperone", "producer", "proxy", "consumer"] {
        for (cluster, acl) in acls::of_role(&scene, role)? {
            // The audit topic is made by the first run of chaperone, and has to be missing where CREATE is.
            if acl.operation == "create" {
                scene.bed.regional.delete_topic(&scene.audit).ok();
            }
            scene.cluster(cluster).remove_acl(&acl)?;
            let said = complaint(&scene, role, named, &acl.operation.to_uppercase(), &acl.resource, &acl.name);
            scene.cluster(cluster).add_acl(&acl)?;
            let line = said.with_context(|| format!("{role} without {acl:?} on {cluster}"))?;
            println!("{role} without {} on {} {}: {line}", acl.operation, acl.resource, acl.name);
            named += 1;
        }
    }
    figures::record("spine", "acls_named", named as u64)
}

fn complaint(
    scene: &Scene,
    role: &str,
    run: usize,
    operation: &str,
    resource: &str,
    name: &str,
) -> anyhow::Result<String> {
    let mut program = play(scene, role, run)?;
    if role == "proxy" {
        // A proxy does nothing until somebody posts.
        let url = programs::listening(&mut program)?;
        let answer = ureq::post(format!("{url}/topics/{}", scene.topic)).send("message");
        println!("the proxy's client got {:?}", answer.map(|r| r.status()));
    }
    let wanted = format!("{operation} on {resource} '{name}'");
    program.line(&wanted, Duration::from_secs(60), |line| line.contains(&wanted))
}
