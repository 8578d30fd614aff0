//! What each error number of Meta means for a call, and what to do about it (2.7).
//!
//! Decides: wording and whether trying again can help. Refuses: trying (`session`).

use super::GraphError;

/// Whether and how to try again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Never: it would fail again whatever anybody does.
    Never,
    /// Once a person has done what the advice says; before that it fails again.
    AfterFix,
    /// Once, soon.
    Once,
    /// Later, with growing pauses.
    BackOff,
}

impl Retry {
    /// Stable name, as the API and the command line show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::AfterFix => "after_fix",
            Self::Once => "once",
            Self::BackOff => "back_off",
        }
    }
}

/// What kind of cause a number names. Each kind has an exit code of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cause {
    /// The user has not allowed it, or was asked too often.
    Permission,
    /// The user: unreachable, busy, an app that is too old, a bad network.
    User,
    /// A limit of requests or calls.
    Limit,
    /// How the number or the account is set up at Meta.
    Account,
    /// The access token.
    Token,
    /// A passing failure of Meta.
    Meta,
    /// The way of our media to Meta's relay.
    Media,
    /// A request of ours that Meta does not take.
    Request,
}

impl Cause {
    /// Every cause, in the order of exit codes.
    pub const ALL: [Self; 8] =
        [Self::Permission, Self::User, Self::Limit, Self::Account, Self::Token, Self::Meta, Self::Media, Self::Request];

