//! What an owner may change of a release after it is published, laid over what was said before.

use ggen_protocols::metadata::Dependencies;
use ggen_protocols::record::{Info, State};
use serde::{Deserialize, Serialize};
use url::Url;

use super::RegistryError;

/// Changes of a release's metadata. What is `None` stays as it is; the default changes nothing.
///
/// A state record can replace what describes a release, not take a field away. What people build on is fixed by the
/// record that published it: the last three fields are here to be refused with that reason.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetadataUpdates {
    /// New description, at most 1,000 bytes.
    pub description: Option<String>,
    /// Where its source is kept now.
    pub repository: Option<Url>,
    /// Its new site.
    pub homepage: Option<Url>,
    /// Where its documentation is now.
    pub documentation: Option<Url>,
    /// All keywords from now on: at most five of at most 20 bytes.
    pub keywords: Option<Vec<String>>,
    /// All categories from now on: at most five.
    pub categories: Option<Vec<String>>,
    /// `Some(Some(reason))` asks that it be no longer chosen; `Some(None)` takes that back.
    pub deprecated: Option<Option<String>>,
    /// Fixed.
    pub authors: Option<Vec<String>>,
    /// Fixed.
    pub license: Option<String>,
    /// Fixed.
    pub dependencies: Option<Dependencies>,
}

impl MetadataUpdates {
    /// The state that follows `before`, with one revision more; nothing if it would say the same.
    ///
    /// # Errors
    /// [`RegistryError::Validation`] for a field that is fixed in a release.
    pub fn next(self, before: State) -> Result<Option<State>, RegistryError> {
        let Self {
            description,
            repository,
            homepage,
            documentation,
            keywords,
            categories,
            deprecated,
            authors,
            license,
            dependencies,
        } = self;
        for (field, is_set) in [
            ("authors", authors.is_some()),
            ("license", license.is_some()),
            ("dependencies", dependencies.is_some()),
        ] {
            if is_set {
                return Err(RegistryError::Validation(format!(
                    "`{field}` is fixed in a release, for others build on it: publish a new version"
                )));
            }
        }
        let text = |url: Option<Url>| url.as_ref().map(ToString::to_string);
        let known = before.info.clone().unwrap_or_default();
        let mut info = known.clone();
        replace(&mut info.description, description);
        replace(&mut info.links.repository, text(repository));
        replace(&mut info.links.homepage, text(homepage));
        replace(&mut info.links.documentation, text(documentation));
        replace(&mut info.keywords, keywords);
        replace(&mut info.categories, categories);
        info.deprecated = deprecated.unwrap_or(info.deprecated);
        if info == known {
            return Ok(None);
        }
        Ok(Some(State {
            revision: before.revision + 1,
            info: Some(info).filter(|info| *info != Info::default()),
            ..before
        }))
    }
}

fn replace<T>(field: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *field = new;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn state(info: Option<Info>) -> State {
        State {
            name: "a".to_owned(),
            version: Some("1.0.0".to_owned()),
            revision: 6,
            yanked: true,
            withdrawn: false,
            note: "it leaks".to_owned(),
            info,
        }
    }

    #[test]
    fn what_is_not_updated_stays_as_it_was_said() {
        let before = state(Some(Info {
            description: Some("old".to_owned()),
            keywords: Some(vec!["old".to_owned()]),
            ..Info::default()
        }));
        let updates = MetadataUpdates {
            description: Some("new".to_owned()),
            homepage: Some("https://a.example/".parse().unwrap()),
            ..MetadataUpdates::default()
        };
        let next = updates.clone().next(before.clone()).unwrap().unwrap();
        let mut expected = before.clone();
        expected.revision = 7;
        let info = expected.info.as_mut().unwrap();
        info.description = Some("new".to_owned());
        info.links.homepage = Some("https://a.example/".to_owned());
        assert_eq!(next, expected);
        assert_eq!(updates.next(next).unwrap(), None, "it says the same");
    }

    #[test]
    fn a_deprecation_is_taken_back_without_a_trace() {
        let deprecate = |reason: Option<&str>| MetadataUpdates {
            deprecated: Some(reason.map(str::to_owned)),
            ..MetadataUpdates::default()
        };
        let said = deprecate(Some("use b")).next(state(None)).unwrap().unwrap();
        let reason = said.info.as_ref().unwrap().deprecated.clone();
        assert_eq!(reason.as_deref(), Some("use b"));
        let back = deprecate(None).next(said).unwrap().unwrap();
        assert_eq!((back.revision, &back.info), (8, &None));
        assert_eq!(deprecate(None).next(back).unwrap(), None);
    }

    #[test]
    fn a_typing_error_in_json_is_no_update() {
        let wrong = serde_json::from_str::<MetadataUpdates>(r#"{"descripton":"x"}"#);
        assert!(wrong.is_err());
        let right: MetadataUpdates = serde_json::from_str(r#"{"description":"x"}"#).unwrap();
        assert_eq!(right.description.as_deref(), Some("x"));
    }
}
