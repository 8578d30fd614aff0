//! The shell on real loopback sockets, against the hand-written business.

use super::rehearsal::rehearse_with;
use super::*;
use crate::business::{Business, Misdeed};
use crate::correlate::tests::speech as voice;
use serde_json::json;

/// A loaded machine is not what is tested.
fn patient() -> SimConfig {
    let mut config = SimConfig::new("");
    config.limits.client_hello = Span::from_secs(2);
    config.limits.first_rtp = Span::from_secs(2);
    config.limits.webhook_answer = Span::from_secs(5);
    config
}

async fn act(graph: &str, action: &str, call_id: &str, sdp: &str) -> u16 {
    let account = Account::default();
    let body = json!({"messaging_product": "whatsapp", "call_id": call_id, "action": action,
        "session": {"sdp_type": "answer", "sdp": sdp}});
    let request = reqwest::Client::new()
        .post(format!("{graph}/v25.0/{}/calls", account.phone_number_id))
        .header("authorization", format!("Bearer {}", account.access_token))
        .header("content-type", "application/json")
        .body(body.to_string());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn one_call_over_loopback_with_http_and_udp() {
    let greeting: Arc<[i16]> = voice(700).into();
    let business = Business::new(greeting.clone(), &[]).unwrap();
    let script = UserScript { hang_up_after: Some(Span::from_millis(1_500)), ..UserScript::default() };
    let (mut report, business) = rehearse_with(patient(), script, business, &[]).await.unwrap();
    report.judge_speech(greeting);
    assert!(!report.is_cut_off);
    assert_eq!(report.failures(), Vec::<&Verdict>::new());
    assert!(report.verdicts.iter().any(|v| v.rule == "R-31" && v.seen));
    assert!(!business.heard.is_empty() && report.stages.first_rtp.is_some());
}

#[tokio::test]
async fn a_business_that_speaks_too_early_is_caught_on_loopback() {
    let script = UserScript { hang_up_after: Some(Span::from_millis(800)), ..UserScript::default() };
    let report = rehearse(patient(), script, &[Misdeed::MediaBeforeAccept], voice(700).into()).await.unwrap();
    assert!(report.failures().iter().any(|v| v.rule == Misdeed::MediaBeforeAccept.rule()));
}

#[tokio::test]
async fn graph_refuses_strangers_and_calls_nobody_waits_for() {
    let sim = Sim::start(SimConfig::new("http://127.0.0.1:9/")).await.unwrap();
    let graph = sim.graph_url();
    assert_eq!(act(&graph, "terminate", "wacid.unknown", "").await, 400);
    let body = json!({"messaging_product": "whatsapp", "to": "1", "action": "connect", "session": {"sdp_type": "offer", "sdp": "v=0\r\n"}});
    let url = format!("{graph}/v25.0/{}/calls", Account::default().phone_number_id);
    let client = reqwest::Client::new();
    let request = || client.post(&url).body(body.to_string());
    assert_eq!(request().send().await.unwrap().status(), 401);
    let reply = request().header("authorization", "Bearer meta-sim-token").send().await.unwrap();
    assert!(reply.status() == 400 && reply.text().await.unwrap().contains("138001"));
}
