//! `market status`: how the node is doing.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::node::Status;

use crate::access::Access;
use crate::output::{Output, Shown, bytes, table};

pub(crate) async fn run(layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let runs = matches!(access, Access::Running(_));
    let status = access.client().status().await;
    access.close().await?;
    output.result(&status?, |status| shown(status, runs))
}

fn shown(status: &Status, runs: bool) -> String {
    let node = match (runs, &status.peer) {
        (true, Some(peer)) => format!("runs as {peer}, for {} s", status.uptime_seconds),
        (true, None) => format!("runs without network, for {} s", status.uptime_seconds),
        (false, _) => "does not run: `market up` runs it".to_owned(),
    };
    let blobs = format!("{} ({})", status.blobs, bytes(status.blob_bytes));
    let index = match status.search_behind {
        0 => "up to date".to_owned(),
        behind => format!("{behind} changes behind"),
    };
    let none = || "none".to_owned();
    let rows = [
        ("node", node),
        ("owner", status.owner.clone().unwrap_or_else(none)),
        ("root", status.root.clone()),
        ("records", status.records.to_string()),
        ("packages", status.packages.to_string()),
        ("versions", status.versions.to_string()),
        ("blobs", blobs),
        ("search", index),
        ("peers", status.peers.to_string()),
        ("caught up", status.caught_up.to_string()),
        ("addresses", status.addresses.join("  ")),
        ("http", status.http.clone().unwrap_or_else(none)),
        ("version", status.version.clone()),
    ];
    let rows = rows.iter();
    let rows = rows.map(|(name, fact)| vec![(*name).to_owned(), Shown::whole(fact).to_string()]);
    table(&rows.collect::<Vec<_>>())
}
