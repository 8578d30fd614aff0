//! Who is served right now: apps, numbers, their secrets. Read by every request and every call, replaced whole, so that nobody ever sees half a change.
//!
//! Decides: whose an event is, and whether a change can be made. Given: configurations, and numbers from the API. Refuses: to stop a running call: a number that is removed
//! keeps its token until the process ends, so that its last calls can be ended.

use crate::config::{AppConfig, Config, DEFAULT_APP, NumberConfig, NumberRole, Secret};
use crate::sdp::KeyExchange;
use crate::webhook::intake::Owner;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, RwLock};

#[cfg(test)]
mod tests;

/// The table that is valid now.
pub(crate) struct Tenants {
    now: RwLock<Arc<Table>>,
}

/// Everybody who is served.
#[derive(Clone, Default)]
pub(crate) struct Table {
    pub(crate) apps: Vec<AppConfig>,
    numbers: BTreeMap<Arc<str>, Listed>,
    /// Tokens of numbers that were removed.
    removed: HashMap<Arc<str>, Secret>,
}

/// A number and where it comes from.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) number: Arc<NumberConfig>,
    pub(crate) from_file: bool,
    /// What Meta says of its keys, where that is something else than the configuration.
    told_keying: Option<KeyExchange>,
}

/// Why a number was not changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotChanged {
    /// It stands in the configuration file.
    InFile,
    /// There is no such number.
    Unknown,
    /// There is no such app.
    UnknownApp,
    /// There are too many.
    TooMany,
}

impl Listed {
    /// How its next call is keyed.
    pub(crate) fn keying(&self) -> KeyExchange {
        self.told_keying.unwrap_or(self.number.keying)
    }
}

impl Table {
    /// The table of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let default = config.webhook.iter().filter(|w| !w.app_secrets.is_empty()).map(|w| AppConfig {
            name: DEFAULT_APP.into(),
            path: w.path.clone(),
            verify_token: w.verify_token.clone(),
            app_secrets: w.app_secrets.clone(),
            forward_other_to: w.forward_other_to.clone(),
        });
        let numbers = config
            .numbers
            .iter()
            .map(|n| (Arc::from(n.phone_number_id.as_str()), Listed { number: Arc::new(n.clone()), from_file: true, told_keying: None }));
        Self { apps: default.chain(config.apps.iter().cloned()).collect(), numbers: numbers.collect(), removed: HashMap::new() }
    }

    /// The apps whose callback URL has this path.
    pub(crate) fn apps_at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a AppConfig> + Clone {
        self.apps.iter().filter(move |app| app.path == path)
    }

    /// The app of this name.
    pub(crate) fn app(&self, name: &str) -> Option<&AppConfig> {
        self.apps.iter().find(|app| app.name == name)
    }

    /// One number.
    pub(crate) fn number(&self, id: &str) -> Option<&NumberConfig> {
        self.numbers.get(id).map(|listed| &*listed.number)
    }

    /// Every number, by id.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = (&Arc<str>, &Listed)> {
        self.numbers.iter()
    }

    /// Whose the events of a number are when this app has signed them.
    //= meta#R-04  another partner's number on the same app, or our number on another app, is none of our business
    //= meta#R-06  a number that we may only receive for is observed, not acted upon
    pub(crate) fn owner(&self, number: &str, app: &str) -> Owner {
        match self.number(number) {
            Some(n) if n.app.as_deref().is_some_and(|wanted| wanted != app) => Owner::OtherApp,
            Some(n) if n.role == NumberRole::Full => Owner::Us,
            Some(n) if n.role == NumberRole::ReceiveOnly => Owner::Observed,
            _ => Owner::Nobody,
        }
    }

    /// The token for requests about a number, even if it was removed meanwhile.
    pub(crate) fn token(&self, number: &str) -> Option<&Secret> {
        let listed = self.number(number).map(|n| &n.access_token).or_else(|| self.removed.get(number));
        listed.filter(|token| !token.expose().is_empty())
    }

    /// Numbers whose next call is keyed by SDES.
    pub(crate) fn sdes_numbers(&self) -> BTreeSet<Arc<str>> {
        self.numbers.iter().filter(|(_, listed)| listed.keying() == KeyExchange::Sdes).map(|(id, _)| id.clone()).collect()
    }

    fn forget(&mut self, id: &str) {
        if let Some((id, listed)) = self.numbers.remove_entry(id)
            && self.removed.len() < REMOVED_MAX
        {
            self.removed.insert(id, listed.number.access_token.clone());
        }
    }
}

