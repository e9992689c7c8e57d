//! A real authorization server, which revokes the grant when a spent refresh token is presented.

use tower_reauth_fleet::{Command, Credential, Outcome, Process, Provider, Settings};

use crate::{
    servers::{Grant, Kind, Server},
    setup::{this_program, with_callers},
    stores::{Record, Store, on_each_store},
};

async fn called(processes: &mut [Process]) -> Outcome {
    let mut outcome = Outcome::default();
    for process in processes {
        outcome.merge(process.called().await);
    }
    outcome
}

/// The tokens of the record.
async fn grant(record: &Record) -> Grant {
    let record: serde_json::Value = serde_json::from_slice(&record.read().await.unwrap()).unwrap();
    let text = |name: &str| record["token"][name].as_str().unwrap().to_owned();
    Grant { access: text("access"), refresh: text("refresh"), expires_in: None }
}

on_each_store! {
    p19_oidc_provider_revokes_no_grant;
}

async fn p19_oidc_provider_revokes_no_grant(store: Store) {
    let Some(record) = Record::new(store).await else { return };
    let Some(server) = Server::start(Kind::Oidc, &[]) else { return };
    let provider = Provider {
        token_url: server.token_url(),
        api_url: server.resource_url(),
        client_id: "web".to_owned(),
        client_secret: "web-secret".to_owned(),
    };
    let settings = Settings {
        server: server.url().to_owned(),
        provider: Some(provider),
        store: record.store().await,
        record: record.name(),
        ..with_callers(5)
    };
    let mut processes = Vec::new();
    for _ in 0..6 {
        processes.push(this_program().start(&settings).await.unwrap());
    }
    let Grant { access, refresh, .. } = server.sign_in().await;
    processes[0].run(Command::SignIn(Credential { access, refresh })).await.unwrap();
    for expiry in 1..=30 {
        server.expire(&grant(&record).await.access).await;
        if expiry % 2 == 0 {
            // The first one has presented the token when the others find theirs expired.
            server.hold_next().await;
            processes[0].send(&Command::Call).await;
            server.granted(expiry).await;
            for process in &mut processes[1..] {
                process.send(&Command::Call).await;
            }
            server.release().await;
        } else {
            for process in &mut processes {
                process.send(&Command::Call).await;
            }
        }
        let outcome = called(&mut processes).await;
        assert_eq!((outcome.ok, outcome.failed), (30, 0), "expiry {expiry}: {outcome:?}");
        assert_eq!(server.refreshes().await, (expiry, 0));
    }
    let grant = grant(&record).await;
    assert_eq!(server.is_alive(&grant).await, Some(true));
    assert_eq!(server.call(&grant.access).await, 200);
}
