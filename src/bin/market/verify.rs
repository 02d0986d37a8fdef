//! `market verify`: checks everything on disk.

use ggen_marketplace::assemble::Layout;
use ggen_marketplace::node::VerifyReport;

use crate::Told;
use crate::access::Access;
use crate::output::{Output, Shown, bytes};

pub(crate) async fn run(layout: &Layout, output: Output) -> anyhow::Result<()> {
    let access = Access::open(layout).await?;
    let report = access.client().verify().await;
    access.close().await?;
    let report = report?;
    output.result(&report, shown)?;
    if !report.findings.is_empty() {
        return Err(Told.into());
    }
    Ok(())
}

fn shown(report: &VerifyReport) -> String {
    let mut text = format!(
        "{} records and {} blobs ({}) were read, {} things are wrong\n",
        report.records,
        report.blobs,
        bytes(report.blob_bytes),
        report.findings.len()
    );
    for finding in &report.findings {
        text.push_str(&format!("- {}\n", Shown::new(finding)));
    }
    text
}
