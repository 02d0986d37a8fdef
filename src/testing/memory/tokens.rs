//! The tokens of a `MemoryRegistry`.

use async_trait::async_trait;

use super::MemoryRegistry;
use crate::Result;
use crate::registry::RegistryError;
use crate::registry::tokens::{
    self, Fingerprint, Grant, Terms, TokenError, TokenId, TokenRefusal, Tokens,
};

#[async_trait]
impl Tokens for MemoryRegistry {
    async fn add_token(&self, token: &Fingerprint, terms: &Terms) -> Result<Grant> {
        let now_ms = (self.clock)();
        let grant = terms.grant(&token.id, now_ms);
        let grant = grant.map_err(RegistryError::from)?;
        let mut state = self.state();
        if state.tokens.contains_key(&token.id) {
            return Err(RegistryError::from(TokenError::Exists(token.id.clone())).into());
        }
        let kept = state.tokens.values().map(|(_, grant)| grant);
        if let Some(going) = tokens::room(kept, now_ms).map_err(RegistryError::from)? {
            state.tokens.remove(&going);
        }
        let kept = (token.clone(), grant.clone());
        state.tokens.insert(token.id.clone(), kept);
        Ok(grant)
    }

    async fn tokens(&self) -> Result<Vec<Grant>> {
        let state = self.state();
        let mut grants: Vec<_> = state
            .tokens
            .values()
            .map(|(_, grant)| grant.clone())
            .collect();
        grants.sort_by_key(|grant| grant.created);
        Ok(grants)
    }

    async fn revoke_token(&self, id: &TokenId) -> Result<Grant> {
        let now = tokens::time((self.clock)());
        let mut state = self.state();
        let none = || RegistryError::from(TokenError::NoSuch(id.clone()));
        let (_, grant) = state.tokens.get_mut(id).ok_or_else(none)?;
        grant.revoked.get_or_insert(now);
        Ok(grant.clone())
    }

    async fn find_token(&self, token: &Fingerprint) -> Result<Result<Grant, TokenRefusal>> {
        let now = tokens::time((self.clock)());
        let mut state = self.state();
        let found = state.tokens.get_mut(&token.id);
        let Some((_, grant)) = found.filter(|(kept, _)| kept == token) else {
            return Ok(Err(TokenRefusal::Unknown));
        };
        if let Some(refusal) = grant.ended(now) {
            return Ok(Err(refusal));
        }
        grant.used = Some(now.date_naive());
        Ok(Ok(grant.clone()))
    }
}
