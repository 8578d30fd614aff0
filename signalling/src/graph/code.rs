//! What each error number of Meta means for a call, and what to do about it (2.7).
//!
//! Decides: wording and whether trying again can help. Refuses: trying (`session`).

use super::GraphError;

/// Whether and how to try again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Never: it would fail again.
    Never,
    /// Once, soon.
    Once,
    /// Later, with growing pauses.
    BackOff,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeInfo {
    /// Number.
    pub code: u32,
    /// What it means, one sentence without its full stop.
    pub meaning: &'static str,
    /// Whether to try again.
    pub retry: Retry,
    /// What a person can do about it, one sentence without its full stop.
    pub advice: &'static str,
}

/// The row of `code`; `None` if we do not know the number.
pub fn lookup(code: u32) -> Option<&'static CodeInfo> {
    TABLE.binary_search_by_key(&code, |row| row.code).ok().map(|at| &TABLE[at])
}

/// Whether the refusal of an `accept` or `pre_accept` says that the call is in progress already: somebody else took it (3.15), or our own
/// request did whose reply was lost. No number is documented for it, so the text decides.
pub fn is_taken(error: &GraphError) -> bool {
    const SAYS: &[&str] =
        &["already in progress", "in progress", "already accepted", "already answered", "already connected", "already been accepted"];
    error.code == 138_003 || says(error, SAYS)
}

/// Whether the refusal says that the call is over or unknown: nothing is left to be ended.
pub fn is_over(error: &GraphError) -> bool {
    const SAYS: &[&str] = &[
        "already completed",
        "call completed",
        "already terminated",
        "already ended",
        "call ended",
        "call has ended",
        "already failed",
        "no longer",
        "call not found",
        "invalid call id",
        "invalid call_id",
        "does not exist",
    ];
    says(error, SAYS)
}

/// Whether trying once more can help.
pub fn is_transient(error: &GraphError) -> bool {
    match lookup(error.code) {
        Some(row) => row.retry == Retry::Once,
        None => error.code == 0 && error.http_status >= 500,
    }
}

fn says(error: &GraphError, phrases: &[&str]) -> bool {
    let contains = |text: &str| {
        let text = text.to_ascii_lowercase();
        phrases.iter().any(|phrase| text.contains(phrase))
    };
    contains(&error.message) || error.details.as_deref().is_some_and(contains)
}

const fn row(code: u32, retry: Retry, meaning: &'static str, advice: &'static str) -> CodeInfo {
    CodeInfo { code, meaning, retry, advice }
}

