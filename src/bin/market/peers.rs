//! `market peers`: whom the running node is connected to.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::node::PeerStatus;

use crate::access::Access;
use crate::output::{Output, Shown, bytes, table};

pub(crate) async fn run(layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    if matches!(access, Access::Offline(..)) {
        output.note("no node runs on this home, so that it has no peers: `market up` runs one");
    }
    let peers = access.client().peers().await;
    access.close().await?;
    output.result(&peers?, |peers| {
        table(&peers.iter().map(shown).collect::<Vec<_>>())
    })
}

fn shown(peer: &PeerStatus) -> Vec<String> {
    let sync = if peer.in_sync { "in sync" } else { "behind" };
    let rtt = peer.rtt_ms.map(|rtt| format!("{rtt} ms"));
    vec![
        Shown::new(&peer.peer).to_string(),
        sync.to_owned(),
        rtt.unwrap_or_default(),
        format!("{} sent", bytes(peer.sent_bytes)),
        Shown::new(peer.agent.as_deref().unwrap_or_default()).to_string(),
        Shown::new(&peer.addresses.join(" ")).to_string(),
    ]
}
