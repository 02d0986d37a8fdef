//! Makes a package of what lies at a path: recognised, packed, checked, described.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytes::Bytes;
use ggen_marketplace::archive::{self, Bounds, Inspected, Source};
use ggen_marketplace::protocols::id::{PackageId, PackageName};
use ggen_marketplace::protocols::metadata::{Checksums, Format, PackageMetadata};
use ggen_marketplace::protocols::record::{Body, Publish};
use semver::Version;
use tokio::io::AsyncRead;

use crate::Usage;

/// A package that only lacks its signature.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) body: Body,
    pub(crate) archive: Archive,
}

/// The bytes of a package.
#[derive(Debug)]
pub(crate) enum Archive {
    /// A file that is published as it is. Should it change meanwhile, the node sees that it is not what the
    /// record says.
    File(PathBuf),
    /// A directory, packed.
    Packed(Bytes),
}

impl Archive {
    /// The bytes from the beginning.
    pub(crate) async fn open(&self) -> anyhow::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(match self {
            Self::File(path) => {
                let file = tokio::fs::File::open(path).await;
                Box::new(file.with_context(|| format!("cannot read {}", path.display()))?)
            }
            Self::Packed(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
        })
    }
}

/// The name and version that a generic archive gets: it says neither itself.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) name: PackageName,
    pub(crate) version: Version,
}

/// Reads what lies at `path` to its end. Blocks on the disk and computes for a while.
pub(crate) fn prepare(path: &Path, named: Option<&Named>) -> anyhow::Result<Prepared> {
    let source = archive::recognise(path)?;
    match (source, named) {
        (Source::Crate(path) | Source::Generic(path), Some(named)) => {
            let inspected = inspect_file(&path, Format::Generic)?;
            finish(generic(named, &inspected), Archive::File(path))
        }
        (Source::Crate(path), None) => {
            let inspected = inspect_file(&path, Format::Cargo)?;
            finish(declared(inspected)?, Archive::File(path))
        }
        (Source::Generic(path), None) => Err(Usage(format!(
            "{} says neither its name nor its version: give both with --name NAME --version VERSION",
            path.display()
        ))
        .into()),
        (directory, None) => {
            let (bytes, format) = archive::pack_directory(&directory)?;
            let inspected = archive::inspect(&bytes[..], format, Bounds::default())?;
            finish(declared(inspected)?, Archive::Packed(bytes.into()))
        }
        (_, Some(_)) => Err(Usage(format!(
            "{} says its name and version itself: leave --name and --version out",
            path.display()
        ))
        .into()),
    }
}

fn inspect_file(path: &Path, format: Format) -> anyhow::Result<Inspected> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let reader = BufReader::with_capacity(64 << 10, file);
    Ok(archive::inspect(reader, format, Bounds::default())?)
}

fn declared(inspected: Inspected) -> anyhow::Result<PackageMetadata> {
    inspected
        .metadata
        .context("the archive declares no name and version")
}

fn generic(named: &Named, inspected: &Inspected) -> PackageMetadata {
    let id = PackageId {
        name: named.name.as_str().to_owned(),
        version: named.version.clone(),
        namespace: None,
    };
    PackageMetadata {
        format: Format::Generic,
        checksums: Checksums {
            blake3: Some(inspected.blake3),
            sha256: Some(inspected.sha256),
            size: Some(inspected.size),
        },
        ..PackageMetadata::new(id)
    }
}

fn finish(metadata: PackageMetadata, archive: Archive) -> anyhow::Result<Prepared> {
    let publish = Publish::from_metadata(&metadata)
        .with_context(|| format!("no record can carry {}", metadata.id))?;
    Ok(Prepared {
        body: Body::Publish(Box::new(publish)),
        archive,
    })
}