/// By number, ascending.
#[rustfmt::skip]
pub const TABLE: &[CodeInfo] = &[
    row(1, Retry::Once, "Meta had an internal error", "try again; look at Meta's status page if it stays"),
    row(2, Retry::Once, "the service at Meta is temporarily unavailable", "try again; look at Meta's status page if it stays"),
    row(4, Retry::BackOff, "the app made too many requests", "slow down; look at the rate limit of the app in the dashboard"),
    row(10, Retry::Never, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(33, Retry::Never, "the phone number id does not exist, or the token may not see it", "check phone_number_id and the token's assets"),
    row(100, Retry::Never, "a parameter is invalid", "this is a bug of ours or an SDP that Meta refuses: see the details, and report it"),
    row(190, Retry::Never, "the access token is invalid or has expired", "make a new system-user token and configure it"),
    row(200, Retry::Never, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(368, Retry::Never, "the business is blocked for a violation of policy", "see the account quality page in WhatsApp Manager"),
    row(613, Retry::BackOff, "permissions were asked for too often", "keep the answers and ask less often"),
    row(80_007, Retry::BackOff, "the WhatsApp Business Account made too many requests", "slow down"),
    row(130_429, Retry::BackOff, "the number made too many requests", "slow down"),
    row(130_497, Retry::Never, "this test number may not reach that country", "use a number of your own"),
    row(131_000, Retry::Once, "Meta had an unknown error", "try again; report it with its fbtrace_id if it stays"),
    row(131_005, Retry::Never, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(131_008, Retry::Never, "a required parameter is missing", "this is a bug of ours: report it"),
    row(131_009, Retry::Never, "a parameter has a value that is not allowed here", "see the details; voice call messages are not available in every country"),
    row(131_016, Retry::Once, "a service at Meta is temporarily unavailable", "try again; look at Meta's status page if it stays"),
    row(131_026, Retry::Never, "the user's app is too old for this", "use a text message instead"),
    row(131_030, Retry::Never, "the recipient is not on the allow list of this test number", "add the recipient in the dashboard"),
    row(131_031, Retry::Never, "the account is locked", "see the account quality page in WhatsApp Manager"),
    row(131_044, Retry::Never, "there is no valid payment method", "add one in WhatsApp Manager: calls by users are refused until then"),
    row(131_055, Retry::Never, "the number is set to SIP, so Graph may not handle its calls", "switch SIP off for the number, or use SIP"),
    row(131_056, Retry::BackOff, "too many requests about this user", "slow down for this user"),
    row(138_000, Retry::Never, "calling is not enabled on the number", "enable calling in the settings of the number"),
    row(138_001, Retry::Never, "the user cannot be called: not on WhatsApp, terms not accepted, or an unsupported app", "use another channel"),
    row(138_002, Retry::BackOff, "the number has reached its concurrent calls", "spread the load over several numbers"),
    row(138_003, Retry::Never, "a call with this user is running already", "wait for its end, or use it"),
    row(138_004, Retry::Once, "Meta could not connect while it set the call up", "place a fresh call"),
    row(138_005, Retry::BackOff, "the number placed too many calls", "slow down"),
    row(138_006, Retry::Never, "the user has not approved calls from this business", "send a call permission request and wait for the reply"),
    row(138_007, Retry::Never, "the connection timed out: offer or answer were not applied in time", "look at how long webhook and accept took; place the call anew"),
    row(138_008, Retry::Never, "Meta refuses our SDP", "this is a bug of ours, or the number is set to SDES: see the details, and report it"),
    row(138_009, Retry::BackOff, "this user was asked for permission too often", "wait; a connected call resets the limit"),
    row(138_010, Retry::Never, "Meta gives no documentation of this number", "report it with its fbtrace_id"),
    row(138_011, Retry::Never, "a conversation must be open before permission can be asked for", "send another message first"),
    row(138_012, Retry::BackOff, "the limit of connected calls to this user in 24 hours is reached", "the details say when the next call is allowed"),
    row(138_013, Retry::Never, "the number's country does not allow calls by businesses", "use a number of another country"),
    row(138_014, Retry::Never, "calling is disabled for a while because of low quality", "wait for the end of the restriction; see WhatsApp Manager"),
    row(138_015, Retry::Never, "calling cannot be enabled: the messaging limit is below 2000", "raise the messaging limit first"),
    row(138_016, Retry::Never, "Meta gives no documentation of this number", "report it with its fbtrace_id"),
    row(138_017, Retry::Never, "permission cannot be asked for, because it was given for good", "just call"),
    row(138_018, Retry::Never, "something is missing: no app is subscribed to `calls`, or SIP is not configured", "subscribe the app to the field `calls`"),
    row(138_019, Retry::BackOff, "the user's app failed to set the call up", "call again later"),
    row(138_020, Retry::BackOff, "the user's app could not reach the relay", "the user's network is the cause; call again later"),
    row(138_021, Retry::Never, "the user's app got no media from us for 20 s at the start or 30 s later", "our media path is broken: look at the call's verdict and at the firewall"),
    row(138_022, Retry::BackOff, "the user's app sent no media for too long", "the user's network is the cause; call again later"),
    row(138_023, Retry::Never, "the call was accepted, but Meta saw no media", "look at ICE and DTLS of the call, and at the firewall"),
    row(138_024, Retry::Never, "SIP is not enabled on the number", "enable SIP in the settings of the number, or use Graph"),
    row(138_025, Retry::Never, "this app configured no SIP server for the number", "configure it with the token of the right app"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_complete() {
        assert!(TABLE.windows(2).all(|rows| rows[0].code < rows[1].code));
        for code in 138_000..=138_025 {
            let row = lookup(code).unwrap_or_else(|| panic!("{code} is missing"));
            assert!(!row.meaning.is_empty() && !row.advice.is_empty());
        }
        assert_eq!(lookup(138_026), None);
    }

    #[test]
    fn texts_tell_taken_from_over() {
        let error = |message: &str| GraphError { http_status: 400, code: 100, message: message.into(), ..GraphError::default() };
        assert!(is_taken(&error("Call is already in progress")));
        assert!(!is_taken(&error("Invalid Connection info")));
        assert!(is_over(&error("(#100) Invalid call id")));
        assert!(!is_over(&error("SDP Validation error")));
        assert!(is_transient(&GraphError { http_status: 500, code: 2, ..GraphError::default() }));
        assert!(!is_transient(&error("SDP Validation error")));
    }
}
