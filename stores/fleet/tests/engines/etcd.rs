//! The store of the docs.

#[path = "../../../../examples/etcd_store.rs"]
mod etcd_store;

use etcd_store::EtcdStore;
use tower_reauth::store::check_store;
use tower_reauth_fleet::etcd::EtcdServer;

#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_the_docs_keeps_the_contract() {
    let Some(server) = EtcdServer::start() else { return };
    check_store(async |name| EtcdStore::new(&server.url(), name)).await;
}
