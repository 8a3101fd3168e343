//! Serves the pages over a made-up store, to look at them: `cargo run -p chaperone-web --example preview [PORT [stale|live]]`.

#[path = "../tests/fake/mod.rs"]
mod fake;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|p| p.parse::<u16>().ok()).unwrap_or(7979);
    let bench = fake::bench(fake::scene::store(), fake::scene::pipelines());
    match std::env::args().nth(2).as_deref() {
        Some("stale") => {
            bench.problems.send_replace(vec![fake::stale("audit topic chaperone-audit of sjc was last read 48 s ago")]);
        }
        Some("live") => {
            let (store, clock) = (bench.store.clone(), bench.clock.clone());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
                    clock.advance(2_000);
                    store.revision.send_modify(|r| *r += 1);
                }
            });
        }
        _ => {}
    }
    let app = chaperone_web::app(bench.state.clone(), chaperone_web::WebConfig::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, app).await
}
