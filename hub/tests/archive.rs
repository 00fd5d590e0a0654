//! The cluster's store. Every test of `both!` runs on SQLite and on a real PostgreSQL.

/// Names tests, each an `async fn(Rig)`, that run on both kinds of database.
macro_rules! both {
    ($($name:ident)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::archive::rig::Rig::sqlite().await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::archive::rig::Rig::postgres().await).await;
            })+
        }
    };
}

mod answers;
mod any_order;
mod failing;
mod ingest;
mod killed;
mod outcomes;
mod pods;
mod queries;
mod rig;
mod runs;
mod scoring;
mod server;
