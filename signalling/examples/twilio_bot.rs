//! A bot that speaks Twilio's Media Streams protocol: it listens for a second, says it back, and waits for the mark that tells that it was heard.
//!
//! ```text
//! cargo run --example twilio_bot
//! ```

mod world;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;
use world::World;

/// The bot itself: any server of that protocol does. Returns how often it was heard to the end.
async fn bot(listener: TcpListener) -> usize {
    let (stream, _) = listener.accept().await.expect("the daemon connects");
    let mut socket = accept_async(stream).await.expect("a WebSocket");
    let (mut listened, mut marks) = (Vec::new(), 0);
    while let Some(Ok(message)) = socket.next().await {
        let Ok(event) = serde_json::from_str::<Value>(message.to_text().unwrap_or_default()) else { continue };
        match event["event"].as_str() {
            Some("media") => {
                // 20 ms of mu-law, 8 kHz.
                listened.extend(STANDARD.decode(event["media"]["payload"].as_str().unwrap_or_default()).expect("base64"));
                if listened.len() >= 8_000 {
                    let payload = STANDARD.encode(std::mem::take(&mut listened));
                    let answers = [
                        json!({ "event": "media", "streamSid": event["streamSid"], "media": { "payload": payload } }),
                        json!({ "event": "mark", "streamSid": event["streamSid"], "mark": { "name": "said" } }),
                    ];
                    for answer in answers {
                        // The call may be over.
                        let _ = socket.send(Message::text(answer.to_string())).await;
                    }
                }
            }
            Some("mark") => marks += 1,
            Some("stop") => break,
            _ => {}
        }
    }
    marks
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    let bot = tokio::spawn(bot(listener));
    let (world, mut api) = World::start(Some(url.clone())).await;
    let user = world.user(300, &[], Some(5_000));
    loop {
        let event = api.next().await;
        match event["type"].as_str() {
            Some("call.offered") => api.post(&event, "accept", json!({ "bridge": { "kind": "ws", "ws": { "url": url } } })).await,
            Some("call.ended") => break,
            _ => {}
        }
    }
    let (marks, heard) = (bot.await.expect("the bot"), user.await.expect("the user").heard_pcm);
    println!("{marks} answers were heard to their end");
    assert!(marks >= 2 && heard.iter().any(|s| s.unsigned_abs() > 1_000), "{marks} marks");
    world.stop().await;
}

#[test]
fn it_answers() {
    main();
}