    /// Stable name, as the API and the command line show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permission => "permission",
            Self::User => "user",
            Self::Limit => "limit",
            Self::Account => "account",
            Self::Token => "token",
            Self::Meta => "meta",
            Self::Media => "media",
            Self::Request => "request",
        }
    }

    /// Exit code of a command that ended by it, 20 to 27.
    pub const fn exit_code(self) -> u8 {
        20 + self as u8
    }
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CodeInfo {
    /// Number.
    pub code: u32,
    /// Kind of cause.
    pub cause: Cause,
    /// What it means, one sentence without its full stop.
    pub meaning: &'static str,
    /// Whether to try again.
    pub retry: Retry,
    /// How long to wait before that, in seconds; the first pause of [`Retry::BackOff`]. 0 where waiting changes nothing.
    pub retry_after_s: u32,
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

const fn row(code: u32, cause: Cause, (retry, retry_after_s): (Retry, u32), meaning: &'static str, advice: &'static str) -> CodeInfo {
    CodeInfo { code, cause, meaning, retry, retry_after_s, advice }
}

const NEVER: (Retry, u32) = (Retry::Never, 0);
const AFTER_FIX: (Retry, u32) = (Retry::AfterFix, 0);
/// Soon, but not into the same second of trouble.
const ONCE: (Retry, u32) = (Retry::Once, 1);
const MINUTE: (Retry, u32) = (Retry::BackOff, 60);
const HOUR: (Retry, u32) = (Retry::BackOff, 3_600);
/// Limits per user count over 24 hours.
const DAY: (Retry, u32) = (Retry::BackOff, 86_400);
/// Restrictions last seven days (7.3).
const WEEK: (Retry, u32) = (Retry::BackOff, 7 * 86_400);

/// By number, ascending.
#[rustfmt::skip]
pub const TABLE: &[CodeInfo] = &[
    row(1, Cause::Meta, ONCE, "Meta had an internal error", "try again; look at Meta's status page if it stays"),
    row(2, Cause::Meta, ONCE, "the service at Meta is temporarily unavailable", "try again; look at Meta's status page if it stays"),
    row(4, Cause::Limit, HOUR, "the app made too many requests", "slow down; look at the rate limit of the app in the dashboard"),
    row(10, Cause::Token, AFTER_FIX, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(33, Cause::Account, AFTER_FIX, "the phone number id does not exist, or the token may not see it", "check phone_number_id and the token's assets"),
    row(100, Cause::Request, NEVER, "a parameter is invalid", "this is a bug of ours or an SDP that Meta refuses: see the details, and report it"),
    row(190, Cause::Token, AFTER_FIX, "the access token is invalid or has expired", "make a new system-user token and configure it"),
    row(200, Cause::Token, AFTER_FIX, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(368, Cause::Account, AFTER_FIX, "the business is blocked for a violation of policy", "see the account quality page in WhatsApp Manager"),
    row(613, Cause::Limit, MINUTE, "permissions were asked for too often", "keep the answers and ask less often"),
    row(80_007, Cause::Limit, MINUTE, "the WhatsApp Business Account made too many requests", "slow down"),
    row(130_429, Cause::Limit, MINUTE, "the number made too many requests", "slow down"),
    row(130_497, Cause::Account, NEVER, "this test number may not reach that country", "use a number of your own"),
    row(131_000, Cause::Meta, ONCE, "Meta had an unknown error", "try again; report it with its fbtrace_id if it stays"),
    row(131_005, Cause::Token, AFTER_FIX, "the token may not do this", "give the system user whatsapp_business_messaging on this WhatsApp Business Account"),
    row(131_008, Cause::Request, NEVER, "a required parameter is missing", "this is a bug of ours: report it"),
    row(131_009, Cause::Request, NEVER, "a parameter has a value that is not allowed here", "see the details; voice call messages are not available in every country"),
    row(131_016, Cause::Meta, ONCE, "a service at Meta is temporarily unavailable", "try again; look at Meta's status page if it stays"),
    row(131_026, Cause::User, NEVER, "the user's app is too old for this", "use a text message instead"),
    row(131_030, Cause::Account, AFTER_FIX, "the recipient is not on the allow list of this test number", "add the recipient in the dashboard"),
    row(131_031, Cause::Account, AFTER_FIX, "the account is locked", "see the account quality page in WhatsApp Manager"),
    row(131_044, Cause::Account, AFTER_FIX, "there is no valid payment method", "add one in WhatsApp Manager: calls by users are refused until then"),
    row(131_055, Cause::Account, AFTER_FIX, "the number is set to SIP, so Graph may not handle its calls", "switch SIP off for the number, or use SIP"),
    row(131_056, Cause::Limit, MINUTE, "too many requests about this user", "slow down for this user"),
    row(138_000, Cause::Account, AFTER_FIX, "calling is not enabled on the number", "enable calling in the settings of the number"),
    row(138_001, Cause::User, NEVER, "the user cannot be called: not on WhatsApp, terms not accepted, or an unsupported app", "use another channel"),
    row(138_002, Cause::Limit, MINUTE, "the number has reached its concurrent calls", "spread the load over several numbers"),
    row(138_003, Cause::User, MINUTE, "a call with this user is running already", "wait for its end, or use it; there is one call per user and number"),
    row(138_004, Cause::Meta, ONCE, "Meta could not connect while it set the call up", "place a fresh call"),
    row(138_005, Cause::Limit, HOUR, "the number placed too many calls", "slow down"),
    row(138_006, Cause::Permission, AFTER_FIX, "the user has not approved calls from this business", "send a call permission request and wait for the reply"),
    row(138_007, Cause::Media, AFTER_FIX, "the connection timed out: offer or answer were not applied in time", "look at how long webhook and accept took; place the call anew"),
    row(138_008, Cause::Request, NEVER, "Meta refuses our SDP", "this is a bug of ours, or the number is set to SDES: see the details, and report it"),
    row(138_009, Cause::Permission, DAY, "this user was asked for permission too often", "wait; a connected call resets the limit"),
    row(138_010, Cause::Request, NEVER, "Meta gives no documentation of this number", "report it with its fbtrace_id"),
    row(138_011, Cause::Permission, AFTER_FIX, "a conversation must be open before permission can be asked for", "send another message first"),
    row(138_012, Cause::Limit, DAY, "the limit of connected calls to this user in 24 hours is reached", "the details say when the next call is allowed"),
    row(138_013, Cause::Account, NEVER, "the number's country does not allow calls by businesses", "use a number of another country"),
    row(138_014, Cause::Account, WEEK, "calling is disabled for a while because of low quality", "wait for the end of the restriction; see WhatsApp Manager"),
    row(138_015, Cause::Account, AFTER_FIX, "calling cannot be enabled: the messaging limit is below 2000", "raise the messaging limit first"),
    row(138_016, Cause::Request, NEVER, "Meta gives no documentation of this number", "report it with its fbtrace_id"),
    row(138_017, Cause::Permission, NEVER, "permission cannot be asked for, because it was given for good", "just call"),
    row(138_018, Cause::Account, AFTER_FIX, "something is missing: no app is subscribed to `calls`, or SIP is not configured", "subscribe the app to the field `calls`"),
    row(138_019, Cause::User, MINUTE, "the user's app failed to set the call up", "call again later"),
    row(138_020, Cause::User, MINUTE, "the user's app could not reach the relay", "the user's network is the cause; call again later"),
    row(138_021, Cause::Media, AFTER_FIX, "the user's app got no media from us for 20 s at the start or 30 s later", "our media path is broken: look at the call's verdict and at the firewall"),
    row(138_022, Cause::User, MINUTE, "the user's app sent no media for too long", "the user's network is the cause; call again later"),
    row(138_023, Cause::Media, AFTER_FIX, "the call was accepted, but Meta saw no media", "look at ICE and DTLS of the call, and at the firewall"),
    row(138_024, Cause::Account, AFTER_FIX, "SIP is not enabled on the number", "enable SIP in the settings of the number, or use Graph"),
    row(138_025, Cause::Account, AFTER_FIX, "this app configured no SIP server for the number", "configure it with the token of the right app"),
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

    /// What 2.7 says the engine should do, number by number, with the exit code and the pause.
    #[test]
    fn every_number_has_its_cause_its_retry_and_its_exit_code() {
        use Cause::{Account, Limit, Media, Meta, Permission, Request, Token, User};
        use Retry::{AfterFix, BackOff, Never, Once};
        #[rustfmt::skip]
        let expected = [
            (1, Meta, Once, 1, 25), (2, Meta, Once, 1, 25), (4, Limit, BackOff, 3_600, 22), (10, Token, AfterFix, 0, 24),
            (33, Account, AfterFix, 0, 23), (100, Request, Never, 0, 27), (190, Token, AfterFix, 0, 24), (200, Token, AfterFix, 0, 24),
            (368, Account, AfterFix, 0, 23), (613, Limit, BackOff, 60, 22), (80_007, Limit, BackOff, 60, 22), (130_429, Limit, BackOff, 60, 22),
            (130_497, Account, Never, 0, 23), (131_000, Meta, Once, 1, 25), (131_005, Token, AfterFix, 0, 24), (131_008, Request, Never, 0, 27),
            (131_009, Request, Never, 0, 27), (131_016, Meta, Once, 1, 25), (131_026, User, Never, 0, 21), (131_030, Account, AfterFix, 0, 23),
            (131_031, Account, AfterFix, 0, 23), (131_044, Account, AfterFix, 0, 23), (131_055, Account, AfterFix, 0, 23), (131_056, Limit, BackOff, 60, 22),
            (138_000, Account, AfterFix, 0, 23), (138_001, User, Never, 0, 21), (138_002, Limit, BackOff, 60, 22), (138_003, User, BackOff, 60, 21),
            (138_004, Meta, Once, 1, 25), (138_005, Limit, BackOff, 3_600, 22), (138_006, Permission, AfterFix, 0, 20), (138_007, Media, AfterFix, 0, 26),
            (138_008, Request, Never, 0, 27), (138_009, Permission, BackOff, 86_400, 20), (138_010, Request, Never, 0, 27), (138_011, Permission, AfterFix, 0, 20),
            (138_012, Limit, BackOff, 86_400, 22), (138_013, Account, Never, 0, 23), (138_014, Account, BackOff, 604_800, 23), (138_015, Account, AfterFix, 0, 23),
            (138_016, Request, Never, 0, 27), (138_017, Permission, Never, 0, 20), (138_018, Account, AfterFix, 0, 23), (138_019, User, BackOff, 60, 21),
            (138_020, User, BackOff, 60, 21), (138_021, Media, AfterFix, 0, 26), (138_022, User, BackOff, 60, 21), (138_023, Media, AfterFix, 0, 26),
            (138_024, Account, AfterFix, 0, 23), (138_025, Account, AfterFix, 0, 23),
        ];
        assert_eq!(TABLE.len(), expected.len(), "a row without an expectation, or the other way round");
        for (row, (code, cause, retry, after_s, exit)) in TABLE.iter().zip(expected) {
            assert_eq!((row.code, row.cause, row.retry, row.retry_after_s, row.cause.exit_code()), (code, cause, retry, after_s, exit));
            // Who may wait is told how long; who may not is not made to.
            assert_eq!(row.retry_after_s > 0, matches!(row.retry, Once | BackOff), "{code}");
            assert!(!row.meaning.ends_with('.') && !row.advice.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn the_page_has_every_row() {
        let page = include_str!("../../../docs/OUTBOUND.md");
        for row in TABLE {
            let line = page.lines().find(|line| line.starts_with(&format!("| {} | {} | ", row.code, row.meaning)));
            let line = line.unwrap_or_else(|| panic!("docs/OUTBOUND.md lacks {}", row.code));
            let tail = format!(" | {} | {} |", row.cause.exit_code(), row.advice);
            assert!(line.contains(&format!("| {} |", row.cause.name())) && line.ends_with(&tail), "{line}");
        }
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
