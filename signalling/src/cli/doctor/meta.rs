//! What of Meta's side a call needs: the clock, the webhook URL, tokens and their scopes, subscriptions, eligibility (1.2).

use super::Report;
use crate::config::{Config, NumberConfig, Secret};
use crate::shell::{GraphClient, Tenants, unix_now};
use crate::verdict::Verdict;
use reqwest::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn look(config: &Config, webhook_url: Option<&str>, report: &mut Report) {
    let graph = match GraphClient::new(&config.graph, Arc::new(Tenants::of(config))) {
        Ok(graph) => graph,
        Err(why) => return report.fail("Graph", why, "correct [graph]"),
    };
    look_at_clock(&graph, report).await;
    let mut url = webhook_url.map(str::to_owned);
    for number in &config.numbers {
        let told = look_at_number(config, &graph, number, report).await;
        url = url.or(told);
    }
    match (&config.webhook, url) {
        (Some(webhook), Some(url)) => look_at_webhook(&url, &webhook.verify_token, report).await,
        _ => report.skip("webhook URL", "Meta tells none: name it by --webhook-url"),
    }
}

async fn look_at_clock(graph: &GraphClient, report: &mut Report) {
    match graph.date().await {
        // Meta's timestamps decide whether a webhook is too old to be answered.
        Some(theirs) => match unix_now() - theirs {
            off if off.abs() <= CLOCK_OFF_MAX_S => report.pass("clock", format!("{} s off Graph's", off.abs())),
            off => report.fail(
                "clock",
                format!("{off} s off Graph's: calls would be taken for missed, or kept too long"),
                "run an NTP client, for example chrony",
            ),
        },
        None => report.fail("Graph", "it does not answer", "let HTTPS out to graph.facebook.com; look at DNS and proxy"),
    }
}

/// Looks at all that belongs to a number; returns the webhook URL that Meta tells.
async fn look_at_number(config: &Config, graph: &GraphClient, number: &NumberConfig, report: &mut Report) -> Option<String> {
    let id = number.phone_number_id.as_str();
    let token = Some(&number.access_token);
    let query = [("input_token", number.access_token.expose())];
    let name = format!("token of {id}");
    let debug = match graph.request("debug_token", (Method::GET, "debug_token"), &query, token, None).await {
        Ok(body) => body["data"].clone(),
        Err(verdict) => {
            refused(report, &name, &verdict);
            Value::Null
        }
    };
    if debug.is_object() {
        look_at_token(&name, &debug, report);
    }
    let waba = debug.pointer("/granular_scopes").and_then(Value::as_array).into_iter().flatten();
    let waba = waba.filter(|s| s["scope"] == MANAGEMENT).find_map(|s| s.pointer("/target_ids/0")).map(word);
    if let Some(app) = debug.get("app_id").map(word) {
        look_at_subscriptions(config, graph, &app, waba.as_deref(), &number.access_token, report).await;
    }
    look_at_eligibility(graph, id, waba.as_deref(), &number.access_token, report).await
}

