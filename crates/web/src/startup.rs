//! What JavaScript says once, when it starts a client.

use landfall_client::json::{JsonError, read};
use landfall_client::{Headers, Options, Role, SortedMap};
use serde_json::value::RawValue;

/// The parsed options: those of the client, and what only the host needs.
pub(crate) struct Startup {
    pub(crate) client: Options,
    /// The database's name, which also tells the locks and the channel of one client group from others.
    pub(crate) storage_name: String,
    pub(crate) storage: StorageKind,
}

/// Where the client's state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// In IndexedDB.
    Indexed,
    /// In memory only.
    Memory,
}

impl Startup {
    /// `options` is the JSON text of an object; absent members and `null` leave what is usual.
    pub(crate) fn parse(options: &str, entropy: &[u8]) -> Result<Startup, String> {
        let mut given = Given(read(options).map_err(|error| error.to_string())?);
        let entropy = entropy
            .try_into()
            .map_err(|_| "32 bytes of entropy are needed".to_owned())?;
        let schema = given.raw("schema").ok_or("there is no schema")?;
        let mut client = Options::new(schema.get(), entropy);
        client.client_id = given.text("clientID")?;
        client.cache_url = given.text("cacheURL")?;
        client.user_id = given.text("userID")?;
        client.auth = given.text("auth")?;
        client.query_url = given.text("queryURL")?;
        client.query_headers = given.headers("queryHeaders")?;
        client.mutate_url = given.text("mutateURL")?;
        client.mutate_headers = given.headers("mutateHeaders")?;
        client.role = match given.text("role")?.as_deref() {
            None => Role::Usual,
            Some("held") => Role::Held,
            Some("draining") => Role::Draining,
            Some(_) => return Err("the role is unknown".to_owned()),
        };
        let limits = &mut client.limits;
        given.number("pingTimeoutMs", &mut limits.ping_timeout_ms)?;
        given.number("hiddenDisconnectMs", &mut limits.hidden_disconnect_ms)?;
        given.number("disconnectMs", &mut limits.disconnect_ms)?;
        given.number("queryThrottleMs", &mut limits.query_throttle_ms)?;
        let mut longest = limits.max_header_length as f64;
        given.number("maxHeaderLength", &mut longest)?;
        limits.max_header_length = longest as usize;
        let storage = match given.text("storage")?.as_deref() {
            Some("indexed") => StorageKind::Indexed,
            Some("memory") => StorageKind::Memory,
            _ => return Err("the kind of storage is unknown".to_owned()),
        };
        let storage_name = given
            .text("storageName")?
            .ok_or("there is no storageName")?;
        match given.0.keys().next() {
            Some(name) => Err(format!("there is no option {name}")),
            None => Ok(Startup {
                client,
                storage_name,
                storage,
            }),
        }
    }
}

/// Members that were not taken out yet. Read one by one: a derived reader of all is five times this code.
struct Given<'a>(SortedMap<String, &'a RawValue>);

impl<'a> Given<'a> {
    fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        self.0.remove(name).filter(|raw| raw.get() != "null")
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let parse = |raw: &RawValue| read(raw.get()).map_err(|error| said(name, &error));
        self.raw(name).map(parse).transpose()
    }

    fn headers(&mut self, name: &str) -> Result<Headers, String> {
        let parse = |raw: &RawValue| read(raw.get()).map_err(|error| said(name, &error));
        Ok(self.raw(name).map(parse).transpose()?.unwrap_or_default())
    }

    fn number(&mut self, name: &str, into: &mut f64) -> Result<(), String> {
        if let Some(raw) = self.raw(name) {
            *into = read(raw.get()).map_err(|error| said(name, &error))?;
        }
        Ok(())
    }
}

fn said(name: &str, error: &JsonError) -> String {
    format!("{name}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#""schema":{"tables":{}},"clientID":"c","storageName":"s""#;

    fn parse(members: &str) -> Result<Startup, String> {
        Startup::parse(&format!("{{{LEAST}{members}}}"), &[7; 32])
    }

    #[test]
    fn what_is_left_out_is_as_usual() {
        let startup = parse(r#","storage":"memory","auth":null"#).expect("good options");
        let client = startup.client;
        assert_eq!(startup.storage_name, "s");
        assert_eq!(startup.storage, StorageKind::Memory);
        assert_eq!(client.client_id.as_deref(), Some("c"));
        assert_eq!(client.schema_json, r#"{"tables":{}}"#);
        assert_eq!((client.auth, client.cache_url), (None, None));
        assert_eq!(client.role, Role::Usual);
        assert_eq!(client.limits.ping_timeout_ms, 5_000.0);
    }

    #[test]
    fn what_is_given_counts() {
        let members = r#","storage":"indexed","userID":"u","mutateHeaders":{"a":"b"},"maxHeaderLength":9,"disconnectMs":1.5"#;
        let startup = parse(members).expect("good options");
        let client = startup.client;
        assert_eq!(startup.storage, StorageKind::Indexed);
        assert_eq!(client.user_id.as_deref(), Some("u"));
        assert_eq!(
            client.mutate_headers.get("a").map(String::as_str),
            Some("b")
        );
        assert_eq!(client.limits.max_header_length, 9);
        assert_eq!(client.limits.disconnect_ms, 1.5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (members, said) in [
            ("", "the kind of storage is unknown"),
            (r#","storage":"disk""#, "the kind of storage is unknown"),
            (r#","storage":"memory","role":"x""#, "the role is unknown"),
            (
                r#","storage":"memory","colour":1"#,
                "there is no option colour",
            ),
            (r#","storage":"memory","auth":1"#, "auth: "),
            (
                r#","storage":"memory","pingTimeoutMs":"1""#,
                "pingTimeoutMs: ",
            ),
            (r#","storage":"memory","queryHeaders":[]"#, "queryHeaders: "),
        ] {
            let refused = parse(members).err().expect("bad options");
            assert!(refused.starts_with(said), "{refused}");
        }
        assert!(Startup::parse("{}", &[7; 32]).is_err());
        assert!(Startup::parse("[", &[7; 32]).is_err());
        assert!(Startup::parse(&format!("{{{LEAST},\"storage\":\"memory\"}}"), &[7; 31]).is_err());
    }
}
