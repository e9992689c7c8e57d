//! A store without its type.

use std::{future::Future, pin::Pin};

use super::{Hold, Loaded, Record, StoreError, Swap, TokenStore, Version};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

pub(super) trait ErasedStore: Send + Sync {
    fn load(&self) -> BoxFuture<'_, Result<Option<Loaded>, StoreError>>;
    fn swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Swap, StoreError>>;
    fn changed(&self) -> BoxFuture<'_, ()>;
    fn try_hold(&self) -> BoxFuture<'_, Result<Hold, StoreError>>;
}

impl<S: TokenStore> ErasedStore for S {
    fn load(&self) -> BoxFuture<'_, Result<Option<Loaded>, StoreError>> {
        Box::pin(TokenStore::load(self))
    }

    fn swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Swap, StoreError>> {
        Box::pin(TokenStore::swap(self, expected, record))
    }

    fn changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(TokenStore::changed(self))
    }

    fn try_hold(&self) -> BoxFuture<'_, Result<Hold, StoreError>> {
        Box::pin(TokenStore::try_hold(self))
    }
}