fn look_at_token(name: &str, debug: &Value, report: &mut Report) {
    let scopes: Vec<&str> = debug["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let lacking: Vec<&str> = [MESSAGING, MANAGEMENT].into_iter().filter(|scope| !scopes.contains(scope)).collect();
    let ends = debug["expires_at"].as_i64().filter(|at| *at > 0).map(|at| (at - unix_now()) / 86_400);
    if debug["is_valid"] != true {
        report.fail(name, "it is not valid", "make a new system-user token and configure it");
    } else if !lacking.is_empty() {
        report.fail(name, format!("it lacks {}", lacking.join(" and ")), "give the system user these permissions, and make a new token");
    } else if let Some(days) = ends.filter(|days| *days < 14) {
        report.fail(name, format!("it ends in {days} day(s)"), "make a system-user token that does not expire");
    } else {
        report.pass(name, format!("valid, {MESSAGING} and {MANAGEMENT}{}", ends.map_or(String::new(), |d| format!(", for {d} days"))));
    }
}

async fn look_at_subscriptions(config: &Config, graph: &GraphClient, app: &str, waba: Option<&str>, token: &Secret, report: &mut Report) {
    let name = format!("webhook fields of app {app}");
    let mut answer = Err(None);
    let of_apps = config.apps.iter().flat_map(|app| &app.app_secrets);
    for secret in config.webhook.iter().flat_map(|webhook| &webhook.app_secrets).chain(of_apps) {
        let app_token = Secret::new(format!("{app}|{}", secret.expose()));
        match graph.request("subscriptions", (Method::GET, &format!("{app}/subscriptions")), &[], Some(&app_token), None).await {
            Ok(body) => {
                answer = Ok(body);
                break;
            }
            Err(verdict) => answer = Err(Some(verdict)),
        }
    }
    match answer {
        Ok(body) => {
            let subscriptions = body["data"].as_array().into_iter().flatten().filter(|s| s["object"] == "whatsapp_business_account");
            let fields: Vec<String> = subscriptions
                .flat_map(|s| s["fields"].as_array().into_iter().flatten())
                .map(|f| word(f.get("name").unwrap_or(f)))
                .collect();
            let lacking: Vec<&str> = FIELDS.into_iter().filter(|field| !fields.iter().any(|f| f == field)).collect();
            if lacking.is_empty() {
                report.pass(&name, fields.join(", "));
            } else {
                report.fail(
                    &name,
                    format!("not subscribed: {}", lacking.join(", ")),
                    "subscribe them in the App Dashboard, WhatsApp, Configuration",
                );
            }
        }
        //= meta#R-15  the app of the token should be the one whose webhooks come here
        Err(Some(verdict)) if verdict.code == "META_190" => {
            report.fail(
                &name,
                "none of webhook.app_secrets is the secret of the app that made the token",
                "configure the secret of that app, or a token of the app whose webhooks come here",
            );
        }
        Err(Some(verdict)) => refused(report, &name, &verdict),
        Err(None) => report.skip(&name, "no [webhook] is configured"),
    }
    let name = "subscription of the account";
    let Some(waba) = waba else { return report.skip(name, "the token does not tell the WhatsApp Business Account") };
    match graph.request("subscribed_apps", (Method::GET, &format!("{waba}/subscribed_apps")), &[], Some(token), None).await {
        Ok(body) => {
            let mut apps = body["data"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| a.pointer("/whatsapp_business_api_data/id").or_else(|| a.get("id")));
            if apps.any(|id| word(id) == app) {
                report.pass(name, "our app hears of it");
            } else {
                report.fail(
                    name,
                    "our app is not on its list: no webhook will come",
                    format!("POST /{waba}/subscribed_apps, or `tipring signup`"),
                );
            }
        }
        Err(verdict) => refused(report, name, &verdict),
    }
}

async fn look_at_eligibility(graph: &GraphClient, id: &str, waba: Option<&str>, token: &Secret, report: &mut Report) -> Option<String> {
    let name = format!("calling of {id}");
    match graph.settings(id).await {
        Ok(calling) => {
            let restrictions = calling.pointer("/restrictions/restrictions_list").and_then(Value::as_array).map_or(0, Vec::len);
            if !calling["status"].as_str().is_some_and(|s| s.eq_ignore_ascii_case("ENABLED")) {
                report.fail(&name, "it is switched off", "tipring settings set status=ENABLED");
            } else if restrictions > 0 {
                report.fail(
                    &name,
                    format!("{restrictions} restriction(s) by Meta"),
                    "see the account quality page in WhatsApp Manager; they end by themselves after 7 days",
                );
            } else if calling.pointer("/sip/status").and_then(Value::as_str).is_some_and(|s| s.eq_ignore_ascii_case("ENABLED")) {
                report.fail(&name, "it is set to SIP: Graph may not handle its calls (131055)", "tipring settings set sip.status=DISABLED");
            } else {
                report.pass(&name, "switched on, no restriction");
            }
        }
        Err(verdict) => refused(report, &name, &verdict),
    }
    let name = format!("eligibility of {id}");
    let fields = [("fields", "whatsapp_business_manager_messaging_limit,health_status,webhook_configuration")];
    let body = match graph.request("number", (Method::GET, id), &fields, Some(token), None).await {
        Ok(body) => body,
        Err(verdict) => {
            refused(report, &name, &verdict);
            return None;
        }
    };
    let blocked: Vec<String> = body
        .pointer("/health_status/entities")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter(|e| e["can_send_message"] == "BLOCKED")
        .map(|e| word(&e["entity_type"]))
        .collect();
    if body["whatsapp_business_manager_messaging_limit"] == "TIER_250" {
        report.fail(
            &name,
            "the messaging limit is below 2000: calling cannot be enabled (138015)",
            "raise the messaging limit of the portfolio first",
        );
    } else if !blocked.is_empty() {
        report.fail(
            &name,
            format!("Meta blocks {}", blocked.join(", ")),
            "see health_status of the number: each entity tells its solution",
        );
    } else {
        report.pass(&name, "messaging limit and health are good");
    }
    if let Some(waba) = waba {
        match graph.request("account", (Method::GET, waba), &[("fields", "primary_funding_id")], Some(token), None).await {
            Ok(account) if account.get("primary_funding_id").is_some() => report.pass("payment", "a method is attached"),
            Ok(_) => report.fail(
                "payment",
                "no payment method is attached: users' calls fail with 131044",
                "add one in WhatsApp Manager, or share a credit line",
            ),
            Err(verdict) => refused(report, "payment", &verdict),
        }
    }
    let urls = &body["webhook_configuration"];
    ["phone_number", "whatsapp_business_account", "application"].iter().find_map(|k| urls[*k].as_str()).map(str::to_owned)
}

/// Does what Meta does when the URL is set: asks for the challenge back.
async fn look_at_webhook(url: &str, verify_token: &Secret, report: &mut Report) {
    let name = "webhook URL";
    let challenge = "1158201444";
    let query = [("hub.mode", "subscribe"), ("hub.verify_token", verify_token.expose()), ("hub.challenge", challenge)];
    let Ok(parsed) = reqwest::Url::parse_with_params(url, query) else {
        return report.fail(name, "it is not a URL", "write https://HOST/PATH");
    };
    let is_loopback =
        parsed.host_str().is_some_and(|h| h.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    if parsed.scheme() != "https" && !is_loopback {
        return report.fail(name, "Meta wants https", "end TLS with a publicly trusted certificate");
    }
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).redirect(reqwest::redirect::Policy::none()).build();
    let Ok(client) = client else { return report.skip(name, "no HTTP client") };
    let started = tokio::time::Instant::now();
    match client.get(parsed).send().await {
        Ok(answer) => {
            let status = answer.status();
            let text = answer.text().await.unwrap_or_default();
            if status.as_u16() == 200 && text == challenge {
                report.pass(name, format!("it answers as Meta wants, in {} ms", started.elapsed().as_millis()));
            } else {
                report.fail(
                    name,
                    format!("it answers {status}"),
                    "the daemon must run behind it, with the same webhook.path and verify_token",
                );
            }
        }
        Err(e) => report.fail(
            name,
            format!("it cannot be reached: {}", e.without_url()),
            "look at DNS, firewall, proxy and the certificate; the daemon must run",
        ),
    }
}

fn refused(report: &mut Report, name: &str, verdict: &Verdict) {
    let details = verdict.evidence.iter().find(|(k, _)| *k == "details").map_or(String::new(), |(_, text)| format!(" ({text})"));
    report.fail(name, format!("{}: {}{details}", verdict.code, verdict.sentence), verdict.advice.clone());
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

const MESSAGING: &str = "whatsapp_business_messaging";
const MANAGEMENT: &str = "whatsapp_business_management";
/// Fields that calls need: permission replies come as messages.
const FIELDS: [&str; 4] = ["calls", "messages", "account_settings_update", "account_update"];
/// A webhook has 25 s to be answered.
const CLOCK_OFF_MAX_S: i64 = 5;