impl Tenants {
    /// Those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        Self { now: RwLock::new(Arc::new(Table::of(config))) }
    }

    /// The table that is valid now. It does not change under the reader.
    pub(crate) fn now(&self) -> Arc<Table> {
        // A panic while the lock was held is a bug elsewhere; a table is replaced whole.
        Arc::clone(&self.now.read().unwrap_or_else(|e| e.into_inner()))
    }

    /// Takes over a new configuration; numbers of the API stay, unless the file has them now.
    pub(crate) fn reload(&self, config: &Config) {
        self.change(|table| {
            let mut next = Table::of(config);
            next.removed = std::mem::take(&mut table.removed);
            for (id, old) in std::mem::take(&mut table.numbers) {
                match next.numbers.get_mut(&id) {
                    // Meta's word about the keys holds until the file says something new.
                    Some(new) if new.number.keying == old.number.keying => new.told_keying = old.told_keying,
                    Some(_) => {}
                    None if old.from_file => {
                        next.removed.insert(id, old.number.access_token.clone());
                    }
                    None => {
                        next.numbers.insert(id, old);
                    }
                }
            }
            *table = next;
        });
    }

    /// Adds a number, or changes one that the API has added. Returns whether it is new.
    //= meta#R-05  a number is added at run time
    pub(crate) fn put(&self, number: NumberConfig) -> Result<bool, NotChanged> {
        let mut outcome = Err(NotChanged::TooMany);
        self.change(|table| {
            let id: Arc<str> = number.phone_number_id.as_str().into();
            let old = table.numbers.get(&id);
            outcome = match old {
                Some(old) if old.from_file => Err(NotChanged::InFile),
                _ if number.app.as_deref().is_some_and(|app| table.app(app).is_none()) => Err(NotChanged::UnknownApp),
                None if table.numbers.len() >= NUMBERS_MAX => Err(NotChanged::TooMany),
                old => Ok(old.is_none()),
            };
            if outcome.is_ok() {
                let told_keying = old.filter(|old| old.number.keying == number.keying).and_then(|old| old.told_keying);
                table.removed.remove(&id);
                table.numbers.insert(id, Listed { number: Arc::new(number.clone()), from_file: false, told_keying });
            }
        });
        outcome
    }

    /// Removes a number that the API has added. Its running calls go on to their end.
    pub(crate) fn remove(&self, id: &str) -> Result<(), NotChanged> {
        let mut outcome = Ok(());
        self.change(|table| match table.numbers.get(id) {
            None => outcome = Err(NotChanged::Unknown),
            Some(listed) if listed.from_file => outcome = Err(NotChanged::InFile),
            Some(_) => table.forget(id),
        });
        outcome
    }

    /// Meta says how a number is keyed from now on. Returns whether that changes anything.
    pub(crate) fn told_keying(&self, id: &str, keying: KeyExchange) -> bool {
        let mut is_new = false;
        self.change(|table| {
            if let Some(listed) = table.numbers.get_mut(id) {
                is_new = listed.keying() != keying;
                listed.told_keying = (keying != listed.number.keying).then_some(keying);
            }
        });
        is_new
    }

    fn change(&self, f: impl FnOnce(&mut Table)) {
        let mut now = self.now.write().unwrap_or_else(|e| e.into_inner());
        let mut next = (**now).clone();
        f(&mut next);
        *now = Arc::new(next);
    }
}

/// Numbers at a time.
const NUMBERS_MAX: usize = 100_000;
/// Removed numbers whose tokens are kept for their last calls.
const REMOVED_MAX: usize = 10_000;
