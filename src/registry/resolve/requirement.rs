//! Which versions a requirement allows, and which versions are compatible with each other.

use ggen_protocols::metadata::Format;
use semver::{Comparator, Op, Prerelease, Version, VersionReq};

/// Versions of one package of which a build has at most one: of a cargo package those with the same first number
/// that is not zero, of any other all.
pub(super) type Bucket = (u64, u64, u64);

/// The bucket of a version.
pub(super) fn bucket(format: Format, version: &Version) -> Bucket {
    match (format, version.major, version.minor) {
        (Format::Cargo, 0, 0) => (0, 0, version.patch),
        (Format::Cargo, 0, minor) => (0, minor, 0),
        (Format::Cargo, major, _) => (major, 0, 0),
        _ => (0, 0, 0),
    }
}

/// Whether a requirement allows a version. Without `prerelease`, one that names no pre-release allows none. With it,
/// a pre-release is allowed where the order of versions puts it within the bounds, except that `<2.0.0` and `^1` do
/// not reach those of 2.0.0.
pub(super) fn allows(requirement: &VersionReq, version: &Version, prerelease: bool) -> bool {
    if requirement.matches(version) {
        return true;
    }
    if !prerelease || version.pre.is_empty() {
        return false;
    }
    let release = Version {
        pre: Prerelease::EMPTY,
        ..version.clone()
    };
    requirement.matches(&release)
        && requirement
            .comparators
            .iter()
            .all(|comparator| lowest(comparator).is_none_or(|lowest| lowest < *version))
}

/// The lowest release that a comparator allows, if it has a lower bound.
fn lowest(comparator: &Comparator) -> Option<Version> {
    let (minor, patch) = (comparator.minor, comparator.patch);
    let major = comparator.major;
    let at = |major, minor, patch| Version {
        pre: comparator.pre.clone(),
        ..Version::new(major, minor, patch)
    };
    match (comparator.op, minor, patch) {
        (Op::Less | Op::LessEq, ..) => None,
        (Op::Greater, None, _) => Some(at(major.saturating_add(1), 0, 0)),
        (Op::Greater, Some(minor), None) => Some(at(major, minor.saturating_add(1), 0)),
        _ => Some(at(major, minor.unwrap_or(0), patch.unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn is_allowed(requirement: &str, version: &str, prerelease: bool) -> bool {
        allows(
            &requirement.parse().unwrap(),
            &version.parse().unwrap(),
            prerelease,
        )
    }

    #[test]
    fn a_pre_release_is_allowed_only_when_it_is_asked_for() {
        for (requirement, version, plain, asked) in [
            ("^1.2", "1.3.0-rc.1", false, true),
            ("^1.2.0", "1.2.0-rc.1", false, false),
            ("^1.2.0-rc.1", "1.2.0-rc.2", true, true),
            ("^1.2.0-rc.1", "1.3.0-rc.2", false, true),
            ("^1", "2.0.0-rc.1", false, false),
            ("<2.0.0", "2.0.0-rc.1", false, false),
            (">1.2", "1.3.0-rc.1", false, false),
            (">1.2", "1.3.1-rc.1", false, true),
            (">=1, <3", "2.5.0-a", false, true),
            ("=1.2", "1.2.7-a", false, true),
            ("*", "0.1.0-a", false, true),
            ("*", "0.1.0", true, true),
        ] {
            let found = (
                is_allowed(requirement, version, false),
                is_allowed(requirement, version, true),
            );
            assert_eq!(found, (plain, asked), "{requirement} {version}");
        }
    }

    #[test]
    fn versions_are_compatible_up_to_their_first_number_that_is_not_zero() {
        let of = |format, version: &str| bucket(format, &version.parse().unwrap());
        assert_eq!(of(Format::Cargo, "1.2.3"), of(Format::Cargo, "1.9.0"));
        assert_ne!(of(Format::Cargo, "0.2.3"), of(Format::Cargo, "0.3.0"));
        assert_ne!(of(Format::Cargo, "0.0.3"), of(Format::Cargo, "0.0.4"));
        assert_eq!(of(Format::Pack, "0.0.3"), of(Format::Pack, "7.0.4"));
    }
}
