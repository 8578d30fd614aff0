//! The smallest application: takes every call and lets the caller hear the own words.
//!
//! ```text
//! cargo run --example echo_bot
//! ```

mod world;

use serde_json::json;
use tipring_meta_sim::correlate::correlate;
use world::{World, voice};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (world, mut api) = World::start(None).await;
    let user = world.user(500, &[], Some(6_000));
    loop {
        let event = api.next().await;
        match event["type"].as_str() {
            Some("call.offered") => api.post(&event, "accept", json!({ "bridge": { "kind": "echo" } })).await,
            Some("call.ended") => break println!("{}", event["data"]),
            _ => {}
        }
    }
    let heard = correlate(&voice(), &user.await.expect("the user").heard_pcm, 16_000).expect("something");
    println!("the user heard {} of {} ms", heard.sounding_ms - heard.lost_ms, heard.sounding_ms);
    assert!(heard.peak > 0.5 && heard.lost_ms * 2 < heard.sounding_ms, "{heard:?}");
    world.stop().await;
}

#[test]
fn it_echoes() {
    main();
}
