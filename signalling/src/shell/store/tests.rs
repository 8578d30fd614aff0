//! The store against its own promise: what it said is kept is there after it was left in the middle.

use super::*;

fn scratch(name: &str) -> StoreConfig {
    let dir = std::env::temp_dir().join(format!("tipring-store-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    StoreConfig::new(dir.join("store.redb"))
}

fn delivery(text: &str) -> KeptDelivery {
    KeptDelivery {
        app: "main".into(),
        signature: "sha256=00".into(),
        content_type: "application/json".into(),
        at_unix_ms: 1_795_300_000_123,
        body: bytes::Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn wacid(text: &str) -> Wacid {
    Wacid::new(text).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

const NOW: i64 = 1_795_300_000;

#[test]
fn what_nobody_dealt_with_is_found_again_in_order() {
    let config = scratch("again");
    runtime().block_on(async {
        let (store, found) = Store::open(&config, NOW).unwrap();
        assert!(found.deliveries.is_empty() && found.open.is_empty() && found.ended.is_empty());
        let first = store.keep(&delivery("one\ntwo")).await.unwrap();
        let second = store.keep(&delivery("second")).await.unwrap();
        let third = store.keep(&delivery("third")).await.unwrap();
        let elsewhere = second.clone();
        drop(second);
        drop(elsewhere);
        store.freeze();
        drop((first, third));
        drop(store);

        let (store, found) = Store::open(&config, NOW).unwrap();
        let bodies: Vec<_> = found.deliveries.iter().map(|(kept, _)| kept.body.clone()).collect();
        assert_eq!(bodies, [&b"one\ntwo"[..], b"third"]);
        assert_eq!(found.deliveries[0].0, delivery("one\ntwo"));
        drop(found);
        // New numbers do not meet old ones.
        let fourth = store.keep(&delivery("fourth")).await.unwrap();
        fourth.leave();
        drop(store);
        let (_, found) = Store::open(&config, NOW).unwrap();
        assert_eq!(found.deliveries.iter().map(|(kept, _)| kept.body.clone()).collect::<Vec<_>>(), [&b"fourth"[..]]);
    });
}

#[test]
fn calls_are_open_until_they_have_ended_and_then_remembered() {
    let config = scratch("calls");
    runtime().block_on(async {
        let (store, _) = Store::open(&config, NOW).unwrap();
        let known = |id: &str| OpenCall::Known { wacid: wacid(id), phone_number_id: "1047".into() };
        let dial =
            Dial { phone_number_id: "1047".into(), to: Personal::new("447700900123"), recipient: None, biz_opaque: Some("leg=1".into()) };
        assert!(store.opening(CallKey(1), &known("wacid.A")).unwrap().await.unwrap());
        assert!(store.opening(CallKey(1), &known("wacid.A")).is_none(), "once is enough");
        assert!(store.opening(CallKey(2), &known("wacid.B")).unwrap().await.unwrap());
        assert!(store.opening(CallKey(3), &OpenCall::Dialled(Box::new(dial.clone()))).unwrap().await.unwrap());
        assert!(store.opening(CallKey(4), &OpenCall::Dialled(Box::new(dial))).unwrap().await.unwrap());
        store.named(CallKey(4), &known("wacid.D"));
        store.ended(CallKey(2), Some(&wacid("wacid.B")), NOW);
        store.ended(CallKey(0), Some(&wacid("wacid.Z")), NOW - 1);
        drop(store);

        let (store, found) = Store::open(&config, NOW).unwrap();
        let open: Vec<_> = found.open.iter().map(|(_, call)| format!("{call:?}")).collect();
        assert_eq!(open.len(), 3, "{open:?}");
        assert!(matches!(&found.open[0].1, OpenCall::Known { wacid, .. } if wacid.as_str() == "wacid.A"));
        let OpenCall::Dialled(dial) = &found.open[1].1 else { panic!("{open:?}") };
        assert_eq!((dial.to.as_ref().unwrap().reveal(), dial.biz_opaque.as_deref()), ("447700900123", Some("leg=1")));
        assert!(matches!(&found.open[2].1, OpenCall::Known { wacid, .. } if wacid.as_str() == "wacid.D"));
        assert_eq!(found.ended, [wacid("wacid.Z"), wacid("wacid.B")]);
        store.adopted(CallKey(1), found.open[0].0);
        store.ended(CallKey(1), Some(&wacid("wacid.A")), NOW);
        drop(store);
        let (_, found) = Store::open(&config, NOW + ENDED_KEPT_S).unwrap();
        assert_eq!((found.open.len(), found.ended.len()), (2, 0), "two days later nobody asks for the ended ones");
    });
}

#[test]
fn the_file_is_bounded_private_and_has_one_owner() {
    use std::os::unix::fs::PermissionsExt;
    let config = StoreConfig { bytes_max: 4_096, ..scratch("bounds") };
    runtime().block_on(async {
        let (store, _) = Store::open(&config, NOW).unwrap();
        assert_eq!(std::fs::metadata(&config.file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(Store::open(&config, NOW).err().is_some_and(|e| e.contains("another process")));
        let big = delivery(&"x".repeat(2_000));
        let first = store.keep(&big).await.unwrap();
        assert_eq!(store.keep(&big).await.err(), Some(NotKept::Full));
        drop(first);
        assert!(store.keep(&big).await.is_ok(), "what was dealt with makes room");
        let nowhere = StoreConfig::new("/nonexistent/store.redb".into());
        assert!(Store::open(&nowhere, NOW).err().is_some_and(|e| e.contains("store.file")));
    });
}

#[test]
fn many_at_once_share_a_commit() {
    let config = scratch("many");
    runtime().block_on(async {
        let (store, _) = Store::open(&config, NOW).unwrap();
        let store = Arc::new(store);
        let all: Vec<_> = (0..500)
            .map(|n| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.keep(&delivery(&format!("{n}"))).await.map(Receipt::leave) })
            })
            .collect();
        for one in all {
            one.await.unwrap().unwrap();
        }
        drop(store);
        let (_, found) = Store::open(&config, NOW).unwrap();
        assert_eq!(found.deliveries.len(), 500);
    });
}
