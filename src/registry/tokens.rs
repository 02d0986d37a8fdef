//! The trait `Tokens`: what HTTP clients show to be allowed to write, and what each of them allows.
//!
//! A token is `market_` and 32 characters of `A-Z a-z 0-9`, of which the first eight are its id and the other 24 (142
//! bits) the secret. A registry never sees one: it gets and keeps the id and the SHA-256 of the whole token.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use chrono::{DateTime, Days, NaiveDate, Utc};
use ggen_protocols::hash::ContentHash;
use ggen_protocols::id::{CanonicalName, IdError, OwnerId, PackageName};
use ggen_protocols::limits;
use ggen_protocols::metadata::{KeyText, OwnerIdText};
use rand::RngExt;
use rand::distr::Alphanumeric;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::Result;

/// What every token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "market_";
/// Random characters of a token.
const SECRET_CHARS: usize = 32;
/// Those of them that are its id.
const ID_CHARS: usize = 8;
/// Tokens that are kept, ended ones included: more than anybody can watch over.
pub const TOKENS_MAX: usize = 256;
/// Name patterns of one token.
pub const PATTERNS_MAX: usize = 64;
/// Characters of what a token is called.
pub const LABEL_CHARS_MAX: usize = 64;
/// Days until a token expires, unless it is made for another time.
pub const DAYS_DEFAULT: u32 = 90;
/// Most days until a token expires.
pub const DAYS_MAX: u32 = 366;

/// Keeps tokens.
///
/// # Contract (checked by `testing::registry::tokens::suite`)
/// - What a method returned `Ok` for survives a crash.
/// - A token that was revoked or whose time is over is never found again, whatever is done with others.
/// - Nothing that is kept allows to make the token again.
#[async_trait]
pub trait Tokens: fmt::Debug + Send + Sync {
    /// Lets a new token do what `terms` say, from now on. If there is no room, the one that ended first goes.
    ///
    /// # Errors
    /// [`TokenError`].
    async fn add_token(&self, token: &Fingerprint, terms: &Terms) -> Result<Grant>;

    /// All tokens, ended ones included, in the order in which they were made.
    async fn tokens(&self) -> Result<Vec<Grant>>;

    /// Ends a token. One that was revoked before stays as it is.
    ///
    /// # Errors
    /// [`TokenError::NoSuch`].
    async fn revoke_token(&self, id: &TokenId) -> Result<Grant>;

    /// What a token allows now; or why it allows nothing, which is no error. That it was used today is noted.
    async fn find_token(&self, token: &Fingerprint) -> Result<Result<Grant, TokenRefusal>>;
}

/// A token itself: a secret, which is never stored, logged or printed by accident.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new one.
    pub fn random() -> Self {
        let secret = random_text();
        Self(Zeroizing::new(format!("{PREFIX}{}", secret.as_str())))
    }

    /// The text to show to whoever is to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What a registry needs to know of it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            id: TokenId(self.0[PREFIX.len()..][..ID_CHARS].to_owned()),
            sha256: ContentHash::sha256(self.0.as_bytes()),
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(secret)")
    }
}

/// A text is no token. Says nothing of the text: it may be another secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no token: one is `market_` and 32 letters and digits")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let secret = text.strip_prefix(PREFIX).filter(|text| is_random(text));
        secret.ok_or(NoToken)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }
}

/// As many random letters and digits as a secret has: 190 bits.
pub(crate) fn random_text() -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(SECRET_CHARS));
    let mut random = rand::rng();
    text.extend((0..SECRET_CHARS).map(|_| char::from(random.sample(Alphanumeric))));
    text
}

