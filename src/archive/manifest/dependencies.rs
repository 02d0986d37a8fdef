//! Reads the dependencies of a manifest, of all kinds and platforms.

use ggen_protocols::metadata::{Dependencies, Dependency, DependencyKind, DependencySource};
use semver::VersionReq;

use super::fields::Fields;

/// The tables that a dependency can stand in, under all spellings that cargo reads, and what they mean.
const KINDS: &[(&[&str], DependencyKind)] = &[
    (&["dependencies"], DependencyKind::Normal),
    (
        &["dev-dependencies", "dev_dependencies"],
        DependencyKind::Dev,
    ),
    (
        &["build-dependencies", "build_dependencies"],
        DependencyKind::Build,
    ),
];

/// All dependencies in a `Cargo.toml`.
pub(super) fn cargo(root: &Fields<'_>) -> Result<Dependencies, String> {
    let mut dependencies = Dependencies::new();
    add(root, KINDS, None, &mut dependencies)?;
    if let Some(targets) = root.table(&["target"])? {
        for target in targets.keys() {
            if let Some(table) = targets.table(&[target])? {
                add(&table, KINDS, Some(target), &mut dependencies)?;
            }
        }
    }
    Ok(dependencies)
}

/// Adds what the tables of these `kinds` in `table` name.
pub(super) fn add(
    table: &Fields<'_>,
    kinds: &[(&[&str], DependencyKind)],
    target: Option<&str>,
    dependencies: &mut Dependencies,
) -> Result<(), String> {
    for (keys, kind) in kinds {
        let Some(entries) = table.table(keys)? else {
            continue;
        };
        for alias in entries.keys() {
            let mut dependency = read(&entries, alias)?;
            dependency.kind = *kind;
            dependency.target = target.map(str::to_owned);
            dependencies
                .entry(alias.to_owned())
                .or_default()
                .push(dependency);
        }
    }
    Ok(())
}

fn read(entries: &Fields<'_>, alias: &str) -> Result<Dependency, String> {
    if let Some(requirement) = entries.plain(alias) {
        let requirement = parse(requirement, &entries.path(alias))?;
        return Ok(Dependency::new(alias, requirement));
    }
    // `table` fails on whatever is neither a string nor a table.
    let Some(entry) = entries.table(&[alias])? else {
        return Err(format!("{} is missing", entries.path(alias)));
    };
    let path = entries.path(alias);
    if entry.has("workspace") {
        return Err(format!(
            "{path} is inherited from a workspace that is not in the archive; publish what `cargo package` makes"
        ));
    }
    let requirement = match entry.text("version")? {
        Some(text) => parse(&text, &path)?,
        None if entry.has("path") || entry.has("git") => {
            return Err(format!(
                "{path} has a path or a git address but no version, so nobody else could resolve it"
            ));
        }
        None => VersionReq::STAR,
    };
    if entry.has("registry") && !entry.has("registry-index") {
        return Err(format!(
            "{path} names a registry by a name that only its author's configuration explains; publish what `cargo \
             package` makes"
        ));
    }
    let name = entry.text("package")?;
    let index = entry.text("registry-index")?;
    Ok(Dependency {
        source: index.map_or(DependencySource::Default, DependencySource::Url),
        features: entry.texts("features")?.unwrap_or_default(),
        optional: entry.flag(&["optional"])?.unwrap_or(false),
        default_features: entry
            .flag(&["default-features", "default_features"])?
            .unwrap_or(true),
        ..Dependency::new(name.unwrap_or_else(|| alias.to_owned()), requirement)
    })
}

fn parse(requirement: &str, path: &str) -> Result<VersionReq, String> {
    let text = requirement.trim();
    text.parse().map_err(|error| {
        format!(
            "{path}: `{}` is no version requirement: {error}",
            text.escape_debug()
        )
    })
}
