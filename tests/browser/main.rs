//! The pages in a real Chromium, over the real program on real Kafka with known faults: every screen shows the API's
//! numbers and the truth, in light, dark, narrow and without scripts; browser, layout and axe-core find nothing wrong.

mod accounts;
mod chromium;
mod keys;
mod looks;
mod page;
mod pictures;
mod scene;
mod screens;
mod walk;
mod zoom;

use anyhow::ensure;
use chaperone_tests::figures;

use chromium::Browser;
use scene::Scene;

#[test]
fn every_screen_shows_the_truth_to_everybody() -> anyhow::Result<()> {
    let (browser, scene) = std::thread::scope(|scope| {
        let browser = scope.spawn(Browser::start);
        let scene = Scene::new();
        (browser.join(), scene)
    });
    let (browser, scene) = (browser.map_err(|_| anyhow::anyhow!("the browser's thread panicked"))??, scene?);
    let outcome = looks::at_all(&browser, &scene)?;
    for finding in &outcome.findings {
        println!("{finding}");
    }
    let blind = looks::controls(&browser, &scene)?;
    ensure!(blind.is_empty(), "{blind:#?}");
    walk::to_the_evidence(&browser, &scene)?;
    zoom::by_hand(&browser, &scene)?;
    keys::by_hand(&browser, &scene)?;
    let took = walk::to_the_news(&browser, &scene)?;
    let complaints = browser.complaints()?;
    figures::record("browser", "screens", outcome.shown)?;
    let wrong = outcome.findings.len() + complaints.len();
    figures::record("browser", "findings", wrong)?;
    figures::record("browser", "news_s", took)?;
    ensure!(wrong == 0, "{wrong} findings, told above; and on the way: {complaints:#?}");
    Ok(())
}