/// Whether a text can come from [`random_text`].
pub(crate) fn is_random(text: &str) -> bool {
    text.len() == SECRET_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The public part of a token, which names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TokenId(String);

impl TokenId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text is no id of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no id of a token: one has 8 letters and digits; `market token list` tells them")]
pub struct NoTokenId;

impl FromStr for TokenId {
    type Err = NoTokenId;

    fn from_str(text: &str) -> Result<Self, NoTokenId> {
        let fits = text.len() == ID_CHARS && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        // The text is not quoted: it may be a whole token.
        fits.then(|| Self(text.to_owned())).ok_or(NoTokenId)
    }
}

impl TryFrom<String> for TokenId {
    type Error = NoTokenId;

    fn try_from(text: String) -> Result<Self, NoTokenId> {
        text.parse()
    }
}

impl From<TokenId> for String {
    fn from(id: TokenId) -> Self {
        id.0
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What tells whether a token is the one that was made, without being it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The token's public part.
    pub id: TokenId,
    /// SHA-256 of the whole token.
    pub sha256: ContentHash,
}

impl Fingerprint {
    /// Whether this is the digest of the same token. Takes the same time wherever they differ.
    pub(crate) fn fits(&self, sha256: &[u8; 32]) -> bool {
        let pairs = self.sha256.as_bytes().iter().zip(sha256);
        pairs.fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
    }
}

/// Something that a token may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Publishing the first version of a package.
    PublishNew,
    /// Publishing a further version of a package.
    PublishUpdate,
    /// Yanking and unyanking versions.
    Yank,
    /// Changing who else may publish.
    ChangeOwners,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::PublishNew,
        Self::PublishUpdate,
        Self::Yank,
        Self::ChangeOwners,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PublishNew => "publish-new",
            Self::PublishUpdate => "publish-update",
            Self::Yank => "yank",
            Self::ChangeOwners => "change-owners",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text is no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no such scope: there are {}", Scope::ALL.map(Scope::name).join(", "))]
pub struct NoScope;

impl FromStr for Scope {
    type Err = NoScope;

    fn from_str(text: &str) -> Result<Self, NoScope> {
        let mut all = Self::ALL.into_iter();
        all.find(|scope| scope.name() == text).ok_or(NoScope)
    }
}

/// Which packages a token is for: a name, or the beginning of names followed by `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NamePattern {
    /// In canonical spelling.
    text: String,
    is_prefix: bool,
}

impl NamePattern {
    /// Whether it is for this package.
    pub fn matches(&self, name: &CanonicalName) -> bool {
        match self.is_prefix {
            true => name.as_str().starts_with(&self.text),
            false => name.as_str() == self.text,
        }
    }
}

impl FromStr for NamePattern {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let prefix = text.strip_suffix('*');
        let text = match prefix {
            Some("") => String::new(),
            // Any further letter makes a name of a beginning that is reserved as it stands; the letter must have room.
            Some(prefix) if prefix.len() < limits::NAME_BYTES_MAX => {
                let longer: CanonicalName = format!("{prefix}x").parse()?;
                let longer = longer.as_str();
                longer[..longer.len() - 1].to_owned()
            }
            _ => prefix
                .unwrap_or(text)
                .parse::<PackageName>()?
                .canonical()
                .to_string(),
        };
        Ok(Self {
            text,
            is_prefix: prefix.is_some(),
        })
    }
}

impl TryFrom<String> for NamePattern {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<NamePattern> for String {
    fn from(pattern: NamePattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.is_prefix { "*" } else { "" })
    }
}

/// What a token is to allow, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What its user calls it, in at most [`LABEL_CHARS_MAX`] characters; may be empty.
    pub label: String,
    /// The key that signs for it.
    pub key: KeyText,
    /// The namespace that it writes in.
    pub owner: OwnerIdText,
    /// What it allows; something.
    pub scopes: BTreeSet<Scope>,
    /// The packages that it is for, at most [`PATTERNS_MAX`]; all if there are none.
    pub names: Vec<NamePattern>,
    /// After how many days it expires, at least 1 and at most [`DAYS_MAX`].
    pub days: u32,
}

