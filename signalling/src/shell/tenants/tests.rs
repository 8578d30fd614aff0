//! Changes while others read.

use super::*;
use crate::config::{BridgeConfig, WebhookConfig};

fn number(id: &str, token: &str) -> NumberConfig {
    NumberConfig::new(id, Secret::new(token))
}

fn app(name: &str) -> AppConfig {
    AppConfig {
        name: name.into(),
        path: "/webhook".into(),
        verify_token: Secret::new("v"),
        app_secrets: vec![Secret::new("s")],
        forward_other_to: None,
    }
}

fn config(numbers: Vec<NumberConfig>) -> Config {
    Config {
        webhook: Some(WebhookConfig::new(Secret::new("verify"), vec![Secret::new("secret")])),
        apps: vec![app("calls"), app("messages")],
        numbers,
        ..Config::default()
    }
}

fn token(tenants: &Tenants, id: &str) -> Option<String> {
    tenants.now().token(id).map(|t| t.expose().to_owned())
}

//= meta#R-04 type=test
//= meta#R-14 type=test
#[test]
fn an_event_is_ours_by_number_and_app() {
    let mut of_calls = number("1", "t");
    of_calls.app = Some("calls".into());
    let mut observed = number("3", "");
    observed.role = NumberRole::ReceiveOnly;
    let mut direct = number("4", "");
    direct.role = NumberRole::Direct;
    let table = Table::of(&config(vec![of_calls, number("2", "t"), observed, direct]));
    let rows = [
        ("1", "calls", Owner::Us),
        ("1", "messages", Owner::OtherApp),
        ("2", "messages", Owner::Us),
        ("3", "calls", Owner::Observed),
        ("4", "calls", Owner::Nobody),
        ("5", "calls", Owner::Nobody),
    ];
    for (number, app, owner) in rows {
        assert_eq!(table.owner(number, app), owner, "{number} by {app}");
    }
    assert_eq!(table.apps_at("/webhook").count(), 3);
    assert_eq!(table.token("3").map(Secret::expose), None);
}

//= meta#R-05 type=test
#[test]
fn numbers_come_change_and_go_while_their_calls_go_on() {
    let tenants = Tenants::of(&config(vec![number("1", "file")]));
    let before = tenants.now();
    assert_eq!(tenants.put(number("2", "first")), Ok(true));
    assert_eq!(tenants.put(number("2", "second")), Ok(false));
    assert_eq!(tenants.put(number("1", "x")), Err(NotChanged::InFile));
    let mut lost = number("3", "t");
    lost.app = Some("nobody".into());
    assert_eq!(tenants.put(lost), Err(NotChanged::UnknownApp));
    assert!(before.number("2").is_none(), "a reader's table does not change");
    assert_eq!(token(&tenants, "2").as_deref(), Some("second"));
    assert_eq!(tenants.remove("2"), Ok(()));
    assert!(tenants.now().number("2").is_none());
    assert_eq!(token(&tenants, "2").as_deref(), Some("second"), "its last calls must be ended");
    assert_eq!((tenants.remove("2"), tenants.remove("1")), (Err(NotChanged::Unknown), Err(NotChanged::InFile)));
}

#[test]
fn a_reload_replaces_the_file_and_keeps_the_rest() {
    let tenants = Tenants::of(&config(vec![number("1", "old"), number("2", "gone soon")]));
    tenants.put(number("9", "api")).unwrap();
    assert!(tenants.told_keying("1", KeyExchange::Sdes) && !tenants.told_keying("1", KeyExchange::Sdes));
    assert_eq!(tenants.now().sdes_numbers().len(), 1);
    tenants.reload(&config(vec![number("1", "new"), number("3", "t")]));
    let known: Vec<String> = tenants.now().numbers().map(|(id, _)| id.to_string()).collect();
    assert_eq!(known, ["1", "3", "9"]);
    assert_eq!((token(&tenants, "1").as_deref(), token(&tenants, "2").as_deref()), (Some("new"), Some("gone soon")));
    assert_eq!(tenants.now().sdes_numbers().len(), 1, "Meta's word holds");
    let mut said = number("1", "new");
    said.keying = KeyExchange::Sdes;
    said.bridge = BridgeConfig::ECHO;
    tenants.reload(&config(vec![said]));
    assert!(tenants.told_keying("1", KeyExchange::Dtls), "and the other way round");
    assert!(tenants.now().sdes_numbers().is_empty());
}
