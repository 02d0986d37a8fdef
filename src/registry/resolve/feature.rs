//! What a feature turns on, as cargo reads it.

use super::Candidate;

/// One thing that a feature turns on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Another feature of the same package.
    Feature(String),
    /// The needs that the package's code calls so.
    Need(String),
    /// A feature of the needs that the package's code calls so; a weak one only where they are on.
    NeedFeature {
        called: String,
        feature: String,
        weak: bool,
    },
}

/// What a feature of a release turns on; nothing if there is no such feature. `default` is there always.
pub(super) fn effects(candidate: &Candidate, feature: &str) -> Option<Vec<Effect>> {
    if let Some(values) = candidate.features.get(feature) {
        return Some(values.iter().map(|value| effect(value)).collect());
    }
    if is_implicit(candidate, feature) {
        return Some(vec![Effect::Need(feature.to_owned())]);
    }
    (feature == "default").then(Vec::new)
}

/// Whether a release has a feature that somebody may name.
pub(super) fn has(candidate: &Candidate, feature: &str) -> bool {
    candidate.features.contains_key(feature) || is_implicit(candidate, feature)
}

/// All features of a release that somebody may name.
pub(super) fn all(candidate: &Candidate) -> impl Iterator<Item = &str> {
    let implicit = candidate.needs.iter().map(|(called, _)| called.as_str());
    let implicit = implicit.filter(|called| is_implicit(candidate, called));
    candidate
        .features
        .keys()
        .map(String::as_str)
        .chain(implicit)
}

/// Whether an optional dependency makes a feature of its own name: one that no feature names with `dep:` does.
fn is_implicit(candidate: &Candidate, feature: &str) -> bool {
    let mut needs = candidate.needs.iter();
    let is_named = |value: &String| value.strip_prefix("dep:") == Some(feature);
    needs.any(|(called, need)| called == feature && need.optional)
        && !candidate.features.values().flatten().any(is_named)
}

fn effect(value: &str) -> Effect {
    if let Some(called) = value.strip_prefix("dep:") {
        return Effect::Need(called.to_owned());
    }
    let Some((called, feature)) = value.split_once('/') else {
        return Effect::Feature(value.to_owned());
    };
    let (called, weak) = match called.strip_suffix('?') {
        Some(called) => (called, true),
        None => (called, false),
    };
    Effect::NeedFeature {
        called: called.to_owned(),
        feature: feature.to_owned(),
        weak,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ggen_protocols::metadata::Dependency;

    use super::*;

    #[test]
    fn optional_dependencies_make_features_unless_dep_names_them() {
        let optional = |name: &str| {
            let mut need = Dependency::new(name, "1".parse().unwrap());
            need.optional = true;
            (name.to_owned(), need)
        };
        let values = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let candidate = Candidate {
            needs: vec![optional("a"), optional("b")],
            features: [("on".to_owned(), values(&["dep:b", "b?/f", "a/g", "off"]))].into(),
            ..Candidate::default()
        };
        assert_eq!(
            effects(&candidate, "a"),
            Some(vec![Effect::Need("a".to_owned())])
        );
        assert_eq!(effects(&candidate, "b"), None);
        assert_eq!(effects(&candidate, "default"), Some(vec![]));
        let on = effects(&candidate, "on").unwrap();
        let need_feature = |called: &str, feature: &str, weak| Effect::NeedFeature {
            called: called.to_owned(),
            feature: feature.to_owned(),
            weak,
        };
        let expected = [
            Effect::Need("b".to_owned()),
            need_feature("b", "f", true),
            need_feature("a", "g", false),
            Effect::Feature("off".to_owned()),
        ];
        assert_eq!(on, expected);
        assert_eq!(all(&candidate).collect::<Vec<_>>(), ["on", "a"]);
    }
}