impl Terms {
    /// What they grant a token that is made now.
    pub(crate) fn grant(&self, id: &TokenId, now_ms: u64) -> Result<Grant, TokenError> {
        let refuse = |why: String| Err(TokenError::Terms(why));
        if self.scopes.is_empty() {
            return refuse("it allows nothing: name a scope".to_owned());
        }
        if self.label.chars().count() > LABEL_CHARS_MAX || self.label.chars().any(char::is_control)
        {
            return refuse(format!(
                "its label has at most {LABEL_CHARS_MAX} characters, in one line"
            ));
        }
        if self.names.len() > PATTERNS_MAX {
            return refuse(format!("it is for at most {PATTERNS_MAX} names"));
        }
        if !(1..=DAYS_MAX).contains(&self.days) {
            return refuse(format!("it expires after 1 to {DAYS_MAX} days"));
        }
        let created = time(now_ms);
        let expires = created.checked_add_days(Days::new(self.days.into()));
        Ok(Grant {
            id: id.clone(),
            label: self.label.clone(),
            key: self.key,
            owner: self.owner,
            scopes: self.scopes.clone(),
            names: self.names.clone(),
            created,
            expires: expires.unwrap_or(DateTime::<Utc>::MAX_UTC),
            used: None,
            revoked: None,
        })
    }
}

/// What a token allows: everything about it but the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Which token.
    pub id: TokenId,
    /// What its user calls it.
    pub label: String,
    /// The key that signs for it.
    pub key: KeyText,
    /// The namespace that it writes in.
    pub owner: OwnerIdText,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
    /// The packages that it is for; all if there are none.
    pub names: Vec<NamePattern>,
    /// When it was made.
    pub created: DateTime<Utc>,
    /// From when on it allows nothing.
    pub expires: DateTime<Utc>,
    /// The last day on which it was used.
    pub used: Option<NaiveDate>,
    /// Since when it allows nothing because its user said so.
    pub revoked: Option<DateTime<Utc>>,
}

impl Grant {
    /// The namespace that it writes in.
    pub fn owner(&self) -> OwnerId {
        self.owner.0
    }

    /// Whether it allows this with this package.
    ///
    /// # Errors
    /// Says what it does not allow.
    pub fn allows(&self, scope: Scope, name: &CanonicalName) -> Result<(), TokenRefusal> {
        let id = self.id.clone();
        if !self.scopes.contains(&scope) {
            return Err(TokenRefusal::Scope { id, scope });
        }
        if !self.names.is_empty() && !self.names.iter().any(|pattern| pattern.matches(name)) {
            let name = name.clone();
            return Err(TokenRefusal::Name { id, name });
        }
        Ok(())
    }

    /// Why it allows nothing now, if so.
    pub fn ended(&self, now: DateTime<Utc>) -> Option<TokenRefusal> {
        let id = self.id.clone();
        match self.revoked {
            Some(at) => Some(TokenRefusal::Revoked { id, at }),
            None if self.expires <= now => {
                let at = self.expires;
                Some(TokenRefusal::Expired { id, at })
            }
            None => None,
        }
    }

    /// When it ended, if it did.
    pub(crate) fn end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let revoked = self.revoked.unwrap_or(self.expires);
        Some(revoked.min(self.expires)).filter(|end| *end <= now)
    }
}

/// Why a token does not allow what it was shown for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// It was never made here, or is forgotten.
    #[error("this node does not know the token: `market token new` makes one")]
    Unknown,
    /// Its time is over.
    #[error("the token {id} expired on {}: `market token new` makes another", at.format("%Y-%m-%d"))]
    Expired {
        /// Which one.
        id: TokenId,
        /// When.
        at: DateTime<Utc>,
    },
    /// Its user took it back.
    #[error("the token {id} was revoked on {}: `market token new` makes another", at.format("%Y-%m-%d"))]
    Revoked {
        /// Which one.
        id: TokenId,
        /// When.
        at: DateTime<Utc>,
    },
    /// It is for something else.
    #[error(
        "the token {id} does not allow `{scope}`: `market token new --scope {scope}` makes one that does"
    )]
    Scope {
        /// Which one.
        id: TokenId,
        /// What it was to allow.
        scope: Scope,
    },
    /// It is for other packages.
    #[error(
        "the token {id} is not for `{name}`: `market token new --name {name}` makes one that is"
    )]
    Name {
        /// Which one.
        id: TokenId,
        /// What it was to be for.
        name: CanonicalName,
    },
}

