//! The tokens of a `LocalRegistry`. A row is the digest of a token, then its grant as JSON.

use async_trait::async_trait;
use redb::{ReadableTable, WriteTransaction};

use super::LocalRegistry;
use super::choices::unchanged;
use crate::Result;
use crate::db::Fault;
use crate::registry::RegistryError;
use crate::registry::stored::Source;
use crate::registry::tables::{self, Row, TOKENS};
use crate::registry::tokens::{
    self, Fingerprint, Grant, Terms, TokenError, TokenId, TokenRefusal, Tokens,
};
use crate::registry::view::Failure;
use crate::registry::write::Written;

#[async_trait]
impl Tokens for LocalRegistry {
    async fn add_token(&self, token: &Fingerprint, terms: &Terms) -> Result<Grant> {
        let now_ms = (self.clock)();
        let (token, terms) = (token.clone(), terms.clone());
        self.change(move |transaction| {
            let grant = terms
                .grant(&token.id, now_ms)
                .map_err(RegistryError::from)?;
            let table = transaction.table(TOKENS)?;
            if read(&table, &token.id)?.is_some() {
                return Err(RegistryError::from(TokenError::Exists(token.id)).into());
            }
            let all = all(&table)?;
            drop(table);
            let going = tokens::room(all.iter(), now_ms).map_err(RegistryError::from)?;
            if let Some(going) = going {
                remove(transaction, &going)?;
            }
            write(transaction, token.sha256.as_bytes(), &grant)?;
            written(transaction, grant)
        })
        .await
    }

    async fn tokens(&self) -> Result<Vec<Grant>> {
        let mut grants = self.read(|snapshot| all(&snapshot.table(TOKENS)?)).await?;
        grants.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        Ok(grants)
    }

    async fn revoke_token(&self, id: &TokenId) -> Result<Grant> {
        let (id, now_ms) = (id.clone(), (self.clock)());
        self.change(move |transaction| {
            let found = read(&transaction.table(TOKENS)?, &id)?;
            let none = || RegistryError::from(TokenError::NoSuch(id));
            let (sha256, mut grant) = found.ok_or_else(none)?;
            if grant.revoked.is_none() {
                grant.revoked = Some(tokens::time(now_ms));
                write(transaction, &sha256, &grant)?;
            }
            written(transaction, grant)
        })
        .await
    }

    async fn find_token(&self, token: &Fingerprint) -> Result<Result<Grant, TokenRefusal>> {
        let now = tokens::time((self.clock)());
        let id = token.id.clone();
        let found = self
            .read(move |snapshot| read(&snapshot.table(TOKENS)?, &id))
            .await?;
        let Some((_, mut grant)) = found.filter(|(sha256, _)| token.fits(sha256)) else {
            return Ok(Err(TokenRefusal::Unknown));
        };
        if let Some(refusal) = grant.ended(now) {
            return Ok(Err(refusal));
        }
        let today = now.date_naive();
        if grant.used < Some(today) {
            grant.used = Some(today);
            self.note_use(&grant).await?;
        }
        Ok(Ok(grant))
    }
}

impl LocalRegistry {
    /// Notes when a token was used, if it is still there: it may have been revoked meanwhile.
    async fn note_use(&self, used: &Grant) -> Result<()> {
        let (id, day) = (used.id.clone(), used.used);
        self.change(move |transaction| {
            let found = read(&transaction.table(TOKENS)?, &id)?;
            if let Some((sha256, mut grant)) = found {
                grant.used = grant.used.max(day);
                write(transaction, &sha256, &grant)?;
            }
            written(transaction, ())
        })
        .await
    }
}

fn key(id: &TokenId) -> &[u8] {
    id.as_str().as_bytes()
}

fn write(transaction: &WriteTransaction, sha256: &[u8; 32], grant: &Grant) -> Result<(), Fault> {
    let json = serde_json::to_vec(grant).expect("texts, numbers and lists always serialise");
    let row = [sha256.as_slice(), &json].concat();
    transaction
        .table(TOKENS)?
        .insert(key(&grant.id), row.as_slice())?;
    Ok(())
}

fn remove(transaction: &WriteTransaction, id: &TokenId) -> Result<(), Fault> {
    transaction.table(TOKENS)?.remove(key(id))?;
    Ok(())
}

type Kept = ([u8; 32], Grant);

fn read(table: &impl ReadableTable<Row, Row>, id: &TokenId) -> Result<Option<Kept>, Fault> {
    let row = table.get(key(id))?;
    row.map(|row| parse(key(id), row.value())).transpose()
}

fn parse(key: &[u8], row: &[u8]) -> Result<Kept, Fault> {
    let damaged = || tables::damaged(TOKENS, key);
    let (sha256, json) = row.split_first_chunk().ok_or_else(damaged)?;
    let grant = serde_json::from_slice(json).map_err(|_| damaged())?;
    Ok((*sha256, grant))
}

fn all(table: &impl ReadableTable<Row, Row>) -> Result<Vec<Grant>, Fault> {
    let rows = table.iter()?.map(|row| {
        let (key, row) = row?;
        Ok(parse(key.value(), row.value())?.1)
    });
    rows.collect()
}

fn written<T>(transaction: &WriteTransaction, value: T) -> Result<Written<T>, Failure> {
    let unchanged = unchanged(transaction, None)?;
    Ok(Written::at(unchanged.position, value))
}
