//! Registers a package, finds what it is, and tells how often it was downloaded: `cargo run --example registry`.

#![allow(clippy::print_stdout)] // What it shows is public.

use ggen_marketplace::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    // Create a local registry
    let folder = tempfile::tempdir()?;
    let registry = LocalRegistry::new(folder.path().join("registry.db")).await?;

    // Register a new package
    let id = PackageId {
        name: "web-framework".to_string(),
        version: Version::parse("1.0.0")?,
        namespace: Some("acme".to_string()),
    };
    let metadata = PackageMetadata {
        description: "A fast web framework".to_string(),
        authors: vec!["alice@example.com".to_string()],
        license: "MIT".to_string(),
        repository: Some("https://github.com/acme/framework".parse()?),
        homepage: None,
        keywords: vec!["web".to_string(), "framework".to_string()],
        categories: vec!["web".to_string()],
        dependencies: HashMap::new(),
        checksums: Checksums::default(),
        signature: Signature::default(),
        published_at: Utc::now(),
        ..PackageMetadata::new(id)
    };

    let package_bytes = b"package content";
    let content_hash = ContentHash::sha256(package_bytes);
    let id = registry.register(&metadata, content_hash).await?;
    println!("Registered package: {:?}", id);

    // Resolve dependencies
    let deps = registry.resolve_dependencies(&id, true).await?;
    println!("Dependencies: {:?}", deps);

    // Get statistics
    let stats = registry.get_stats(&id).await?;
    println!("Downloads: {}", stats.total_downloads);

    Ok(())
}

#[test]
fn the_example_runs() -> Result<()> {
    main()
}