/// Why a token cannot be made or revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// What it was to allow makes no sense.
    #[error("no such token can be made: {0}")]
    Terms(String),
    /// There are as many as there can be.
    #[error("{TOKENS_MAX} tokens are in use: `market token revoke` one first")]
    TooMany,
    /// Another token has this id.
    #[error("there is a token {0} already: make another one")]
    Exists(TokenId),
    /// There is none with this id.
    #[error("there is no token {0}: `market token list` tells which there are")]
    NoSuch(TokenId),
}

/// Makes room for one more among so many tokens: which one goes, if one must.
pub(crate) fn room<'a>(
    tokens: impl Iterator<Item = &'a Grant>,
    now_ms: u64,
) -> Result<Option<TokenId>, TokenError> {
    let tokens: Vec<_> = tokens.collect();
    if tokens.len() < TOKENS_MAX {
        return Ok(None);
    }
    let now = time(now_ms);
    let ended = tokens
        .iter()
        .filter_map(|grant| Some((grant.end(now)?, &grant.id)));
    let first = ended.min().map(|(_, id)| id.clone());
    first.map(Some).ok_or(TokenError::TooMany)
}

/// Milliseconds since 1970 as a time.
pub(crate) fn time(ms: u64) -> DateTime<Utc> {
    let time = i64::try_from(ms)
        .ok()
        .and_then(DateTime::from_timestamp_millis);
    time.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_reads_as_it_was_made_and_shows_itself_to_nobody() {
        let token = Token::random();
        let text = token.reveal().to_owned();
        assert_eq!(text.len(), 39);
        let read: Token = text.parse().unwrap();
        assert_eq!(read.fingerprint(), token.fingerprint());
        let (_, secret) = text.split_at(PREFIX.len() + ID_CHARS);
        let shown = format!("{token:?} {:?}", token.fingerprint());
        assert!(!shown.contains(secret), "{shown}");
        assert_ne!(Token::random().fingerprint(), token.fingerprint());
    }

    #[test]
    fn a_text_of_another_form_is_no_token() {
        let good = "market_0123456789abcdefghijABCDEFGHIJ01";
        good.parse::<Token>().unwrap();
        for wrong in [
            "",
            "market_",
            &good[1..],
            &good[..38],
            &format!("{good}0"),
            &good.replace('9', "-"),
            &good.replace('9', "é"),
            &good.to_uppercase(),
        ] {
            let error = wrong.parse::<Token>().unwrap_err().to_string();
            assert!(
                wrong.is_empty() || !error.contains(wrong) || wrong == PREFIX,
                "{error}"
            );
        }
    }

    #[test]
    fn a_pattern_is_a_name_or_the_beginning_of_names() {
        let matches = |pattern: &str, name: &str| {
            let pattern: NamePattern = pattern.parse().unwrap();
            let again: NamePattern = pattern.to_string().parse().unwrap();
            assert_eq!(again, pattern);
            pattern.matches(&name.parse().unwrap())
        };
        for (pattern, name, fits) in [
            ("my_app", "My-App", true),
            ("my_app", "my-app-2", false),
            ("My_*", "my-app", true),
            ("My_*", "my", false),
            ("my*", "my", true),
            ("con*", "conserve", true),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
        for wrong in ["", "a*b", "**", "-a*", "a.b", "con", "*a"] {
            assert!(wrong.parse::<NamePattern>().is_err(), "{wrong}");
        }
        let long = "a".repeat(64);
        assert!(matches(&long, &long) && matches(&format!("{long}*"), &long));
        assert!(format!("{long}a*").parse::<NamePattern>().is_err());
    }
}
