//! What the server itself does whenever stored objects of a kind change.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::BoxFuture;

use crate::server::{Inner, Server};

/// Looks now, after each change under `prefix`, and when the time is up that the last look named; until the server stops.
pub(crate) fn follow(server: &Server, prefix: String, look: for<'a> fn(&'a Server) -> BoxFuture<'a, Duration>) {
    tokio::spawn(run(Arc::downgrade(&server.0), prefix, look));
}

async fn run(weak: Weak<Inner>, prefix: String, look: for<'a> fn(&'a Server) -> BoxFuture<'a, Duration>) {
    loop {
        let Some(server) = weak.upgrade().map(Server) else { return };
        let Ok(mut watch) = server.0.store.watch(&prefix, server.0.store.revision()) else { return };
        let stop = server.stopping();
        drop(server);
        loop {
            let Some(server) = weak.upgrade().map(Server) else { return };
            let again = look(&server).await;
            drop(server);
            tokio::select! {
                () = stop.cancelled() => return,
                event = watch.next() => if event.is_none() { break },
                () = tokio::time::sleep(again) => {}
            }
        }
    }
}
