//! A menu with prompts and keys: 1 tells the opening hours, 2 repeats what the caller says, # says goodbye.
//!
//! ```text
//! cargo run --example ivr
//! ```

mod world;

use serde_json::json;
use world::World;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (world, mut api) = World::start(None).await;
    // Who calls here types 1, listens for two seconds, types 2, says something, and types #.
    let user = world.user(4_000, &[(1_000, "1"), (3_500, "2"), (6_000, "#")], None);
    let mut typed = String::new();
    let disposition = loop {
        let event = api.next().await;
        match event["type"].as_str() {
            Some("call.offered") => api.post(&event, "accept", json!({ "bridge": { "kind": "play", "prompt": "menu" } })).await,
            Some("call.dtmf") => {
                let digit = event["data"]["digit"].as_str().unwrap_or_default();
                typed.push_str(digit);
                match digit {
                    // Whatever is playing stops at once: people know the menu.
                    "1" => api.post(&event, "play", json!({ "prompt": "hours" })).await,
                    "2" => api.post(&event, "bridge", json!({ "kind": "echo" })).await,
                    "#" => api.post(&event, "terminate", json!({})).await,
                    _ => api.post(&event, "play", json!({ "prompt": "menu" })).await,
                }
            }
            Some("call.ended") => break event["data"]["disposition"].to_string(),
            _ => {}
        }
    };
    let report = user.await.expect("the user");
    println!("typed {typed}, {disposition}, the user heard {} s", report.heard_pcm.len() / 16_000);
    assert_eq!((typed.as_str(), disposition.as_str()), ("12#", "\"completed\""));
    assert!(report.heard_pcm.iter().any(|s| s.unsigned_abs() > 1_000), "prompts were heard");
    world.stop().await;
}

#[test]
fn it_serves_the_menu() {
    main();
}
