//! A bot between a call and a speech model with an interface like OpenAI's Realtime API: 24 kHz PCM, base64 in JSON. The model here is a local fake that repeats a second of
//! what it hears; put your model's address in its place.
//!
//! ```text
//! cargo run --example realtime_bot
//! ```

mod world;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};
use world::World;

/// The bot: audio of the call (binary L16) to the model, the model's audio to the call. What the caller says while the model speaks silences it.
async fn bot(listener: TcpListener, model: String) {
    let (stream, _) = listener.accept().await.expect("the daemon connects");
    let mut call = accept_async(stream).await.expect("a WebSocket");
    let (mut model, _) = connect_async(model).await.expect("the model");
    let session = json!({ "type": "session.update", "session": { "input_audio_format": "pcm16", "output_audio_format": "pcm16" } });
    model.send(Message::text(session.to_string())).await.expect("the model listens");
    loop {
        tokio::select! {
            heard = call.next() => match heard {
                Some(Ok(Message::Binary(pcm))) => {
                    let append = json!({ "type": "input_audio_buffer.append", "audio": STANDARD.encode(pcm) });
                    let _ = model.send(Message::text(append.to_string())).await;
                }
                Some(Ok(_)) => {}
                _ => return,
            },
            said = model.next() => {
                let Some(Ok(message)) = said else { return };
                let event: Value = serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
                let answer = match event["type"].as_str() {
                    Some("response.audio.delta") => Message::binary(STANDARD.decode(event["delta"].as_str().unwrap_or_default()).expect("base64")),
                    Some("input_audio_buffer.speech_started") => Message::text(json!({ "event": "clear" }).to_string()),
                    _ => continue,
                };
                let _ = call.send(answer).await;
            }
        }
    }
}

/// The fake model: a second of audio in, `speech_started` and the same second out.
async fn model(listener: TcpListener) {
    let (stream, _) = listener.accept().await.expect("the bot connects");
    let mut socket = accept_async(stream).await.expect("a WebSocket");
    let mut heard = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        let event: Value = serde_json::from_str(message.to_text().unwrap_or_default()).unwrap_or_default();
        heard.extend(STANDARD.decode(event["audio"].as_str().unwrap_or_default()).expect("base64"));
        if heard.len() >= 2 * 24_000 {
            let delta = json!({ "type": "response.audio.delta", "delta": STANDARD.encode(std::mem::take(&mut heard)) });
            for event in [json!({ "type": "input_audio_buffer.speech_started" }), delta] {
                let _ = socket.send(Message::text(event.to_string())).await;
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (ears, mind) = (TcpListener::bind("127.0.0.1:0").await.expect("a port"), TcpListener::bind("127.0.0.1:0").await.expect("a port"));
    let url = format!("ws://{}/", ears.local_addr().expect("bound"));
    tokio::spawn(bot(ears, format!("ws://{}/", mind.local_addr().expect("bound"))));
    tokio::spawn(model(mind));
    let (world, mut api) = World::start(Some(url.clone())).await;
    let user = world.user(300, &[], Some(5_000));
    loop {
        let event = api.next().await;
        let bridge = json!({ "bridge": { "kind": "ws", "ws": { "url": url, "protocol": "l16", "rate": 24_000 } } });
        match event["type"].as_str() {
            Some("call.offered") => api.post(&event, "accept", bridge).await,
            Some("call.ended") => break,
            _ => {}
        }
    }
    let loud = user.await.expect("the user").heard_pcm.iter().filter(|s| s.unsigned_abs() > 1_000).count();
    println!("the user heard {:.1} s of loud samples", loud as f64 / 16_000.0);
    assert!(loud > 1_600, "the model was heard");
    world.stop().await;
}

#[test]
fn it_converses() {
    main();
}
