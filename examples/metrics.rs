//! Collects metrics of a program and shows them to Prometheus: `cargo run --example metrics`.

#![allow(clippy::print_stdout)] // What it shows is public.

use ggen_marketplace::prelude::*;
use std::time::Instant;

#[tokio::main]
async fn main() -> Result<()> {
    // Create Prometheus metrics collector
    let metrics = PrometheusMetricsCollector::new();

    // Record operations
    metrics
        .counter("packages_published", 1, &[("author", "alice")])
        .await;
    metrics.gauge("active_connections", 42.0, &[]).await;

    // Time an operation
    let start = Instant::now();
    perform_search().await?;
    metrics
        .timing("search_query", start.elapsed(), &[("type", "fulltext")])
        .await;

    // Record errors
    if let Err(e) = risky_operation().await {
        metrics.error("storage_error", &e.to_string(), &[]).await;
    }

    // Export for Prometheus scraping
    let prometheus_format = metrics.export_prometheus().await?;
    println!("{}", prometheus_format);

    // Or export as JSON for custom dashboards
    let json_format = metrics.export_json().await?;
    println!("{}", serde_json::to_string_pretty(&json_format)?);

    Ok(())
}

async fn perform_search() -> Result<()> {
    tokio::task::yield_now().await;
    Ok(())
}

async fn risky_operation() -> Result<()> {
    tokio::fs::read("/nowhere/at/all").await?;
    Ok(())
}
