//! Questions about tokens.

use super::{Client, ControlError};
use crate::control::request::{Reply, Request};
use crate::registry::{Fingerprint, Grant, Terms, TokenId};

impl Client {
    /// Lets a token, of which only the fingerprint is told, do what these terms say.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if no such token can be made.
    pub async fn add_token(&self, token: Fingerprint, terms: Terms) -> Result<Grant, ControlError> {
        match self.ask(Request::AddToken { token, terms }).await? {
            Reply::Token(grant) => Ok(*grant),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// All tokens, ended ones included, in the order in which they were made.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn tokens(&self) -> Result<Vec<Grant>, ControlError> {
        match self.ask(Request::Tokens).await? {
            Reply::Tokens(grants) => Ok(grants),
            _ => Err(ControlError::Unexpected),
        }
    }

    /// Ends a token.
    ///
    /// # Errors
    /// [`ControlError::Failed`] if there is no such token.
    pub async fn revoke_token(&self, id: TokenId) -> Result<Grant, ControlError> {
        match self.ask(Request::RevokeToken { id }).await? {
            Reply::Token(grant) => Ok(*grant),
            _ => Err(ControlError::Unexpected),
        }
    }
}
