//! Signs metadata, checks bytes, says whom to trust, and writes a public key: `cargo run --example crypto`.

#![allow(clippy::print_stdout)] // What it shows is public.

use ggen_marketplace::prelude::*;

fn create_package_metadata() -> PackageMetadata {
    PackageMetadata {
        description: "A web framework".to_string(),
        ..PackageMetadata::new(PackageId::new("web-framework", "1.0.0"))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    // Create Ed25519 verifier
    let crypto = Ed25519CryptoVerifier::new();

    // Generate a key pair
    let keypair = crypto.generate_keypair().await?;
    println!("Public key: {}", keypair.public_key);

    // Sign package metadata
    let metadata = create_package_metadata();
    let signature = crypto.sign(&metadata, &keypair.private_key).await?;

    // Verify signature
    let result = crypto.verify_signature(&metadata, &signature).await?;
    assert!(result.is_valid);

    // Compute checksum
    let package_bytes = b"package content";
    let hash = crypto
        .checksum(package_bytes, HashAlgorithm::SHA256)
        .await?;
    println!("SHA256: {}", hash);

    // Verify checksum
    let valid = crypto.verify_checksum(package_bytes, &hash).await?;
    assert!(valid);

    // Trust management
    crypto
        .add_trusted_key(&keypair.public_key, TrustLevel::Full)
        .await?;
    let trust = crypto.verify_trust(&keypair.public_key).await?;
    assert!(trust.is_trusted);

    // Export key for storage
    let pem = crypto.export_key_pem(&keypair.public_key.into()).await?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("public_key.pem"), pem)?;

    Ok(())
}
