//! Everybody can read it: labels, tables beside charts, order, contrast. (A browser's own checks run in the suite `browser`.)

use super::*;
use fake::scene::at;

async fn pages() -> Vec<(String, String)> {
    let (router, _bench) = scene();
    let mut pages = Vec::new();
    for path in
        ["/".to_owned(), "/?from=now-30m".to_owned(), "/lag".to_owned(), "/t/sjc/rides.events?from=now-30m".to_owned()]
            .into_iter()
            .chain([37, 83, 128, 170, 179].map(|w| format!("/t/sjc/rides.events/w/{}", at(w))))
    {
        let body = get(&router, &path).await.body;
        pages.push((path, body));
    }
    pages
}

/// The attributes of each element of that name.
fn elements<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    let open = format!("<{name}");
    let starts = html.match_indices(&open).filter_map(|(i, _)| html.get(i + open.len()..));
    starts.filter(|rest| rest.starts_with([' ', '>'])).filter_map(|rest| rest.split('>').next()).collect()
}

#[tokio::test]
async fn every_drawing_has_a_name_or_is_hidden() {
    for (path, html) in pages().await {
        // A drawing inside another is a part of it, and named by it.
        let own = |a: &&str| !a.contains("preserveAspectRatio");
        for svg in elements(&html, "svg").into_iter().filter(own) {
            let named = svg.contains("aria-label=\"") && !svg.contains("aria-label=\"\"") && svg.contains("role=\"");
            assert!(named || svg.contains("aria-hidden=\"true\""), "{path}: <svg{svg}>");
        }
    }
}

#[tokio::test]
async fn every_chart_has_a_table_with_the_same_numbers() {
    for (path, html) in pages().await {
        let charts = elements(&html, "svg").into_iter().filter(|s| s.contains("role=\"img\"")).count();
        let tables = elements(&html, "table").len();
        assert!(charts == 0 || tables > 0, "{path}: {charts} charts, no table");
        if path.contains("/w/") {
            for chart in ["h-arrival", "h-partitions"] {
                let Some(section) = html.split(&format!("aria-labelledby=\"{chart}\"")).nth(1) else { continue };
                let section = section.split("</section>").next().unwrap_or_default();
                assert_eq!(section.contains("role=\"img\""), section.contains("<table"), "{path}: {chart}");
            }
        }
    }
}

#[tokio::test]
async fn what_takes_the_focus_has_a_name_and_comes_in_the_order_of_the_page() {
    for (path, html) in pages().await {
        for input in elements(&html, "input").into_iter().filter(|i| !i.contains("type=\"hidden\"")) {
            assert!(input.contains("aria-label=\""), "{path}: <input{input}>");
        }
        assert!(!html.contains("tabindex=\"1") && !html.contains("tabindex=\"2"), "{path}: a jump in the order");
        let first = html.split("<a ").nth(1).unwrap_or_default();
        assert!(first.starts_with("class=\"skip\" href=\"#main\""), "{path}: the way past the navigation comes first");
        assert_eq!((elements(&html, "main").len(), elements(&html, "h1").len()), (1, 1), "{path}");
        for (nav, what) in [("nav", "aria-label"), ("dialog", "aria-labelledby")] {
            assert!(elements(&html, nav).iter().all(|n| n.contains(what)), "{path}: <{nav}>");
        }
        let empty = html.match_indices("<a ").filter_map(|(i, _)| html.get(i..)).filter_map(|a| a.split("</a>").next());
        for link in empty {
            let text: String =
                link.split('<').skip(1).filter_map(|t| t.split_once('>').map(|(_, text)| text)).collect();
            assert!(!text.trim().is_empty() || link.contains("aria-label"), "{path}: {link}");
        }
    }
}

#[tokio::test]
async fn ids_are_unique_and_point_somewhere() {
    for (path, html) in pages().await {
        let mut ids: Vec<&str> = html.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "{path}: an id twice");
        for to in html.split("aria-labelledby=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(ids.contains(&to), "{path}: nothing is called {to}");
        }
    }
}
