//! The head: the one small record that says what the rest of the store is.

use crate::encoding::{Kind, Reader, Writer};
use crate::error::FormatError;
use crate::page::PAGE_BYTES;
use landfall_zql::sorted_map::SortedMap;

/// Where the store stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The client group that the store holds.
    pub group_id: String,
    /// What the stored rows are; `None` before the first poke.
    pub cookie: Option<String>,
    /// Last confirmed mutation ids, by client.
    pub last_mutation_ids: SortedMap<String, u64>,
    /// The first log record that is there, if there is one.
    pub log_first: u64,
    /// The number that the next log record gets.
    pub log_next: u64,
    /// Size of all log records.
    pub log_bytes: u64,
    /// Counts rewrites of pages, so that a fold notices that another came first.
    pub pages_generation: u64,
    /// How many pages there are.
    pub pages: u32,
    /// The number that the next page gets.
    pub next_page: u32,
    /// The place in the group's order that the next mutation gets.
    pub next_sequence: u64,
    /// The group whose unsent mutations this one was begun with, as long as all their ends are told here; the group
    /// itself, if ends of its own are lost.
    pub previous_group: Option<String>,
    /// How the server took queries and mutations when it was last there.
    pub server_mode: Option<RememberedMode>,
}

/// How a server takes queries and mutations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RememberedMode {
    /// By name, else as an AST.
    pub named_queries: bool,
    /// As calls of mutators, else as writes to rows.
    pub custom_mutations: bool,
    /// Version of the extension by which the server said so.
    pub version: u32,
}

/// Fold when the log has more records than this.
pub const FOLD_RECORDS: u64 = 1000;
/// Fold when the log has more bytes than this.
pub const FOLD_BYTES: u64 = 4 << 20;

impl Head {
    /// Boxed, as everywhere: it is large, and handed on often.
    pub(crate) fn new(group_id: String) -> Box<Self> {
        Box::new(Self {
            group_id,
            cookie: None,
            last_mutation_ids: SortedMap::new(),
            log_first: 0,
            log_next: 0,
            log_bytes: 0,
            pages_generation: 0,
            pages: 0,
            next_page: 0,
            next_sequence: 0,
            previous_group: None,
            server_mode: None,
        })
    }

    /// The last confirmed mutation id of a client; 0 if it has none.
    pub fn last_mutation_id(&self, client_id: &str) -> u64 {
        self.last_mutation_ids.get(client_id).copied().unwrap_or(0)
    }

    /// Whether the browser has emptied the store since the group began, or something in it could not be read: of
    /// mutations before that it does not tell how they ended.
    pub fn has_lost_ends(&self) -> bool {
        self.previous_group.as_deref() == Some(self.group_id.as_str())
    }

    /// From here on it does not tell how earlier mutations ended.
    pub(crate) fn lose_ends(&mut self) {
        self.previous_group = Some(self.group_id.clone());
    }

    /// Whether the log has grown enough to be folded into the pages.
    pub fn needs_fold(&self) -> bool {
        self.log_next.saturating_sub(self.log_first) > FOLD_RECORDS || self.log_bytes > FOLD_BYTES
    }

    /// Whether so much of the store is log that a fold leaves few pages as they are.
    pub fn is_mostly_log(&self) -> bool {
        self.log_bytes >= u64::from(self.pages) * (PAGE_BYTES / 4) as u64
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(Kind::Head);
        out.text(&self.group_id);
        out.optional_text(self.cookie.as_deref());
        out.len(self.last_mutation_ids.len());
        for (client_id, id) in &self.last_mutation_ids {
            out.text(client_id);
            out.u64(*id);
        }
        out.u64(self.log_first);
        out.u64(self.log_next);
        out.u64(self.log_bytes);
        out.u64(self.pages_generation);
        out.u32(self.pages);
        out.u32(self.next_page);
        out.u64(self.next_sequence);
        out.u8(u8::from(self.server_mode.is_some()));
        if let Some(mode) = self.server_mode {
            out.u8(u8::from(mode.named_queries));
            out.u8(u8::from(mode.custom_mutations));
            out.u32(mode.version);
        }
        out.optional_text(self.previous_group.as_deref());
        out.finish()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Box<Self>, FormatError> {
        let mut reader = Reader::new(Kind::Head, bytes)?;
        let mut head = Self::new(reader.text());
        head.cookie = reader.optional_text();
        head.last_mutation_ids = reader
            .list(|reader| Ok((reader.text(), reader.u64())))?
            .into_iter()
            .collect();
        head.log_first = reader.u64();
        head.log_next = reader.u64();
        head.log_bytes = reader.u64();
        head.pages_generation = reader.u64();
        head.pages = reader.u32();
        head.next_page = reader.u32();
        head.next_sequence = reader.u64();
        if reader.flag() {
            head.server_mode = Some(RememberedMode {
                named_queries: reader.flag(),
                custom_mutations: reader.flag(),
                version: reader.u32(),
            });
        }
        if reader.version() != 1 {
            head.previous_group = reader.optional_text();
        }
        reader.end()?;
        match head.log_first <= head.log_next {
            true => Ok(head),
            false => Err(FormatError::LogRange),
        }
    }
}
