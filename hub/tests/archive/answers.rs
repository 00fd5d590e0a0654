//! Stored answers: who finds them, and which go.

use agentrun_hub::archive::{Kind, Scope};
use bytes::Bytes;

use super::rig::{NAME, NAMESPACE, Rig, UID, registration};

both! {
    an_answer_is_found_in_its_scope_alone
    the_oldest_answers_go_when_there_are_too_many
    as_many_answers_go_as_it_takes
    a_runs_answers_go_with_it
}

async fn an_answer_is_found_in_its_scope_alone(mut rig: Rig) {
    let run = rig.register().await;
    let other = rig.archive.register(NAMESPACE, "other", registration("other")).await.unwrap();
    let scopes = [
        Scope::Run(run),
        Scope::Run(other),
        Scope::Namespace("a".to_owned()),
        Scope::Namespace("b".to_owned()),
        Scope::Namespace(String::new()),
        Scope::Shared,
    ];
    let text = |scope: &Scope| Bytes::from(format!("{scope:?}"));
    for scope in &scopes {
        assert_eq!(rig.archive.answer(scope, &[1; 32]).await.unwrap(), None, "{scope:?}");
        rig.archive.keep_answer(scope, [1; 32], Bytes::from_static(b"before")).await.unwrap();
        rig.archive.keep_answer(scope, [1; 32], text(scope)).await.unwrap();
    }
    rig.reopen().await;
    for scope in &scopes {
        assert_eq!(rig.archive.answer(scope, &[1; 32]).await.unwrap(), Some(text(scope)));
        assert_eq!(rig.archive.answer(scope, &[2; 32]).await.unwrap(), None);
    }
    let large = vec![0; (8 << 20) + 1];
    assert_eq!(rig.archive.keep_answer(&Scope::Shared, [3; 32], large.into()).await.unwrap_err().kind(), Kind::TooLarge);
}

async fn the_oldest_answers_go_when_there_are_too_many(mut rig: Rig) {
    rig.settings.answer_bytes = 100_000;
    rig.reopen().await;
    for index in 0..20_u8 {
        rig.archive.keep_answer(&Scope::Shared, [index; 32], vec![index; 10_000].into()).await.unwrap();
    }
    // The oldest go in the background: each question below is another chance for them to have gone.
    let gone = async || rig.archive.answer(&Scope::Shared, &[0; 32]).await.unwrap().is_none();
    while !gone().await {
        tokio::task::yield_now().await;
    }
    let mut left = Vec::new();
    for index in 0..20_u8 {
        left.extend(rig.archive.answer(&Scope::Shared, &[index; 32]).await.unwrap().map(|_| index));
    }
    assert!(left.ends_with(&[17, 18, 19]), "{left:?}");
    assert!(left.is_sorted() && left.len() < 20);
}

async fn as_many_answers_go_as_it_takes(mut rig: Rig) {
    let key = |index: u64| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&index.to_be_bytes());
        key
    };
    // Committed together.
    let stored = (0..600).map(|index| rig.archive.keep_answer(&Scope::Shared, key(index), vec![1; 100].into()));
    futures::future::try_join_all(stored).await.unwrap();
    rig.settings.answer_bytes = 30_000;
    rig.reopen().await;
    rig.archive.keep_answer(&Scope::Shared, key(600), vec![1; 100].into()).await.unwrap();
    let count = async || {
        let mut count = 0;
        for index in 0..=600 {
            count += u64::from(rig.archive.answer(&Scope::Shared, &key(index)).await.unwrap().is_some());
        }
        count
    };
    // Nine tenths of the room stay taken, and one more where the last came after the others were counted. More go than are removed at once.
    let left = loop {
        match count().await {
            272.. => tokio::task::yield_now().await,
            left => break left,
        }
    };
    assert!(left >= 270, "{left}");
    assert!(rig.archive.answer(&Scope::Shared, &key(600)).await.unwrap().is_some());
}

async fn a_runs_answers_go_with_it(rig: Rig) {
    let run = rig.register().await;
    rig.archive.keep_answer(&Scope::Run(run), [1; 32], Bytes::from_static(b"x")).await.unwrap();
    rig.archive.delete(NAMESPACE, NAME, UID).await.unwrap();
    while rig.archive.answer(&Scope::Run(run), &[1; 32]).await.unwrap().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.archive.keep_answer(&Scope::Run(run), [1; 32], Bytes::from_static(b"x")).await.unwrap_err().kind(), Kind::NotFound);
}
