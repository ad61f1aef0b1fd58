//! How many connections there may be: in all, of a client group, and of a user.

use std::collections::BTreeMap;
use std::sync::Arc;

use landfall_protocol::{ErrorBody, ErrorKind};
use parking_lot::Mutex;

use crate::config::Limits;

/// Counts connections.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    groups: BTreeMap<String, usize>,
    users: BTreeMap<String, usize>,
}

/// The place of one connection; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    admission: Arc<Admission>,
    group: String,
    user: Option<String>,
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Admission {
            limits,
            counts: Mutex::default(),
        })
    }

    /// Gives a connection a place, or says which limit is reached. The client tries again later.
    pub(super) fn admit(
        self: &Arc<Self>,
        group: &str,
        user: Option<&str>,
    ) -> Result<Ticket, ErrorBody> {
        let mut counts = self.counts.lock();
        let of = |counts: &BTreeMap<String, usize>, name: &str| {
            counts.get(name).copied().unwrap_or_default()
        };
        let reached = if counts.all >= self.limits.connections {
            Some("the server has as many connections as it takes")
        } else if of(&counts.groups, group) >= self.limits.connections_per_group {
            Some("the client group has too many connections")
        } else if user.is_some_and(|u| of(&counts.users, u) >= self.limits.connections_per_user) {
            Some("the user has too many connections")
        } else {
            None
        };
        if let Some(message) = reached {
            metrics::counter!("landfall_connections_refused_total").increment(1);
            return Err(ErrorBody::new(ErrorKind::ServerOverloaded, message));
        }
        counts.all += 1;
        *counts.groups.entry(group.to_owned()).or_default() += 1;
        if let Some(user) = user {
            *counts.users.entry(user.to_owned()).or_default() += 1;
        }
        Ok(Ticket {
            admission: self.clone(),
            group: group.to_owned(),
            user: user.map(str::to_owned),
        })
    }

    /// Connections at the moment.
    pub fn connected(&self) -> usize {
        self.counts.lock().all
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.admission.counts.lock();
        counts.all -= 1;
        release(&mut counts.groups, &self.group);
        if let Some(user) = &self.user {
            release(&mut counts.users, user);
        }
    }
}

fn release(counts: &mut BTreeMap<String, usize>, name: &str) {
    match counts.get_mut(name) {
        Some(count) if *count > 1 => *count -= 1,
        _ => drop(counts.remove(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_kept_and_places_become_free() {
        let admission = Admission::new(Limits {
            connections: 4,
            connections_per_group: 2,
            connections_per_user: 3,
            messages_per_second: 1,
            queries_per_client: 1,
            queries_per_group: 1,
        });
        let admit = |group: &str, user: Option<&str>| {
            let ticket = admission.admit(group, user);
            ticket.map_err(|body| body.message().to_owned())
        };
        let first = admit("g", Some("ann")).expect("a place");
        let _second = admit("g", Some("ann")).expect("a place");
        assert!(admit("g", Some("ann")).is_err_and(|e| e.contains("client group")));
        let _third = admit("h", Some("ann")).expect("a place");
        assert!(admit("i", Some("ann")).is_err_and(|e| e.contains("user")));
        let _fourth = admit("i", None).expect("a place");
        assert!(admit("j", None).is_err_and(|e| e.contains("server")));
        drop(first);
        assert_eq!(admission.connected(), 3);
        let _again = admit("g", Some("ann")).expect("a place");
    }
}
