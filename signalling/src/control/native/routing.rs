//! Which path takes which method, whose key opens it, and every status it may answer with.
//!
//! Decides: nothing else; this table, the document (`openapi.json`) and what the service answers are held together by tests and by an assertion on each answer.

use crate::config::Scope;
use hyper::{Method, StatusCode};

/// One path and method. Ids stand as `*`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) pattern: &'static str,
    /// What the key must open; none: no key is needed.
    pub(super) scope: Option<Scope>,
    /// Statuses that it may answer with.
    pub(super) answers: &'static [u16],
}

/// What a request line leads to.
pub(super) enum Found {
    /// A route.
    Route(&'static Route),
    /// The path is there, the method is not: those that are.
    WrongMethod(&'static str),
    /// Neither.
    Nothing,
}

impl Route {
    pub(super) fn is_documented(&self, status: StatusCode) -> bool {
        self.answers.contains(&status.as_u16())
    }
}

/// Looks a request line up; `parts` are those after `/v1/`.
pub(super) fn find(method: &Method, parts: &[&str]) -> Found {
    let fits = |route: &&'static Route| {
        let pattern: Vec<&str> = route.pattern.split('/').collect();
        pattern.len() == parts.len() && pattern.iter().zip(parts).all(|(p, part)| p == part || (*p == "*" && !part.is_empty()))
    };
    let found = ROUTES.iter().filter(fits);
    if found.clone().next().is_none() {
        return Found::Nothing;
    }
    let mut allowed = (false, false);
    if let Some(route) = found.clone().find(|route| route.method == method.as_str()) {
        return Found::Route(route);
    }
    for route in found {
        match route.method {
            "PUT" | "DELETE" => return Found::WrongMethod("GET, PUT, DELETE"),
            "GET" => allowed.0 = true,
            _ => allowed.1 = true,
        }
    }
    Found::WrongMethod(match allowed {
        (true, true) => "GET, POST",
        (true, false) => "GET",
        _ => "POST",
    })
}

const fn get(pattern: &'static str, scope: Scope, answers: &'static [u16]) -> Route {
    Route { method: "GET", pattern, scope: Some(scope), answers }
}

const fn post(pattern: &'static str, scope: Scope, answers: &'static [u16]) -> Route {
    Route { method: "POST", pattern, scope: Some(scope), answers }
}

/// About one call.
const OF_CALL: &[u16] = &[200, 401, 403, 404, 503];
/// What is done to one call: at once, or later.
const DO: &[u16] = &[200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 503];
const BEGIN: &[u16] = &[202, 400, 401, 403, 404, 408, 409, 413, 415, 422, 503];

/// Every route.
pub(super) const ROUTES: &[Route] = &[
    Route { method: "GET", pattern: "openapi.json", scope: None, answers: &[200] },
    get("calls", Scope::CallsRead, &[200, 401, 403, 422, 503]),
    post("calls", Scope::CallsWrite, &[201, 400, 401, 403, 408, 409, 413, 415, 422, 503]),
    get("calls/*", Scope::CallsRead, OF_CALL),
    get("calls/*/timeline", Scope::CallsRead, OF_CALL),
    get("calls/*/stats", Scope::CallsRead, OF_CALL),
    post("calls/*/accept", Scope::CallsWrite, BEGIN),
    post("calls/*/reject", Scope::CallsWrite, BEGIN),
    post("calls/*/terminate", Scope::CallsWrite, BEGIN),
    post("calls/*/bridge", Scope::CallsWrite, DO),
    post("calls/*/play", Scope::CallsWrite, DO),
    post("calls/*/dtmf", Scope::CallsWrite, BEGIN),
    post("calls/*/record", Scope::CallsWrite, DO),
    post("calls/*/tap", Scope::CallsWrite, DO),
    post("calls/*/callback", Scope::CallsWrite, &[201, 400, 401, 403, 404, 408, 409, 413, 415, 422, 503]),
    get("permissions", Scope::CallsRead, &[200, 401, 403, 409, 422, 502]),
    post("permissions", Scope::CallsWrite, &[202, 400, 401, 403, 408, 409, 413, 415, 422, 502, 503]),
    get("node", Scope::Node, &[200, 401, 403, 503]),
    post("node/drain", Scope::Node, &[200, 400, 401, 403, 408, 409, 413, 415, 422, 503]),
    post("node/undrain", Scope::Node, &[200, 400, 401, 403, 408, 409, 413, 415, 422, 503]),
    get("numbers", Scope::Admin, &[200, 401, 403]),
    get("numbers/*", Scope::Admin, &[200, 401, 403, 404]),
    Route {
        method: "PUT",
        pattern: "numbers/*",
        scope: Some(Scope::Admin),
        answers: &[200, 201, 400, 401, 403, 404, 408, 409, 413, 422, 503],
    },
    Route { method: "DELETE", pattern: "numbers/*", scope: Some(Scope::Admin), answers: &[200, 401, 403, 404, 409, 422] },
    post("node/reload", Scope::Admin, &[200, 400, 401, 403, 408, 409, 413, 415, 422, 503]),
    get("numbers/*/settings", Scope::Admin, &[200, 401, 403, 404, 409, 422, 502]),
    post("numbers/*/settings", Scope::Admin, &[200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 502, 503]),
    post("signups", Scope::Admin, &[200, 400, 401, 403, 408, 409, 413, 415, 422, 502, 503]),
    get("events", Scope::Events, &[101, 401, 403, 426, 503]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(super::super::service::OPENAPI).expect("the document is JSON")
    }

    #[test]
    fn the_document_holds_every_route_and_every_answer_and_no_other() {
        let document = document();
        let statuses = |of: &Value| {
            of["responses"].as_object().expect("responses").keys().map(|k| k.parse().expect("a status")).collect::<BTreeSet<u16>>()
        };
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, operation) in item.as_object().expect("methods").iter().filter(|(m, _)| *m != "parameters") {
                described.insert((method.to_uppercase(), path.replace("{id}", "*").replace("{number_id}", "*")));
                let parts: Vec<&str> =
                    path.trim_start_matches("/v1/").split('/').map(|p| if p.starts_with('{') { "x" } else { p }).collect();
                let Found::Route(route) = find(&method.to_uppercase().parse().expect("a method"), &parts) else {
                    panic!("{method} {path} is not served")
                };
                assert_eq!(statuses(operation), route.answers.iter().copied().collect(), "{method} {path}");
                let scope = route.scope.map_or("", Scope::name);
                let text = operation["description"].as_str().unwrap_or_default();
                assert!(scope.is_empty() || text.contains(&format!("Scope `{scope}`")), "{method} {path} does not name its scope {scope}");
                assert_eq!(operation["security"].is_array(), route.scope.is_some(), "{method} {path}");
            }
        }
        for route in ROUTES {
            let path = format!("/v1/{}", route.pattern);
            assert!(described.contains(&(route.method.to_owned(), path.clone())), "{} {path} is not in the document", route.method);
        }
    }

    /// What OpenAPI 3.1 asks of a document beyond being JSON, as far as ours uses it.
    #[test]
    fn the_document_is_openapi_3_1() {
        let document = document();
        assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1.")));
        assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
        let mut names = BTreeSet::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            assert!(path.starts_with('/'), "{path}");
            for (method, operation) in item.as_object().expect("methods") {
                assert!(["get", "post", "put", "delete", "patch"].contains(&method.as_str()), "{method} {path}");
                assert!(
                    operation["summary"].is_string() && !operation["responses"].as_object().expect("responses").is_empty(),
                    "{method} {path}"
                );
                assert!(
                    operation.get("operationId").is_none_or(|id| names.insert(id.to_string())),
                    "{method} {path} has the id of another"
                );
                let wanted: BTreeSet<&str> = path.split('/').filter_map(|p| p.strip_prefix('{')?.strip_suffix('}')).collect();
                let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
                let given: BTreeSet<String> =
                    parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].as_str().expect("a name").to_owned()).collect();
                assert_eq!(given, wanted.iter().map(|w| (*w).to_owned()).collect(), "{method} {path}");
                for parameter in &parameters {
                    assert!(
                        ["path", "query", "header"].contains(&parameter["in"].as_str().expect("a place"))
                            && parameter["schema"].is_object(),
                        "{method} {path}"
                    );
                    assert!(parameter["in"] != "path" || parameter["required"] == true, "{method} {path}");
                }
                for (status, response) in operation["responses"].as_object().expect("responses") {
                    assert!(response["description"].is_string(), "{method} {path} {status}");
                    let is_problem = status.parse::<u16>().expect("a status") >= 400;
                    let types = response["content"].as_object();
                    assert_eq!(is_problem, types.is_some_and(|t| t.contains_key("application/problem+json")), "{method} {path} {status}");
                }
                for scheme in
                    operation["security"].as_array().into_iter().flatten().flat_map(|s| s.as_object().expect("a requirement").keys())
                {
                    assert!(document["components"]["securitySchemes"][scheme].is_object(), "{method} {path}: {scheme}");
                }
            }
        }
        walk(&document, &document, "#");
    }

    /// Every reference leads somewhere; every schema has types of JSON Schema and requires only what it has.
    fn walk(document: &Value, value: &Value, place: &str) {
        match value {
            Value::Object(members) => {
                if let Some(to) = members.get("$ref").and_then(Value::as_str) {
                    assert!(document.pointer(to.trim_start_matches('#')).is_some(), "{place}: {to} leads nowhere");
                }
                if place.contains("schema") && !place.ends_with("/properties") {
                    const TYPES: [&str; 7] = ["object", "array", "string", "integer", "number", "boolean", "null"];
                    let types = match members.get("type") {
                        Some(Value::String(one)) => vec![one.as_str()],
                        Some(Value::Array(many)) => many.iter().map(|t| t.as_str().expect("a type")).collect(),
                        _ => Vec::new(),
                    };
                    assert!(types.iter().all(|t| TYPES.contains(t)), "{place}: {types:?}");
                    assert!(!types.contains(&"array") || members.contains_key("items"), "{place}: an array of what?");
                    for name in members.get("required").and_then(Value::as_array).into_iter().flatten() {
                        assert!(
                            members["properties"].get(name.as_str().expect("a name")).is_some(),
                            "{place}: {name} is required, but unknown"
                        );
                    }
                    if let Some(pattern) = members.get("pattern").and_then(Value::as_str) {
                        assert!(pattern.starts_with('^') && pattern.ends_with('$'), "{place}: {pattern}");
                    }
                }
                for (name, member) in members {
                    walk(document, member, &format!("{place}/{name}"));
                }
            }
            Value::Array(items) => items.iter().enumerate().for_each(|(n, item)| walk(document, item, &format!("{place}/{n}"))),
            _ => {}
        }
    }

    #[test]
    fn a_path_takes_its_methods_and_says_so() {
        let found = |method: &str, path: &str| find(&method.parse().expect("a method"), &path.split('/').collect::<Vec<_>>());
        assert!(matches!(found("GET", "calls"), Found::Route(r) if r.method == "GET"));
        assert!(matches!(found("DELETE", "calls"), Found::WrongMethod("GET, POST")));
        assert!(matches!(found("POST", "calls/abc"), Found::WrongMethod("GET")));
        assert!(matches!(found("GET", "calls/abc/play"), Found::WrongMethod("POST")));
        assert!(matches!(found("GET", "calls/"), Found::Nothing));
        assert!(matches!(found("GET", "calls/abc/hold"), Found::Nothing));
    }
}
